"""Answers that are kept across runs and calls."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import (
    Conversation,
    FinishReason,
    InferenceConfig,
    Message,
    Progress,
    Role,
    RowReused,
    RunEvent,
    RunInterruptedError,
    ScratchError,
    Stop,
    ToolCall,
    Usage,
)
from asyncinfer.scratch import disk
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, answer_to, question, questions, rejection


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    return InferenceConfig(cache=True, cache_path=tmp_path / "answers.sqlite3")


async def test_later_run_takes_its_answers_from_the_cache(config: InferenceConfig) -> None:
    first = await FakeEngine().ainfer(questions(20), config)
    engine, events, shown = FakeEngine(), list[RunEvent](), list[Progress]()
    again = await engine.ainfer(questions(20), config, observers=[events.append], on_progress=shown.append)
    assert not engine.asked
    assert [answer.text for answer in again] == [answer.text for answer in first]
    assert {event.source for event in events if isinstance(event, RowReused)} == {"cache"}
    assert (shown[-1].cached, shown[-1].completed, shown[-1].usage.total_tokens) == (20, 20, 0)
    assert again[0].metadata["from_cache"] is True
    assert "usage" not in again[0].metadata
    assert again[0].metadata["finish_reason"] == "stop"
    assert first[0].metadata["usage"]["total_tokens"] == 7


async def test_cache_is_off_by_default(tmp_path: Path) -> None:
    engine = FakeEngine()
    for _ in range(2):
        await engine.ainfer(questions(2), InferenceConfig(cache_path=str(tmp_path / "answers.sqlite3")))
    assert engine.asked.total() == 4
    assert not (tmp_path / "answers.sqlite3").exists()


async def test_answer_to_other_settings_is_not_used(config: InferenceConfig) -> None:
    engine = FakeEngine()
    await engine.ainfer(questions(2), config)
    other = InferenceConfig.model_validate({**config.model_dump(exclude_unset=True), "generation": {"seed": 3}})
    await engine.ainfer(questions(2), other)
    assert engine.asked.total() == 4


async def test_whole_answer_is_kept(config: InferenceConfig) -> None:
    calls = [ToolCall.model_validate({"id": "c", "function": {"name": "f", "arguments": "{}"}})]
    message = Message(role=Role.ASSISTANT, content=None, tool_calls=calls, reasoning_content="hm", **{"signature": "s"})

    class Calling(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            await super()._generate(conversation)
            return Completion(message, FinishReason.TOOL_CALLS, Usage(1, 2, 3), {"response_model": "m-1"})

    engine = Calling()
    for _ in range(2):
        [answer, _] = await engine.ainfer(questions(2), config)
        assert answer.messages[-1] == message
        assert answer.metadata["response_model"] == "m-1"
        assert answer.metadata["finish_reason"] == "tool_calls"
    assert engine.asked.total() == 2


async def test_failed_rows_and_filtered_answers_are_not_kept(config: InferenceConfig) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 1":
            raise rejection()

    class Filtering(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            completion = await super()._generate(conversation)
            completion.finish_reason = FinishReason.CONTENT_FILTER
            return completion

    for _ in range(2):
        filtering, failing = Filtering(), FakeEngine(script)
        await filtering.ainfer([question("a"), question("b")], config)
        assert filtering.asked.total() == 2
        await failing.ainfer_partial(questions(2), config)
        assert failing.asked["question 1"] == 1


async def test_duplicates_share_a_cached_answer(config: InferenceConfig) -> None:
    rows = [question("a"), question("a"), question("b")]
    await FakeEngine().ainfer(rows, config)
    engine = FakeEngine()
    answers = await engine.ainfer(rows, config)
    assert not engine.asked
    assert answers[1].metadata["duplicate_of"] == answers[0].metadata["row_key"]


async def test_random_answers_to_duplicates_stay_different(config: InferenceConfig) -> None:
    class Counting(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            completion = await super()._generate(conversation)
            completion.message = Message(role=Role.ASSISTANT, content=str(self.asked.total()))
            return completion

    warm = InferenceConfig.model_validate({**config.model_dump(exclude_unset=True), "generation": {"temperature": 1}})
    rows = [question("a"), question("a"), question("a")]
    first = [answer.text for answer in await Counting().ainfer(rows, warm)]
    engine = Counting()
    assert [answer.text for answer in await engine.ainfer(rows, warm)] == first
    assert len(set(first)) == 3
    assert not engine.asked


async def test_single_calls_use_the_cache(config: InferenceConfig) -> None:
    engine = FakeEngine()
    asked = question("a", metadata={"topic": "x"})
    first, second = await engine.agenerate(asked, config), await engine.agenerate(asked, config)
    assert engine.asked == {"a": 1}
    assert first.text == second.text == answer_to("a")
    assert second.metadata["topic"] == "x"
    assert second.metadata["from_cache"] is True
    [third] = await engine.ainfer([asked], config)  # Runs and calls share it.
    assert third.text == first.text
    assert engine.asked == {"a": 1}


class TestOpenFile:
    """Single calls keep the file open until the engine is closed."""

    @pytest.fixture
    def path(self, config: InferenceConfig) -> Path:
        return Path(str(config.cache_path))

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The files that were opened, in this order."""
        opened, connect = list[str](), sqlite3.connect

        def record(path: Path, **options: Any) -> sqlite3.Connection:
            opened.append(path.name)
            return connect(path, **options)

        monkeypatch.setattr(sqlite3, "connect", record)
        return opened

    async def test_calls_share_it(self, config: InferenceConfig, opened: list[str]) -> None:
        async with FakeEngine() as engine:
            for text in ("a", "b", "a"):
                await engine.agenerate(text, config)
            await asyncio.gather(*(engine.agenerate(f"text {number}", config) for number in range(20)))
        assert opened == ["answers.sqlite3"]

    def test_event_loops_share_it(self, config: InferenceConfig, opened: list[str]) -> None:
        engine = FakeEngine()
        for text in ("a", "b", "a"):
            asyncio.run(asyncio.wait_for(engine.agenerate(text, config), 30))
        assert engine.asked == {"a": 1, "b": 1}
        assert len(opened) == 1
        engine.close()

    async def test_closing_the_engine_closes_it(self, config: InferenceConfig, path: Path, opened: list[str]) -> None:
        log = path.with_name(f"{path.name}-wal")  # SQLite removes it when nobody has the file open.
        async with FakeEngine() as engine:
            await engine.agenerate("a", config)
            assert log.exists()
        assert not log.exists()
        await engine.agenerate("a", config)
        assert (engine.asked, len(opened)) == ({"a": 1}, 2)
        await engine.aclose()

    async def test_it_is_closed_with_an_engine_that_nobody_refers_to(self, config: InferenceConfig, path: Path) -> None:
        engine = FakeEngine()
        await engine.agenerate("a", config)
        del engine
        gc.collect()
        assert not path.with_name(f"{path.name}-wal").exists()

    async def test_file_that_was_removed_is_made_again(
        self, config: InferenceConfig, path: Path, opened: list[str]
    ) -> None:
        async with FakeEngine() as engine:
            await engine.agenerate("a", config)
            for file in path.parent.glob("answers.sqlite3*"):
                file.unlink()
            await engine.agenerate("a", config)
            assert path.exists()
            await engine.agenerate("a", config)
        assert engine.asked == {"a": 2}
        assert len(opened) == 2

    async def test_file_that_could_not_be_used_is_tried_again(self, config: InferenceConfig, path: Path) -> None:
        path.mkdir()
        async with FakeEngine() as engine:
            await engine.agenerate("a", config)
            path.rmdir()
            await engine.agenerate("a", config)
            await engine.agenerate("a", config)
        assert engine.asked == {"a": 2}

    async def test_only_the_files_of_the_latest_calls_stay_open(self, config: InferenceConfig, tmp_path: Path) -> None:
        async with FakeEngine() as engine:
            for number in range(20):
                path = tmp_path / f"{number}.sqlite3"
                await engine.agenerate("a", config.model_copy(update={"cache_path": str(path)}))
            assert len(list(tmp_path.glob("*-wal"))) == 8


