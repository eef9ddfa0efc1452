"""The clients of `adaptive.py`. Each runs in a process of its own and reports how many rows were answered.

A client that does not end within the case's patience is stopped and reports None.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from adaptive_cases import ADAPTIVE, DELUGE, MAX_TOKENS, OPENAI, Case

from asyncinfer import (
    BaseInferenceEngine,
    Conversation,
    GenerationParams,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Role,
)
from asyncinfer.control.endpoint import Endpoint


def controller_state(engine: BaseInferenceEngine) -> tuple[float | None, float | None]:
    """The permits and the attempts per second (None: no limit) that the engine's controller allows now, for the plot."""
    endpoint = engine._endpoint
    return endpoint.permits(), endpoint.rate if isinstance(endpoint, Endpoint) else None


def rate_cuts(engine: BaseInferenceEngine) -> list[tuple[float, float]]:
    """When the controller made the rate lower, and to how many attempts per second, for the plot."""
    limited = [
        (decision.at, decision.rate) for decision in engine._endpoint.decisions.entries if decision.rate is not None
    ]
    return [after for before, after in pairwise(limited) if after[1] < before[1]]


class Course:
    """Samples the controller ten times a second."""

    def __init__(self, engine: BaseInferenceEngine) -> None:
        self._engine = engine
        self.samples: list[tuple[float, float | None, float | None]] = []

    async def watch(self) -> None:
        while True:
            permits, rate = controller_state(self._engine)
            self.samples.append((time.monotonic(), permits, rate if rate is None or math.isfinite(rate) else None))
            await asyncio.sleep(0.1)


async def with_asyncinfer(case: Case, url: str, *, adaptive: bool) -> dict[str, Any]:
    remote = RemoteParams(api_url=f"{url}/v1", num_workers=case.workers, use_adaptive_concurrency=adaptive)
    rows = [
        Conversation(messages=[Message(role=Role.USER, content=case.prompt(row))], metadata={"row": row})
        for row in range(case.rows)
    ]
    generation = GenerationParams(max_new_tokens=MAX_TOKENS)
    began = time.perf_counter()
    async with RemoteInferenceEngine(
        ModelParams(model_name="m"), generation_params=generation, remote_params=remote
    ) as engine:
        course = Course(engine)
        watching = asyncio.create_task(course.watch())
        answered, seconds, failures = None, None, []
        with suppress(TimeoutError):
            async with asyncio.timeout(case.patience):
                answered, failures = await (_calls(engine, rows) if case.calls else _one_run(engine, rows))
                seconds = time.perf_counter() - began
        watching.cancel()
        cuts = rate_cuts(engine)
    return {
        "answered": answered,
        "seconds": seconds,
        "course": course.samples,
        "cuts": cuts,
        "failures": _common(failures),
    }


async def _one_run(engine: BaseInferenceEngine, rows: Sequence[Conversation]) -> tuple[int, list[str]]:
    result = await engine.ainfer_partial(rows)
    return len(result.successful), list(result.error_messages.values())


async def _calls(engine: BaseInferenceEngine, rows: Sequence[Conversation]) -> tuple[int, list[str]]:
    results = await asyncio.gather(*(engine.ainfer([row]) for row in rows), return_exceptions=True)
    failures = [str(result) for result in results if isinstance(result, BaseException)]
    return len(results) - len(failures), failures


def _common(failures: Sequence[str]) -> dict[str, int]:
    """The most frequent failures."""
    return dict(Counter(failure[:200] for failure in failures).most_common(3))


async def with_openai(case: Case, url: str) -> dict[str, Any]:
    import openai

    began = time.perf_counter()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

        async def ask(row: int) -> None:
            messages: Any = [{"role": "user", "content": case.prompt(row)}]
            await client.chat.completions.create(model="m", messages=messages, max_tokens=MAX_TOKENS)

        results = await asyncio.gather(*(ask(row) for row in range(case.rows)), return_exceptions=True)
        seconds = time.perf_counter() - began
    failures = [str(result) for result in results if result is not None]
    return {"answered": len(results) - len(failures), "seconds": seconds, "failures": _common(failures)}


async def with_lm_deluge(case: Case, url: str) -> dict[str, Any]:
    from importlib import import_module

    deluge: Any = import_module("lm_deluge")
    os.environ["NO_KEY"] = "none"
    import_module("lm_deluge.models").register_model(
        id="local", name="m", api_base=f"{url}/v1", api_key_env_var="NO_KEY", api_spec="openai", regions=[]
    )
    client = deluge.LLMClient(
        "local",
        max_requests_per_minute=100_000_000,
        max_tokens_per_minute=100_000_000_000,
        max_concurrent_requests=case.workers,
        progress="manual",
    )
    prompts = [case.prompt(row) for row in range(case.rows)]
    began = time.perf_counter()
    answers = await client.process_prompts_async(prompts, show_progress=False)
    answered = sum(not answer.is_error for answer in answers)
    return {"answered": answered, "seconds": time.perf_counter() - began}


async def run_client(client: str, case: Case, url: str) -> dict[str, Any]:
    if client == DELUGE:
        return await with_lm_deluge(case, url)
    if client == OPENAI:
        return await with_openai(case, url)
    return await with_asyncinfer(case, url, adaptive=client == ADAPTIVE)
