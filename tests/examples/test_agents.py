"""examples/agents.py: many PydanticAI agents with one engine."""

from __future__ import annotations

import anyio
import pytest
from aiohttp import web

from tests.examples.programs import ONE_THREAD, at, needs_smollm2, run_program
from tests.faults import Ask, FaultServer, completion

pytest.importorskip("pydantic_ai", reason="needs the extra pydantic-ai")
pytestmark = pytest.mark.slow  # Each test starts a process.

WORKERS = 20


async def test_agents_run_at_the_same_time_within_the_limits_of_the_engine() -> None:
    all_permits_used = anyio.Event()

    async def reply(_: web.Request, ask: Ask) -> web.Response:
        """Answer the first request when as many requests are in flight as the engine allows."""
        if server.in_flight == WORKERS:
            all_permits_used.set()
        await all_permits_used.wait()
        return web.Response(body=completion(ask.question), content_type="application/json")

    limits = (f"remote_params.num_workers={WORKERS}", "remote_params.use_adaptive_concurrency=false")
    async with FaultServer(lambda _: reply) as server:
        printed = await run_program("agents.py", *at(server.url), *limits)
    lines = printed.splitlines()
    assert lines[0] == "answer to What is the capital of Japan?"
    assert lines[-1].startswith("200 agents, ")
    assert (len(server.asks), server.peak, server.connections) == (200, WORKERS, WORKERS)


@pytest.mark.model
@needs_smollm2
async def test_agents_share_the_default_model() -> None:
    lines = (await run_program("agents.py", "8", *ONE_THREAD)).splitlines()
    assert lines[0] == "The capital of Japan is Tokyo."
    assert lines[-1].startswith("8 agents, ")