async def test_iteration_uses_the_cache(config: InferenceConfig) -> None:
    for _ in range(2):
        engine = FakeEngine()
        seen = [outcome async for _, outcome in engine.ainfer_iter(iter(questions(30)), config)]
        assert len(seen) == 30
    assert not engine.asked


async def test_answer_that_could_not_be_saved_is_asked_again(
    config: InferenceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its tokens would be missing in the output, and in what the job may spend."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    job = config.model_copy(update={"output_path": str(tmp_path / "out.jsonl")})
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(ScratchError):
            await FakeEngine().ainfer(questions(3), job)
    engine = FakeEngine()
    answers = await engine.ainfer(questions(3), job)
    assert engine.asked.total() == 3
    assert all("usage" in answer.metadata for answer in answers)


async def test_stopped_run_leaves_all_saved_answers_in_the_cache(config: InferenceConfig, tmp_path: Path) -> None:
    stop = Stop(grace=30)
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 20" else None, workers=8)
    first = config.model_copy(update={"output_path": str(tmp_path / "first.jsonl")})
    with pytest.raises(RunInterruptedError) as stopped:
        await engine.ainfer(questions(100), first, stop=stop)
    other = FakeEngine()
    await other.ainfer(questions(100), config.model_copy(update={"output_path": str(tmp_path / "other.jsonl")}))
    assert other.asked.total() == 100 - stopped.value.summary.completed


async def test_cached_rows_are_in_the_output_and_cost_nothing(config: InferenceConfig, tmp_path: Path) -> None:
    def priced(**more: Any) -> InferenceConfig:
        prices = {"cost_per_million": {"input": 1, "output": 1}}
        return InferenceConfig.model_validate({**config.model_dump(exclude_unset=True), **prices, **more})

    await FakeEngine().ainfer(questions(10), priced())
    shown = list[Progress]()
    output = tmp_path / "out.jsonl"
    await FakeEngine().ainfer(questions(12), priced(output_path=str(output)), on_progress=shown.append)
    assert len(output.read_text().splitlines()) == 12
    cost = shown[-1].cost
    assert cost is not None
    assert cost.usd == pytest.approx(2 * 7e-6)


@pytest.mark.parametrize("broken", ["damaged", "folder"])
async def test_broken_cache_never_fails_a_run(
    broken: str, config: InferenceConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.sqlite3"
    if broken == "damaged":
        path.write_bytes(b"no database" * 1_000)
    else:
        path.mkdir()
    with caplog.at_level(logging.WARNING, "asyncinfer"):
        assert len(await FakeEngine().ainfer(questions(5), config)) == 5
    assert sum("answers.sqlite3" in record.message for record in caplog.records) == 1


async def test_cache_that_cannot_be_used_is_reported_once_for_all_calls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    unusable = InferenceConfig(cache=True, cache_path=tmp_path / "file" / "answers.sqlite3")
    engine = FakeEngine()
    for _ in range(3):
        await engine.agenerate("a", unusable)
        await engine.ainfer(questions(2), unusable)
    assert engine.asked["a"] == 3
    assert caplog.text.count("the cache is not used") == 1
