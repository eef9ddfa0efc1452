"""Duplicate rows of a deterministic call are sent once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from asyncinfer import (
    Conversation,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    Message,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    Role,
    RowReused,
    RunEvent,
    RunInterruptedError,
    SpendingLimitError,
    Stop,
    Usage,
)
from asyncinfer.run import duplicates
from asyncinfer.run.duplicates import Duplicates
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, answer_to, question, read_jsonl, rejection, write_jsonl


def rows(*texts: str) -> list[Conversation]:
    return [question(text) for text in texts]


def config(**more: Any) -> InferenceConfig:
    return InferenceConfig.model_validate(more)


async def test_duplicates_are_sent_once_and_all_get_the_answer() -> None:
    engine, events = FakeEngine(), list[RunEvent]()
    answers = await engine.ainfer(rows("a", "b", "a", "a"), observers=[events.append])
    assert [answer.text for answer in answers] == [answer_to(text) for text in ("a", "b", "a", "a")]
    assert engine.asked == {"a": 1, "b": 1}
    reused = [event for event in events if isinstance(event, RowReused)]
    assert [(event.index, event.source) for event in reused] == [(2, "duplicate"), (3, "duplicate")]


async def test_usage_is_counted_once_and_duplicates_are_marked(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", rows("a", "a", "b"))
    job = config(
        input_path=str(source), output_path=str(tmp_path / "out.jsonl"), cost_per_million={"input": 1, "output": 1}
    )
    summary = await FakeEngine().arun(job)
    assert summary.usage.total_tokens == 2 * 7
    assert summary.cost is not None
    assert summary.cost.usd == pytest.approx(2 * 7e-6)
    assert (summary.completed, summary.deduplicated, summary.attempts) == (3, 1, 2)
    first, duplicate, other = (row["metadata"] for row in read_jsonl(tmp_path / "out.jsonl"))
    assert duplicate["duplicate_of"] == first["row_key"]
    assert duplicate["row_key"] == f"{first['row_key']}-1"
    assert "usage" not in duplicate
    assert "cost" not in duplicate
    assert first["usage"]["total_tokens"] == 7
    assert "duplicate_of" not in first | other


async def test_ids_and_metadata_of_duplicates_are_their_own() -> None:
    first, second = question("a", metadata={"topic": "x"}), question("a", metadata={"topic": "y"})
    answers = await FakeEngine().ainfer([first, second])
    assert [answer.metadata["topic"] for answer in answers] == ["x", "y"]
    assert answers[0].conversation_id != answers[1].conversation_id


async def test_duplicates_get_the_failure_of_the_row_that_was_sent() -> None:
    def script(text: str, _: int) -> None:
        if text == "a":
            raise rejection()

    engine = FakeEngine(script)
    result = await engine.ainfer_partial(rows("a", "b", "a"))
    assert result.failed_indices == [0, 2]
    assert engine.asked == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {"generation": {"temperature": 0.5}},
        {"generation": {"temperature": None}},
        {"generation": {"extra_body": {"tools": [{"type": "web_search"}]}}},
        {"deduplicate": False},
    ],
)
async def test_rows_that_may_have_different_answers_are_all_sent(settings: dict[str, Any]) -> None:
    engine = FakeEngine()
    await engine.ainfer(rows("a", "a", "a"), config(**settings))
    assert engine.asked == {"a": 3}


async def test_setting_gives_duplicates_one_random_answer() -> None:
    engine = FakeEngine()
    await engine.ainfer(rows("a", "a"), config(generation={"temperature": 1}, deduplicate=True))
    assert engine.asked == {"a": 1}


@pytest.mark.parametrize(("model", "expected"), [("gpt-4o", True), ("gpt-5", False)])
async def test_model_that_ignores_the_temperature_is_not_deterministic(model: str, expected: bool) -> None:
    engine = OpenAIInferenceEngine(ModelParams(model_name=model), remote_params=RemoteParams(api_key="k"))
    assert engine._is_deterministic(await engine.access()) is expected


async def test_slow_row_does_not_hold_up_the_others() -> None:
    """Thousands of rows that wait for one do not count as open."""
    others_done, asked = anyio.Event(), 0

    async def script(text: str, _: int) -> None:
        nonlocal asked
        if text == "same":
            await others_done.wait()
            return
        asked += 1
        if asked == 500:
            others_done.set()

    engine = FakeEngine(script, workers=4)  # type: ignore[arg-type]
    answers = await engine.ainfer(rows(*["same"] * 3_000, *(str(number) for number in range(500))))
    assert len(answers) == 3_500
    assert engine.asked["same"] == 1


async def test_far_more_duplicates_than_can_wait_are_answered_with_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_BYTES", 100_000)
    waiting = 0

    async def script(*_: object) -> None:
        nonlocal waiting
        await anyio.sleep(0.01)
        waiting = most()

    most = _most_waiting(monkeypatch)
    engine = FakeEngine(script, workers=4)  # type: ignore[arg-type]
    assert len(await engine.ainfer(rows(*["same"] * 6_000, *["other"] * 3_000))) == 9_000
    assert engine.asked == {"same": 1, "other": 1}
    assert 100 < waiting < 1_000


def _most_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what returns the most duplicates that have waited at once."""
    most, wait = 0, Duplicates.wait

    def counting(self: Duplicates, row: Row) -> None:
        nonlocal most
        wait(self, row)
        most = max(most, self.count)

    monkeypatch.setattr(Duplicates, "wait", counting)
    return lambda: most


