"""Runs that are asked to stop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from asyncinfer import InferenceConfig, InferenceErrorType, RequestError, RunInterruptedError, Stop
from tests.fakes import FakeEngine, answer_to, question, questions


def stopping(stop: Stop, after: int) -> FakeEngine:
    """An engine that requests the stop with the attempt number `after`."""

    def script(*_: object) -> None:
        if engine.asked.total() == after:
            stop.request()

    engine = FakeEngine(script, workers=2)
    return engine


async def test_a_stop_may_be_requested_from_another_thread() -> None:
    stop = Stop()
    waits = asyncio.create_task(stop.wait())
    await asyncio.sleep(0)
    thread = threading.Thread(target=stop.request)
    thread.start()
    await asyncio.wait_for(waits, 30)
    thread.join()
    assert stop.is_requested


async def test_a_stop_that_was_requested_before_ends_the_wait_at_once() -> None:
    stop = Stop()
    stop.request()
    await asyncio.wait_for(stop.wait(), 30)


@pytest.mark.parametrize("method", ["ainfer", "ainfer_partial"])
async def test_every_method_stops(method: str, tmp_path: Path) -> None:
    stop = Stop()
    engine, config = stopping(stop, 5), InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
    with pytest.raises(RunInterruptedError, match="of 50 rows are saved"):
        await getattr(engine, method)(questions(50), config, stop=stop)
    assert engine.asked.total() < 10


async def test_an_iteration_stops() -> None:
    stop = Stop()
    engine, seen = stopping(stop, 5), list[int]()
    with pytest.raises(RunInterruptedError):
        async for index, _ in engine.ainfer_iter(questions(50), stop=stop):
            seen.append(index)
    assert len(seen) < 10


@pytest.mark.parametrize("method", ["infer", "infer_partial"])
def test_blocking_twins_stop(method: str, tmp_path: Path) -> None:
    stop = Stop()
    engine, config = stopping(stop, 5), InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
    with pytest.raises(RunInterruptedError):
        getattr(engine, method)(questions(50), config, stop=stop)


async def test_one_stop_ends_several_runs() -> None:
    stop = Stop()
    engines = [stopping(stop, 5), FakeEngine(lambda *_: asyncio.sleep(0.01), workers=1)]
    results = await asyncio.gather(
        *(engine.ainfer_partial(questions(200), stop=stop) for engine in engines), return_exceptions=True
    )
    assert all(isinstance(result, RunInterruptedError) for result in results)


@pytest.mark.parametrize("when", ["before the call", "while the engine answers", "while a retry waits"])
@pytest.mark.parametrize("method", ["agenerate", "generate", "astream", "stream"])
async def test_a_stop_ends_a_single_call(method: str, when: str) -> None:
    stop = Stop(grace=0.0)

    async def script(*_: object) -> None:
        stop.request()
        if when == "while a retry waits":
            raise RequestError("boom", error_type=InferenceErrorType.API_STATUS, status_code=500, is_retryable=True)
        await asyncio.Event().wait()

    engine = FakeEngine(script)
    if when == "before the call":
        stop.request()
    with pytest.raises(RunInterruptedError, match="before the conversation was answered"):
        await single_call(engine, method, stop)
    assert engine.asked.total() == (when != "before the call")


async def test_a_single_call_may_finish_within_the_grace_of_a_stop() -> None:
    stop = Stop()
    answered = await FakeEngine(lambda *_: stop.request()).agenerate(question("a"), stop=stop)
    assert answered.messages[-1].content == answer_to("a")


async def test_cancelled_call_with_a_stop_is_cancelled() -> None:
    started = asyncio.Event()

    async def never(*_: object) -> None:
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(FakeEngine(never).agenerate(question("a"), stop=Stop()))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def single_call(engine: FakeEngine, method: str, stop: Stop) -> None:
    match method:
        case "agenerate":
            await engine.agenerate(question("a"), stop=stop)
        case "generate":
            await asyncio.to_thread(engine.generate, question("a"), stop=stop)
        case "astream":
            async for _ in engine.astream(question("a"), stop=stop):
                pass
        case _:
            await asyncio.to_thread(lambda: list(engine.stream(question("a"), stop=stop)))


async def test_message_names_no_scratch_file_if_no_row_was_saved(tmp_path: Path) -> None:
    stop = Stop()
    stop.request()
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
    with pytest.raises(RunInterruptedError, match=r"^Stopped: 0 of 5 rows are saved; run the same again to go on\.$"):
        await FakeEngine().ainfer(questions(5), config, stop=stop)
