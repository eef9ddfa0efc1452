"""The events of a run, and its observers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path

import anyio
import pytest

from asyncinfer import Conversation, InferenceConfig
from asyncinfer.run.events import (
    AttemptFailed,
    LimitsChanged,
    RowFailed,
    RowFinished,
    RowResumed,
    RunEvent,
)
from tests.fakes import FakeClock, FakeEngine, question, questions, refusal, rejection


async def test_each_row_has_one_final_event() -> None:
    seen = list[RunEvent]()

    def script(text: str, attempt: int) -> None:
        if text == "question 1":
            raise rejection()
        if text == "question 2" and attempt == 1:
            raise refusal(0.001)

    await FakeEngine(script).ainfer_partial(questions(4), observers=[seen.append])
    assert sorted(e.index for e in seen if isinstance(e, RowFinished)) == [0, 2, 3]
    assert [e.index for e in seen if isinstance(e, RowFailed)] == [1]
    failed = {e.index: e for e in seen if isinstance(e, AttemptFailed)}
    assert failed[1].retry_after is None
    assert failed[2].retry_after == pytest.approx(0.001)


async def test_latencies_are_those_of_the_last_attempt() -> None:
    clock, seen = FakeClock(), list[RunEvent]()
    engine = FakeEngine(lambda *_: clock.sleep(2.0), workers=1, clock=clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await engine.ainfer_partial(questions(2), observers=[seen.append])
        tasks.cancel_scope.cancel()
    first, second = (e.latency for e in seen if isinstance(e, RowFinished))
    assert (first.queue, first.total) == (0.0, 2.0)
    assert (second.queue, second.total) == (2.0, 2.0)
    assert first.first_byte is None


async def test_rows_that_an_earlier_run_answered_are_resumed(tmp_path: Path) -> None:
    config, seen = InferenceConfig(output_path=str(tmp_path / "out.jsonl")), list[RunEvent]()

    def script(text: str, _: int) -> None:
        if text == "question 2":
            raise rejection()

    await FakeEngine(script).ainfer_partial(questions(3), config)
    await FakeEngine().ainfer_partial(questions(3), config, observers=[seen.append])
    assert sorted(e.index for e in seen if isinstance(e, RowResumed)) == [0, 1]
    assert [e.index for e in seen if isinstance(e, RowFinished)] == [2]


async def test_changes_of_the_permits_are_events() -> None:
    clock, seen = FakeClock(), list[RunEvent]()

    def script(*_: object) -> Awaitable[None]:
        return clock.sleep(0.3)

    engine = FakeEngine(script, workers=40, clock=clock, use_adaptive_concurrency=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await engine.ainfer_partial(questions(300), observers=[seen.append])
        tasks.cancel_scope.cancel()
    permits = [e.decision.permits for e in seen if isinstance(e, LimitsChanged)]
    assert permits == sorted(permits)
    assert permits[-1] == 40


async def test_an_observer_that_raises_is_logged_and_does_not_end_the_run(caplog: pytest.LogCaptureFixture) -> None:
    calls, seen = list[RunEvent](), list[RunEvent]()

    def broken(event: RunEvent) -> None:
        calls.append(event)
        raise ValueError("the observer has a bug")

    caplog.set_level(logging.ERROR)
    result = await FakeEngine().ainfer_partial(questions(5), observers=[broken, seen.append])
    assert len(result.successful) == 5
    assert len(calls) == 1
    assert len(seen) == 5
    assert "the observer has a bug" in caplog.text


async def test_streams_of_rows_have_events_too() -> None:
    seen = list[RunEvent]()
    engine = FakeEngine()
    outcomes = [o async for _, o in engine.ainfer_iter([question("a"), question("b")], observers=[seen.append])]
    assert all(isinstance(o, Conversation) for o in outcomes)
    assert sorted(e.index for e in seen if isinstance(e, RowFinished)) == [0, 1]


def test_blocking_twins_take_observers() -> None:
    seen = list[RunEvent]()
    FakeEngine().infer(questions(2), observers=[seen.append])
    assert len(seen) == 2