async def test_failure_of_an_original_fails_thousands_of_duplicates() -> None:
    async def script(text: str, _: int) -> None:
        await anyio.sleep(0.01)
        if text == "same":
            raise rejection()

    engine = FakeEngine(script, workers=4)  # type: ignore[arg-type]
    result = await engine.ainfer_partial(rows("fine", *["same"] * 5_000))
    assert (len(result.successful), len(result.failures)) == (1, 5_000)
    assert engine.asked["same"] == 1


async def test_duplicates_share_no_object_that_a_caller_may_change(tmp_path: Path) -> None:
    class Shape(BaseModel):
        sides: list[int]

    class Typed(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            await super()._generate(conversation)
            message = Message(role=Role.ASSISTANT, content='{"sides": [3]}')
            return Completion(message, FinishReason.STOP, Usage(1, 1, 2), {"choices": [{"index": 0}]})

    for job in (config(), config(output_path=str(tmp_path / "out.jsonl"))):
        first, second, third, _ = await Typed().ainfer(rows("a", "a", "a", "b"), job, response_model=Shape)
        first.parsed.sides.append(4)
        first.metadata["choices"].clear()
        for other in (second, third):
            assert other.text == '{"sides": [3]}'
            assert other.parsed == Shape(sides=[3])
            assert other.metadata["choices"] == [{"index": 0}]


async def test_answer_that_the_caller_changes_is_given_to_later_duplicates_unchanged() -> None:
    class Calling(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            completion = await super()._generate(conversation)
            return replace(completion, metadata={"choices": [{"index": 0}]})

    seen = list[object]()
    async with Calling(workers=1).ainfer_iter(rows("a", *"bcdefghij", "a")) as outcomes:
        async for _, outcome in outcomes:
            assert isinstance(outcome, Conversation)
            seen.append([*outcome.metadata["choices"]])
            outcome.metadata["choices"].clear()
    assert seen == [[{"index": 0}]] * 11


async def test_duplicate_names_the_row_that_was_sent() -> None:
    """The first row of a key may have failed long before."""
    failing = iter([True])

    def script(text: str, _: int) -> None:
        if text == "same" and next(failing, False):
            raise rejection()

    between = [str(number) for number in range(1_100)]  # More outcomes than are kept.
    engine = FakeEngine(script, workers=20)
    result = await engine.ainfer_partial(rows("same", *between, "same", "same"))
    answers = dict(result.successful)
    assert answers[1_102].metadata["duplicate_of"] == answers[1_101].metadata["row_key"]


async def test_duplicates_that_come_long_after_the_answer_get_it_from_the_scratch_file(tmp_path: Path) -> None:
    texts = [str(number) for number in range(1_500)]
    source = write_jsonl(tmp_path / "in.jsonl", rows(*texts, *texts))
    engine = FakeEngine(workers=50)
    summary = await engine.arun(config(input_path=str(source), output_path=str(tmp_path / "out.jsonl")))
    assert engine.asked.total() == 1_500
    assert summary.deduplicated == 1_500
    answers = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert answers == [answer_to(text) for text in [*texts, *texts]]


async def test_interrupted_run_goes_on_with_the_duplicates(tmp_path: Path) -> None:
    stop, job = Stop(), config(output_path=str(tmp_path / "out.jsonl"))
    texts = [str(number % 30) for number in range(90)]
    engine = FakeEngine(lambda *_: stop.request() if engine.asked.total() == 20 else None, workers=2)
    with pytest.raises(RunInterruptedError):
        await engine.ainfer(rows(*texts), job, stop=stop)
    again = FakeEngine()
    answers = await again.ainfer(rows(*texts), job)
    assert [answer.text for answer in answers] == [answer_to(text) for text in texts]
    assert engine.asked.total() + again.asked.total() == 30


async def test_duplicates_do_not_count_towards_a_limit(tmp_path: Path) -> None:
    job = config(generation={"max_new_tokens": 10}, max_tokens=345)
    assert len(await FakeEngine().ainfer(rows("a", "a", "a"), job)) == 3


async def test_limit_ends_a_run_while_duplicates_wait() -> None:
    job = config(generation={"max_new_tokens": 10}, max_tokens=340)
    with pytest.raises(SpendingLimitError):
        await FakeEngine().ainfer(rows("a", "b", "c", "a", "b", "c"), job)


@pytest.mark.parametrize("saves", [True, False])
async def test_iteration_sends_duplicates_once(saves: bool, tmp_path: Path) -> None:
    engine = FakeEngine(workers=2)
    job = config(**({"output_path": str(tmp_path / "out.jsonl")} if saves else {}))
    texts = [str(number % 10) for number in range(100)]
    seen = {index: outcome async for index, outcome in engine.ainfer_iter(iter(rows(*texts)), job)}
    assert engine.asked.total() == 10
    assert sorted(seen) == list(range(100))
    assert all(isinstance(seen[i], Conversation) and seen[i].text == answer_to(texts[i]) for i in seen)


async def test_iteration_takes_duplicates_from_the_scratch_file(tmp_path: Path) -> None:
    """Also long after the answer, and in a run that was interrupted before its duplicates were read."""
    texts, job = [str(number) for number in range(1_500)], config(output_path=str(tmp_path / "out.jsonl"))
    stop = Stop(grace=0)
    engine = FakeEngine(lambda *_: stop.request() if engine.asked.total() == 1_400 else None, workers=20)
    with pytest.raises(RunInterruptedError):
        async for _ in engine.ainfer_iter(rows(*texts), job, stop=stop):
            pass
    again, count = FakeEngine(workers=20), 0
    async for _, outcome in again.ainfer_iter(rows(*texts, *texts), job):
        count += isinstance(outcome, Conversation)
    assert count == 3_000
    assert again.asked.total() < 200


@pytest.mark.parametrize("deduplicate", [None, True])
async def test_rows_with_random_settings_of_their_own_are_sent(deduplicate: bool | None) -> None:
    warm = question("a", generation={"temperature": 1})
    engine = FakeEngine()
    await engine.ainfer([warm, warm, question("b"), question("b")], config(deduplicate=deduplicate))
    assert engine.asked == {"a": 1 if deduplicate else 2, "b": 1}


async def test_rows_with_other_generation_settings_are_no_duplicates() -> None:
    engine = FakeEngine()
    await engine.ainfer(rows("a", "a"))
    await engine.ainfer(rows("a", "a"), InferenceConfig(generation=GenerationParams(max_new_tokens=7)))
    assert engine.asked == {"a": 2}
