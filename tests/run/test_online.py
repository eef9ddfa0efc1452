"""Runs through an engine's public methods: order, permits, retries, failures and resume."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    EngineConfigError,
    EngineDeadError,
    FailureDetail,
    InferenceConfig,
    InferenceErrorType,
    InferenceFailedError,
    InputError,
    RunInterruptedError,
    ScratchLockedError,
    Stop,
)
from asyncinfer.errors import ErrorScope
from asyncinfer.scratch.file import ScratchFile
from tests.control.errors import rejected
from tests.fakes import (
    FakeClock,
    FakeEngine,
    answer_to,
    question,
    questions,
    read_jsonl,
    refusal,
    rejection,
    timeout,
    write_jsonl,
)


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    """Fifty questions, from a file to a file."""
    write_jsonl(tmp_path / "in.jsonl", questions(50))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


def answers(path: str | None) -> list[str]:
    assert path is not None
    return [row["messages"][-1]["content"] for row in read_jsonl(Path(path))]  # type: ignore[index]


EXPECTED = [answer_to(f"question {i}") for i in range(50)]


class TestAnswers:
    async def test_answers_come_in_input_order_with_usage_and_finish_reason(self) -> None:
        async def slower_first(text: str, _: int) -> None:
            await anyio.sleep(0.001 * (5 - int(text.split()[-1])))

        engine = FakeEngine(lambda text, n: slower_first(text, n))
        asked = questions(5)
        result = await engine.ainfer(asked)
        assert [c.messages[-1].content for c in result] == EXPECTED[:5]
        assert result[0].metadata["usage"]["total_tokens"] == 7
        assert result[0].metadata["finish_reason"] == "stop"
        assert all(len(c.messages) == 1 for c in asked), "what the caller passed in is not touched"

    async def test_arun_answers_a_file_into_a_file(self, config: InferenceConfig) -> None:
        summary = await FakeEngine().arun(config)
        assert (summary.total, summary.completed, summary.failed, summary.resumed) == (50, 50, 0, 0)
        assert summary.usage.completion_tokens == 200
        assert answers(config.output_path) == EXPECTED
        assert not (Path(str(config.output_path)).parent / "scratch").exists()

    async def test_rows_without_an_id_get_the_same_id_every_time(self) -> None:
        first = await FakeEngine().ainfer([question("a"), question("a"), question("b")])
        again = await FakeEngine().ainfer([question("b"), question("a"), question("a")])
        assert len({c.conversation_id for c in first}) == 3
        assert {c.conversation_id for c in first} == {c.conversation_id for c in again}

    async def test_an_empty_list_gives_an_empty_list(self) -> None:
        assert await FakeEngine().ainfer([]) == []

    async def test_a_call_without_input_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match="input_path"):
            await FakeEngine().ainfer()


class TestPermits:
    async def test_permits_limit_the_rows_in_flight(self, config: InferenceConfig) -> None:
        engine = FakeEngine(lambda *_: anyio.lowlevel.checkpoint(), workers=3)
        await engine.arun(config)
        assert engine.peak == 3

    async def test_concurrent_calls_share_the_permits(self) -> None:
        release = anyio.Event()
        engine = FakeEngine(lambda *_: release.wait(), workers=4)
        async with anyio.create_task_group() as tasks:
            for i in range(20):
                tasks.start_soon(engine.ainfer, [question(f"{i}")])
            await anyio.wait_all_tasks_blocked()
            release.set()
        assert engine.peak == 4
        assert sum(engine.asked.values()) == 20

    async def test_rows_that_wait_for_a_retry_hold_no_permit(self) -> None:
        """With one worker, the first row is refused. The second is answered before the retry of the first."""
        order: list[str] = []

        def script(text: str, attempt: int) -> None:
            order.append(text)
            if text == "question 0" and attempt == 1:
                raise timeout()

        clock = FakeClock()
        engine = FakeEngine(script, workers=1, clock=clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            await engine.ainfer(questions(2))
            tasks.cancel_scope.cancel()
        assert order == ["question 0", "question 1", "question 0"]


class TestDispatch:
    @pytest.mark.parametrize(("workers", "pause"), [(1, None), (1, 0.01), (3, 0.01)])
    async def test_rows_are_asked_in_input_order(self, workers: int, pause: float | None) -> None:
        engine = FakeEngine(lambda *_: None if pause is None else anyio.sleep(pause), workers=workers)
        await engine.ainfer(questions(12))
        assert [*engine.asked] == [f"question {i}" for i in range(12)]

    async def test_an_engine_that_never_waits_lets_other_tasks_run(self) -> None:
        engine, seen = FakeEngine(workers=2), list[int]()

        async def other() -> None:
            while True:
                seen.append(engine.asked.total())
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await engine.ainfer(questions(300))
            tasks.cancel_scope.cancel()
        assert max(after - before for before, after in pairwise(seen)) < 100

    async def test_two_runs_take_turns_for_one_permit(self) -> None:
        order, texts = list[str](), {name: [question(f"{name} {i}") for i in range(30)] for name in "ab"}
        both_wait = anyio.Event()

        def script(text: str, _: int) -> Awaitable[None]:
            order.append(text[0])
            return both_wait.wait()

        engine = FakeEngine(script, workers=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.ainfer, texts["a"])
            tasks.start_soon(engine.ainfer, texts["b"])
            while engine._semaphore().waiting < 2:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()
            both_wait.set()
        assert not any(name * 3 in "".join(order) for name in "ab"), order


class TestRetries:
    async def run(self, engine: FakeEngine, count: int = 10) -> object:
        clock = engine._clock
        assert isinstance(clock, FakeClock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            try:
                return await engine.ainfer_partial(questions(count))
            finally:
                tasks.cancel_scope.cancel()

    async def test_rows_that_fail_at_first_are_answered(self) -> None:
        def script(_: str, attempt: int) -> None:
            if attempt <= 3:
                raise timeout()

        engine = FakeEngine(script, clock=FakeClock())
        result = await self.run(engine)
        assert not result.has_failures  # type: ignore[attr-defined]
        assert set(engine.asked.values()) == {4}

    async def test_a_row_that_always_fails_is_given_up_after_max_retries(self) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 3":
                raise timeout()

        engine = FakeEngine(script, clock=FakeClock(), max_retries=2)
        result = await self.run(engine)
        assert result.failed_indices == [3]  # type: ignore[attr-defined]
        assert engine.asked["question 3"] == 3
        detail = result.failures[3]  # type: ignore[attr-defined]
        assert (detail.error_type, detail.is_retryable) == (InferenceErrorType.TIMEOUT, True)

    async def test_a_rejected_row_is_not_retried(self) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 3":
                raise rejection()

        engine = FakeEngine(script, clock=FakeClock())
        result = await self.run(engine)
        assert engine.asked["question 3"] == 1
        assert result.failures[3].status_code == 400  # type: ignore[attr-defined]

    async def test_refusals_spend_no_retry_while_other_rows_are_answered(self) -> None:
        """A row that is refused eight times is answered although two retries are allowed, because the server works."""
        clock = FakeClock()

        async def script(text: str, attempt: int) -> None:
            if text == "question 0" and attempt <= 8:
                raise refusal()
            await clock.sleep(0.1)

        result = await self.run(FakeEngine(script, clock=clock, max_retries=2, workers=2), count=300)
        assert not result.has_failures  # type: ignore[attr-defined]

    async def test_a_retry_after_delays_every_row(self) -> None:
        times: list[float] = []
        clock = FakeClock()

        def script(text: str, attempt: int) -> None:
            times.append(clock.now())
            if len(times) == 1:
                raise refusal(after=30.0)

        await self.run(FakeEngine(script, clock=clock, workers=1), count=3)
        assert times[0] == 0.0
        assert all(moment >= 30.0 for moment in times[1:])


class TestFailures:
    async def test_ainfer_raises_after_the_other_rows_are_saved(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 7":
                raise rejection()

        with pytest.raises(InferenceFailedError, match="1 of 50 rows failed") as caught:
            await FakeEngine(script).ainfer(inference_config=config)
        assert caught.value.result.failed_indices == [7]
        assert len(caught.value.result.successful) == 49
        assert not Path(str(config.output_path)).exists()
        engine = FakeEngine()
        await engine.ainfer(inference_config=config)
        assert engine.asked.total() == 1, "only the failed row is asked again"
        assert answers(config.output_path) == EXPECTED

    async def test_ainfer_partial_writes_the_answers_and_keeps_the_scratch_file(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 7":
                raise rejection()

        result = await FakeEngine(script).ainfer_partial(inference_config=config)
        assert result.failed_indices == [7]
        assert answers(config.output_path) == EXPECTED[:7] + EXPECTED[8:]
        assert (Path(str(config.output_path)).parent / "scratch" / "out.jsonl").exists()

    async def test_an_unexpected_exception_fails_one_row(self) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 1":
                raise KeyError("oops")

        result = await FakeEngine(script).ainfer_partial(questions(3))
        assert result.failures[1].error_type == InferenceErrorType.RUNTIME
        assert "KeyError" in result.failures[1].error_message

    async def test_a_dead_engine_fails_every_unfinished_row(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 20":
                raise EngineDeadError("the model is gone", error_type=InferenceErrorType.ENGINE_FAILURE)

        result = await FakeEngine(script, workers=1).ainfer_partial(inference_config=config)
        assert len(result.successful) + len(result.failures) == 50
        assert 20 in result.failures
        assert {d.error_type for d in result.failures.values()} == {InferenceErrorType.ENGINE_FAILURE}
        engine = FakeEngine()
        await engine.arun(config)
        assert engine.asked.total() == len(result.failures)

    async def test_a_dead_engine_leaves_the_saved_rows(self, config: InferenceConfig) -> None:
        """Rows that were saved before are delivered, also if they come after the row at which the engine died."""

        def dead_before_10(text: str, _: int) -> None:
            if int(text.split()[-1]) < 10:
                raise EngineDeadError("gone", error_type=InferenceErrorType.ENGINE_FAILURE)

        stuck = FakeEngine(lambda text, _: None if int(text.split()[-1]) >= 10 else _raise(rejection()))
        with pytest.raises(InferenceFailedError):
            await stuck.ainfer(inference_config=config)
        write_jsonl(
            Path(str(config.input_path)), [q.model_copy(update={"metadata": {"new": 1}}) for q in questions(50)]
        )
        result = await FakeEngine(dead_before_10).ainfer_partial(inference_config=config)
        assert [index for index, _ in result.successful] == list(range(10, 50))
        assert result.failed_indices == list(range(10))
        assert answers(config.output_path) == EXPECTED[10:]

    async def test_a_dead_engine_ends_the_wait_for_retries(self) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 0":
                raise refusal(after=1e9)
            raise EngineDeadError("gone", error_type=InferenceErrorType.ENGINE_FAILURE)

        engine = FakeEngine(script, clock=FakeClock(), workers=2)
        result = await engine.ainfer_partial(questions(20))
        assert len(result.failures) == 20

    async def test_an_engine_that_cannot_start_is_an_error(self, config: InferenceConfig) -> None:
        def script(*_: object) -> None:
            raise EngineConfigError("no such model", error_type=InferenceErrorType.CONFIG)

        with pytest.raises(EngineConfigError, match="no such model"):
            await FakeEngine(script).arun(config)
        result = await FakeEngine(script).ainfer_partial(inference_config=config)
        assert {d.error_type for d in result.failures.values()} == {InferenceErrorType.CONFIG}

    async def test_the_error_says_where_the_answered_rows_are_saved(self, home: Path) -> None:
        with pytest.raises(InferenceFailedError, match=r"saved in .*/\.cache/asyncinfer/tmp/temp_inference_output_"):
            await FakeEngine(lambda text, _: _raise(rejection()) if text == "b" else None).ainfer(
                [question("a"), question("b")]
            )

    async def test_an_engine_that_cancels_a_row_fails_that_row(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 7":
                raise asyncio.CancelledError

        result = await FakeEngine(script, clock=FakeClock(), max_retries=0).ainfer_partial(inference_config=config)
        assert result.failed_indices == [7]
        assert result.failures[7].error_type == InferenceErrorType.CANCELLED
        assert len(result.successful) == 49

    async def test_a_run_without_any_answer_leaves_an_older_output_alone(self, config: InferenceConfig) -> None:
        await FakeEngine().arun(config)
        flagged = rejected("the prompt was flagged", 403, ErrorScope.ROW)
        summary = await FakeEngine(lambda *_: _raise(flagged), model="other").arun(config)
        assert summary.failed == 50
        assert answers(config.output_path) == EXPECTED

    async def test_twenty_similar_rejections_leave_an_older_output_alone(self, config: InferenceConfig) -> None:
        await FakeEngine().arun(config)
        engine = FakeEngine(lambda *_: _raise(rejection()), model="other")
        with pytest.raises(EngineConfigError, match="20 rows in a row were rejected like this"):
            await engine.arun(config)
        assert engine.asked.total() < 50
        assert answers(config.output_path) == EXPECTED


def _raise(error: Exception) -> None:
    raise error


class TestResume:
    async def interrupted(self, config: InferenceConfig, after: int = 20) -> FakeEngine:
        """A run that was stopped when `after` rows had been asked."""
        stop = Stop()

        def script(_: str, __: int) -> None:
            if engine.asked.total() == after:
                stop.request()

        engine = FakeEngine(script, workers=2)
        with pytest.raises(RunInterruptedError, match="run the same again"):
            await engine.arun(config, stop=stop)
        return engine

    async def test_resume_sends_only_rows_that_are_not_saved(self, config: InferenceConfig) -> None:
        first = await self.interrupted(config)
        second = FakeEngine()
        summary = await second.arun(config)
        assert summary.resumed == first.asked.total()
        assert summary.completed == 50
        assert not set(first.asked) & set(second.asked)
        assert answers(config.output_path) == EXPECTED

    async def test_a_changed_parameter_sends_its_rows_again(self, config: InferenceConfig) -> None:
        await self.interrupted(config)
        second = FakeEngine()
        config.generation.temperature = 0.5
        assert (await second.arun(config)).resumed == 0

    async def test_resumed_rows_have_the_ids_and_metadata_of_the_present_input(self, config: InferenceConfig) -> None:
        first = await self.interrupted(config)
        renamed = [question(f"question {i}", conversation_id=f"new{i}", metadata={"i": i}) for i in reversed(range(50))]
        write_jsonl(Path(str(config.input_path)), renamed)
        second = FakeEngine()
        summary = await second.arun(config)
        assert summary.resumed == first.asked.total()
        rows = read_jsonl(Path(str(config.output_path)))
        assert [row["conversation_id"] for row in rows] == [f"new{i}" for i in reversed(range(50))]
        assert rows[-1]["metadata"] == {
            "i": 0,
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "finish_reason": "stop",
            "row_key": rows[-1]["metadata"]["row_key"],
        }
        assert answers(config.output_path) == EXPECTED[::-1]

    async def test_resume_works_after_rows_were_added_and_removed(self, config: InferenceConfig) -> None:
        first = await self.interrupted(config)
        write_jsonl(Path(str(config.input_path)), [question("new"), *questions(50)[3:]])
        second = FakeEngine()
        summary = await second.arun(config)
        assert summary.resumed == first.asked.total() - 3
        assert answers(config.output_path) == [answer_to("new"), *EXPECTED[3:]]

    async def test_duplicates_are_told_apart_by_their_number(self, tmp_path: Path) -> None:
        source, output = write_jsonl(tmp_path / "in.jsonl", [question("same")] * 10), tmp_path / "out.jsonl"
        config = InferenceConfig(input_path=source, output_path=output, deduplicate=False)
        first = await self.interrupted(config, after=4)
        second = FakeEngine()
        summary = await second.arun(config)
        assert first.asked.total() + second.asked.total() == 10
        assert summary.completed == 10
        assert len(answers(config.output_path)) == 10

    async def test_ainfer_returns_saved_rows_too(self, config: InferenceConfig) -> None:
        await self.interrupted(config)
        result = await FakeEngine().ainfer(inference_config=config)
        assert [c.messages[-1].content for c in result] == EXPECTED

    async def test_a_list_without_an_output_path_is_resumed_from_the_cache(self, home: Path) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 7":
                raise rejection()

        await FakeEngine(script).ainfer_partial(questions(10))
        cached = list((home / ".cache/asyncinfer/tmp").glob("temp_inference_output_*.jsonl"))
        assert len(cached) == 1
        engine = FakeEngine()
        await engine.ainfer(questions(10))
        assert engine.asked.total() == 1
        assert not cached[0].exists()

    async def test_a_run_is_refused_while_another_run_saves_to_the_same_file(self, config: InferenceConfig) -> None:
        other = ScratchFile(Path(str(config.output_path)).parent / "scratch" / "out.jsonl")
        await anyio.to_thread.run_sync(other.acquire)
        try:
            with pytest.raises(ScratchLockedError, match="Another run"):
                await FakeEngine().arun(config)
        finally:
            await anyio.to_thread.run_sync(other.close)


class TestInput:
    async def check(self, tmp_path: Path, text: str, match: str) -> None:
        path = tmp_path / "in.jsonl"
        path.write_text(text)
        engine = FakeEngine()
        with pytest.raises(InputError, match=match):
            await engine.ainfer(inference_config=InferenceConfig(input_path=str(path)))
        assert not engine.asked, "nothing runs"

    async def test_all_invalid_lines_are_named(self, tmp_path: Path) -> None:
        good = question("fine").to_json()
        await self.check(
            tmp_path,
            f'{good}\nnot json\n\n{{"messages": []}}\n',
            r"2 bad row.*\n  line 2: .*\n  line 4: .*no messages",
        )

    async def test_an_unknown_role_is_named(self, tmp_path: Path) -> None:
        await self.check(tmp_path, '{"messages":[{"role":"boss","content":"x"}]}\n', "line 1: messages.0.role")

    async def test_at_most_twenty_invalid_lines_are_shown(self, tmp_path: Path) -> None:
        await self.check(tmp_path, "bad\n" * 30, "30 bad row.*(?s:.*)and 10 more")

    async def test_a_repeated_id_names_both_lines(self, tmp_path: Path) -> None:
        text = "".join(question(t, conversation_id="x").to_json() + "\n" for t in ("a", "b"))
        await self.check(tmp_path, text, "line 2: conversation_id 'x' is already that of line 1")

    async def test_invalid_rows_of_a_list_are_named(self) -> None:
        rows: list[Conversation] = [question("a"), {"messages": [{"role": "bard", "content": "b"}]}, 3]  # type: ignore[list-item]
        with pytest.raises(
            InputError, match=r"(?s)2 bad row.*row 1: messages\.0\.role.*row 2: should be a Conversation"
        ):
            await FakeEngine().ainfer(rows)

    @pytest.mark.parametrize("setting", ["output_path", "progress_path"])
    async def test_input_and_output_must_be_different_files(
        self, config: InferenceConfig, tmp_path: Path, setting: str
    ) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "in.jsonl")
        before = (tmp_path / "in.jsonl").read_text()
        with pytest.raises(ConfigError, match="same file"):
            await FakeEngine().ainfer(
                inference_config=config.model_copy(update={setting: str(tmp_path / "." / "link")})
            )
        assert (tmp_path / "in.jsonl").read_text() == before

    async def test_input_may_begin_with_a_byte_order_mark(self, config: InferenceConfig, tmp_path: Path) -> None:
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert (await FakeEngine().arun(config)).completed == 50

    async def test_input_from_a_pipe_is_an_error(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(InputError, match="is not a file"):
            await FakeEngine().ainfer(inference_config=InferenceConfig(input_path=str(tmp_path / "fifo")))

    async def test_an_image_that_cannot_be_read_is_named(self) -> None:
        picture = {"role": "user", "content": [{"type": "image_path", "content": "a\0b"}]}
        with pytest.raises(InputError, match=r"row 0: the file 'a\\x00b' cannot be read"):
            await FakeEngine().ainfer([Conversation.from_dict({"messages": [picture]})])

    @pytest.mark.parametrize("name", ["none.png", ".", "fifo", "a\0b", "x" * 300])
    @pytest.mark.parametrize("kind", ["image_path", "document_path"])
    async def test_row_with_an_unreadable_file_is_one_failed_row(
        self, config: InferenceConfig, tmp_path: Path, name: str, kind: str
    ) -> None:
        os.mkfifo(tmp_path / "fifo")
        item = {"type": kind, "content": str(tmp_path / name)}
        bad = Conversation.from_dict({"messages": [{"role": "user", "content": [item]}]})
        rows = [question("a"), bad, question("b"), bad]
        result = await FakeEngine().ainfer_partial(rows)
        assert [index for index, _ in result.successful] == [0, 2]
        assert result.failed_indices == [1, 3]
        assert not any(detail.is_retryable for detail in result.failures.values())
        assert all(str(tmp_path / name)[:20] in message for message in result.error_messages.values())

        write_jsonl(tmp_path / "in.jsonl", rows)
        summary = await FakeEngine().arun(config)
        assert (summary.completed, summary.failed) == (2, 2)
        assert answers(config.output_path) == [answer_to("a"), answer_to("b")]

    async def test_row_is_answered_once_its_file_can_be_read(self, config: InferenceConfig, tmp_path: Path) -> None:
        item = {"type": "image_path", "content": str(tmp_path / "late.png")}
        late = Conversation.from_dict({"messages": [{"role": "user", "content": [item]}]})
        write_jsonl(tmp_path / "in.jsonl", [question("a"), late])
        assert (await FakeEngine().arun(config)).failed == 1
        (tmp_path / "late.png").write_bytes(b"an image")
        summary = await FakeEngine().arun(config)
        assert (summary.completed, summary.resumed) == (2, 1)

    @pytest.mark.parametrize("rows", [[], [question("a")], questions(3)])
    async def test_input_together_with_input_path_is_an_error(
        self, config: InferenceConfig, rows: list[Conversation]
    ) -> None:
        config = config.model_copy(update={"output_path": None})
        engine = FakeEngine()
        for call in (engine.ainfer, engine.ainfer_partial):
            with pytest.raises(ConfigError, match="input_path: .* there is an input too"):
                await call(rows, config)
        with pytest.raises(ConfigError, match="input_path"):
            _ = [pair async for pair in engine.ainfer_iter(rows, config)]
        assert not engine.asked

    async def test_an_empty_file_is_an_error(self, tmp_path: Path) -> None:
        await self.check(tmp_path, "\n\n", "no conversations")

    async def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        config = InferenceConfig(input_path=str(tmp_path / "none.jsonl"))
        with pytest.raises(InputError, match=r"none.jsonl: cannot be read: No such file"):
            await FakeEngine().ainfer(inference_config=config)


class TestIteration:
    async def test_ainfer_iter_yields_rows_as_they_finish(self) -> None:
        got = {index: outcome async for index, outcome in FakeEngine().ainfer_iter(questions(20))}
        assert sorted(got) == list(range(20))
        assert all(isinstance(outcome, Conversation) for outcome in got.values())

    async def test_ainfer_iter_reads_an_endless_source_no_further_than_needed(self) -> None:
        read = 0

        async def endless() -> AsyncIterator[Conversation]:
            nonlocal read
            while True:
                read += 1
                yield question(f"{read}")

        async with FakeEngine(workers=2).ainfer_iter(endless()) as results:
            for _ in range(10):
                await anext(results)
        assert read < 40

    async def test_ainfer_iter_reports_an_invalid_row_and_goes_on(self) -> None:
        source = [question("a"), {"messages": []}, 7, {"messages": [{"role": "user", "content": "b"}]}]
        got = {index: outcome async for index, outcome in FakeEngine().ainfer_iter(source)}
        assert [isinstance(got[i], FailureDetail) for i in range(4)] == [False, True, True, False]
        assert got[1].error_type == InferenceErrorType.PARSE_ERROR  # type: ignore[union-attr]

    async def test_ainfer_iter_saves_and_resumes_with_an_output_path(self, tmp_path: Path) -> None:
        config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
        first = FakeEngine(workers=1)
        async with first.ainfer_iter(questions(10), config) as results:
            seen = [await anext(results) for _ in range(3)]
        second = FakeEngine()
        rest = [pair async for pair in second.ainfer_iter(questions(10), config)]
        assert len(rest) == 10
        assert second.asked.total() <= 10 - len(seen)
        assert answers(config.output_path) == EXPECTED[:10]

    async def test_ainfer_iter_sends_a_duplicate_that_was_added(self, tmp_path: Path) -> None:
        """A row that is saved again, under other metadata, does not count as a second occurrence."""
        config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), deduplicate=False)

        async def stuck(rows: list[Conversation], engine: FakeEngine) -> None:
            async for _ in engine.ainfer_iter([*rows, question("stuck")], config):
                pass

        def script(text: str, _: int) -> None:
            if text == "stuck":
                raise rejection()

        await stuck([question("a", metadata={"v": 1})], FakeEngine(script))
        await stuck([question("a", metadata={"v": 2})], FakeEngine(script))
        again = FakeEngine(script)
        await stuck([question("a", metadata={"v": 2}), question("a", metadata={"v": 3})], again)
        assert again.asked["a"] == 1

    async def test_ainfer_iter_gives_duplicates_different_ids(self) -> None:
        outcomes = [outcome async for _, outcome in FakeEngine().ainfer_iter([question("a"), question("a")])]
        assert len({c.conversation_id for c in outcomes if isinstance(c, Conversation)}) == 2

    async def test_leaving_the_loop_cancels_the_work(self) -> None:
        engine = FakeEngine(lambda text, _: None if text == "question 0" else anyio.sleep_forever(), workers=2)
        async for _ in engine.ainfer_iter(questions(5)):
            break
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert engine.in_flight == 0

    async def test_a_source_that_blocks_can_be_left(self) -> None:
        blocked = threading.Event()

        def source() -> Iterator[Conversation]:
            yield question("a")
            blocked.wait(60)

        try:
            async with FakeEngine().ainfer_iter(source()) as outcomes:
                assert (await anext(outcomes))[0] == 0
        finally:
            blocked.set()

    async def test_a_source_is_advanced_in_one_thread(self) -> None:
        threads: set[int] = set()

        def source() -> Iterator[Conversation]:
            for i in range(50):
                threads.add(threading.get_ident())
                yield question(f"{i}")

        assert len([pair async for pair in FakeEngine().ainfer_iter(source())]) == 50
        assert len(threads) == 1


class TestStop:
    async def test_a_stop_lets_rows_in_flight_finish(self, config: InferenceConfig) -> None:
        stop, release = Stop(), anyio.Event()
        engine = FakeEngine(lambda *_: release.wait(), workers=3)

        async def act() -> None:
            await anyio.wait_all_tasks_blocked()
            stop.request()
            await anyio.wait_all_tasks_blocked()
            release.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(act)
            with pytest.raises(RunInterruptedError) as caught:
                await engine.arun(config, stop=stop)
        assert caught.value.summary.completed == engine.asked.total()

    async def test_rows_in_flight_are_cancelled_after_the_grace_period(self, config: InferenceConfig) -> None:
        stop = Stop(grace=0.0)
        stop.request()
        engine = FakeEngine(lambda *_: anyio.sleep_forever(), workers=3)
        with pytest.raises(RunInterruptedError):
            await engine.arun(config, stop=stop)


class TestProgress:
    async def test_progress_is_written_to_the_file_and_passed_to_the_callback(
        self, config: InferenceConfig, tmp_path: Path
    ) -> None:
        seen: list[int] = []
        path = tmp_path / "progress.json"
        await FakeEngine().ainfer_partial(
            inference_config=config, progress_path=path, on_progress=lambda p: seen.append(p.completed)
        )
        snapshot = json.loads(path.read_text())
        assert (snapshot["total"], snapshot["completed"], snapshot["failed"]) == (50, 50, 0)
        assert snapshot["tokens"]["completion_tokens"] == 200
        assert snapshot["updated_at"]
        assert seen[-1] == 50
