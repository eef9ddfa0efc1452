"""A run with another executor: it needs to know nothing of files, resume, saving or progress."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from asyncinfer import (
    Conversation,
    EngineDeadError,
    FinishReason,
    GenerationParams,
    InferenceErrorType,
    Message,
    ModelParams,
    Role,
    RunInterruptedError,
    RunSummary,
    Stop,
    Usage,
)
from asyncinfer.aio.clock import MonotonicClock
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.run.events import Events, Latency
from asyncinfer.run.executor import Executor, OutcomeSink, RowFeed
from asyncinfer.run.rows import Row
from asyncinfer.run.run import Run
from asyncinfer.run.saver import RowOutcome
from asyncinfer.run.sources import ListSource
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.answer import Completion
from asyncinfer.types.results import FailureDetail
from tests.fakes import FakeEngine, question, questions, read_jsonl


class BatchExecutor:
    """Answers rows in batches, as batch jobs of a provider would, the last row of a batch first.

    `refused` and `deadly` are the questions that fail, and that end the run.
    """

    capacity = 100
    is_batch = True
    silent_for = 0.0

    def __init__(self, refused: str = "", deadly: str = "", limit: int | None = None) -> None:
        self.refused, self.deadly, self.limit = refused, deadly, limit
        self.asked: list[str] = []
        self.is_dead = False
        self._stopped = anyio.Event()

    def is_sent_alone(self, conversation: Conversation) -> bool:
        return False

    def stop(self, grace: float) -> None:
        self._stopped.set()

    def why_waiting(self) -> str | None:
        return None

    async def run(self, feed: RowFeed, outcomes: OutcomeSink, events: Events) -> None:
        is_at_end = False
        while not is_at_end:
            rows: list[Row] = []
            while len(rows) < self.capacity and not is_at_end:
                more = await feed.read()
                rows += more or []
                is_at_end = more is None
            await self._answer(rows, outcomes)

    async def _answer(self, rows: list[Row], outcomes: OutcomeSink) -> None:
        for row in reversed(rows):
            if self.limit is not None and len(self.asked) == self.limit:
                await self._stopped.wait()
                return
            text = str(row.conversation().messages[-1].content)
            self.asked.append(text)
            if self.is_dead:
                outcomes.failed(row, FailureDetail("dead", error_type=InferenceErrorType.ENGINE_FAILURE))
            elif text == self.refused:
                outcomes.failed(row, FailureDetail("refused", error_type=InferenceErrorType.API_STATUS))
            elif text == self.deadly:
                self.is_dead = True
                outcomes.ended_early(EngineDeadError("dead", error_type=InferenceErrorType.ENGINE_FAILURE))
                outcomes.failed(row, FailureDetail("dead", error_type=InferenceErrorType.ENGINE_FAILURE))
            else:
                message = Message(role=Role.ASSISTANT, content=f"batch: {text}")
                completion = Completion(message, FinishReason.STOP, Usage(1, 2, 3))
                await outcomes.answered(row, completion, Latency(0.0, 1.0))


def run_with(executor: BatchExecutor, output: Path | None = None, stop: Stop | None = None) -> Run:
    keys = RowKeys("BATCH", ModelParams(model_name="m"), GenerationParams())
    return Run(lambda _: executor, MonotonicClock(), keys, output_path=output, stop=stop or Stop())


async def answer(executor: BatchExecutor, output: Path | None = None) -> tuple[RunSummary, dict[int, RowOutcome]]:
    found: dict[int, RowOutcome] = {}
    summary = await run_with(executor, output).run(ListSource(questions(10)), found.__setitem__)
    return summary, found


async def test_every_row_is_answered_saved_and_written_in_input_order(tmp_path: Path) -> None:
    summary, found = await answer(BatchExecutor(), tmp_path / "out.jsonl")
    assert (summary.completed, summary.failed, summary.usage.total_tokens) == (10, 0, 30)
    assert len(found) == 10
    written = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert written == [f"batch: question {i}" for i in range(10)]


async def test_a_failed_row_is_sent_again_by_the_next_run_only(tmp_path: Path) -> None:
    summary, _ = await answer(BatchExecutor(refused="question 3"), tmp_path / "out.jsonl")
    assert (summary.completed, summary.failed) == (9, 1)
    second = BatchExecutor()
    summary, _ = await answer(second, tmp_path / "out.jsonl")
    assert second.asked == ["question 3"]
    assert (summary.completed, summary.resumed) == (10, 9)


async def test_the_reason_of_an_early_end_is_kept() -> None:
    run = run_with(BatchExecutor(deadly="question 5"))
    summary = await run.run(ListSource(questions(10)), lambda *_: None)
    assert isinstance(run.dead, EngineDeadError)
    assert (summary.completed, summary.failed) == (4, 6)


async def test_a_stop_reaches_the_executor_and_what_is_answered_is_resumed(tmp_path: Path) -> None:
    stop, executor = Stop(), BatchExecutor(limit=4)
    run = run_with(executor, tmp_path / "out.jsonl", stop)
    async with anyio.create_task_group() as tasks:

        async def stop_later() -> None:
            while len(executor.asked) < 4:
                await anyio.lowlevel.checkpoint()
            stop.request()

        tasks.start_soon(stop_later)
        with pytest.raises(RunInterruptedError):
            await run.run(ListSource(questions(10)))
    second = BatchExecutor()
    await answer(second, tmp_path / "out.jsonl")
    assert len(second.asked) == 6


async def test_rows_of_a_source_without_an_end_are_read_as_the_executor_takes_them() -> None:
    executor, found = BatchExecutor(), dict[int, RowOutcome]()

    def deliver(index: int, outcome: RowOutcome, taken: object) -> None:
        found[index] = outcome
        assert callable(taken)
        taken()

    await run_with(executor).stream((question(f"question {i}") for i in range(30)), deliver)
    assert sorted(found) == list(range(30))


async def test_executor_that_collects_rows_before_it_answers_them_answers_every_row() -> None:
    found: dict[int, RowOutcome] = {}
    rows = 5 * BatchExecutor.capacity
    summary = await run_with(BatchExecutor()).run(ListSource(questions(rows)), found.__setitem__)
    assert summary.completed == len(found) == rows


async def test_engine_chooses_the_executor_of_its_runs() -> None:
    executor = BatchExecutor()

    class BatchEngine(FakeEngine):
        """An engine that answers rows in batches."""

        def _new_executor(self, access: EngineAccess, total: int | None) -> Executor:
            assert total == 3
            return executor

    answers = await BatchEngine().ainfer(questions(3))
    assert [answer.text for answer in answers] == [f"batch: question {i}" for i in range(3)]


async def test_online_executor_reports_why_its_engine_answers_nothing() -> None:
    class StartingEngine(FakeEngine):
        """An engine that starts."""

        def _bind(self, settings: CallSettings) -> BoundEngine:
            bound = super()._bind(settings)
            bound.why_waiting = lambda: "the model is being loaded"
            return bound

    engine = StartingEngine()
    executor = engine._new_executor(await engine.access(), None)
    assert executor.why_waiting() == "the model is being loaded"
