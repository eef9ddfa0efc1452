"""Runs over HTTP against servers that say odd things about their limits, or nothing at all."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.errors import EngineDeadError
from tests.fakes import answer_to, questions
from tests.faults import Ask, Fault, FaultServer, completion, says, status, with_headers
from tests.run.clock import QuickClock, passing


def engine(server: FaultServer, clock: QuickClock | None = None, **remote: Any) -> RemoteInferenceEngine:
    params = {"api_url": server.url, "num_workers": 4, "retry_backoff_base": 0.01, "retry_backoff_max": 0.01}
    return RemoteInferenceEngine(
        ModelParams(model_name="m"), remote_params=RemoteParams(**params | remote), clock=clock
    )


LIMIT_HEADERS = {
    "nothing left": {"limit": "10", "remaining": "0", "reset": "50ms"},
    "one left": {"limit": "10", "remaining": "1", "reset": "50ms"},
    "none allowed": {"limit": "0", "remaining": "0", "reset": "50ms"},
    "more left than allowed": {"limit": "1", "remaining": "500", "reset": "50ms"},
    "reset in a day": {"limit": "10", "remaining": "0", "reset": "24h"},
    "reset at once": {"limit": "10", "remaining": "0", "reset": "0s"},
    "reset in the past": {"limit": "10", "remaining": "0", "reset": "-5s"},
    "no numbers": {"limit": "a", "remaining": "b", "reset": "c"},
    "huge": {"limit": "9" * 400, "remaining": "0", "reset": "9" * 400 + "s"},
}


@pytest.mark.parametrize("name", LIMIT_HEADERS)
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
async def test_limit_headers_do_not_stop_a_run(name: str, always: bool) -> None:
    headers = {f"x-ratelimit-{part}-requests": value for part, value in LIMIT_HEADERS[name].items()}

    def script(ask: Ask) -> Fault | None:
        return with_headers(headers) if always or len(server.asks) == 1 else None

    server = FaultServer(script)
    async with server, engine(server) as remote:
        result = await remote.ainfer_partial(questions(30))
    assert not result.has_failures


@pytest.mark.parametrize("count", ["9" * 309, "-1", "true", "1e308", '"7"', "null", "[]"])
async def test_an_absurd_usage_costs_no_permit(count: str) -> None:
    body = completion("question").decode()
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}, "total_tokens": {count}}}'
    odd = body[: body.index('"usage"')] + f'"usage": {usage}}}'
    clock = QuickClock()
    async with (
        FaultServer(lambda _: says(odd.encode())) as server,
        engine(server, clock, output_tokens_per_minute=10**9) as remote,
        passing(clock),
    ):
        first = await remote.ainfer_partial(questions(20))
        assert remote._semaphore().in_use == 0
        server.script = None
        second = await remote.ainfer_partial(questions(25))
    assert len(first.successful) + len(first.failures) == 20
    assert [row.messages[-1].content for _, row in second.successful][20:] == [
        answer_to(f"question {i}") for i in range(20, 25)
    ]


async def test_a_retry_after_of_a_billion_seconds_ends_the_run() -> None:
    async with FaultServer(lambda _: status(429, retry_after="1000000000")) as server, engine(server) as remote:
        result = await remote.ainfer_partial(questions(200))
    assert len(result.failures) == 200
    assert len(server.asks) <= 20


async def test_a_server_that_is_gone_ends_the_run_early_and_is_named() -> None:
    """Virtual time: the pauses between the attempts take none."""
    async with FaultServer() as server:
        pass
    clock = QuickClock()
    async with engine(server, clock) as remote, passing(clock):
        result = await remote.ainfer_partial(questions(500))
        assert len(result.failures) == 500
        assert server.url in result.failures[499].error_message
        with pytest.raises(EngineDeadError, match="no request was answered"):
            async for _ in remote.ainfer_iter(questions(500)):
                pass
    assert clock.now() < 600.0
