"""Identical rows of a deterministic call are sent once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    Conversation,
    GenerationParams,
    InferenceConfig,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    RowReused,
    RunEvent,
    RunInterruptedError,
    SpendingLimitError,
    Stop,
)
from tests.fakes import FakeEngine, answer_to, question, read_jsonl, rejection, write_jsonl


def rows(*texts: str) -> list[Conversation]:
    return [question(text) for text in texts]


def config(**more: Any) -> InferenceConfig:
    return InferenceConfig.model_validate(more)


async def test_identical_rows_are_sent_once_and_all_get_the_answer() -> None:
    engine, events = FakeEngine(), list[RunEvent]()
    answers = await engine.ainfer(rows("a", "b", "a", "a"), observers=[events.append])
    assert [answer.text for answer in answers] == [answer_to(text) for text in ("a", "b", "a", "a")]
    assert engine.asked == {"a": 1, "b": 1}
    reused = [event for event in events if isinstance(event, RowReused)]
    assert [(event.index, event.source) for event in reused] == [(2, "duplicate"), (3, "duplicate")]


async def test_usage_is_counted_once_and_copies_are_marked(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", rows("a", "a", "b"))
    job = config(
        input_path=str(source), output_path=str(tmp_path / "out.jsonl"), cost_per_million={"input": 1, "output": 1}
    )
    summary = await FakeEngine().arun(job)
    assert summary.usage.total_tokens == 2 * 7
    assert summary.cost is not None
    assert summary.cost.usd == pytest.approx(2 * 7e-6)
    assert (summary.completed, summary.deduplicated, summary.attempts) == (3, 1, 2)
    first, copy, other = (row["metadata"] for row in read_jsonl(tmp_path / "out.jsonl"))
    assert copy["duplicate_of"] == first["row_key"]
    assert copy["row_key"] == f"{first['row_key']}-1"
    assert "usage" not in copy
    assert "cost" not in copy
    assert first["usage"]["total_tokens"] == 7
    assert "duplicate_of" not in first | other


async def test_ids_and_metadata_of_copies_are_their_own() -> None:
    first, second = question("a", metadata={"topic": "x"}), question("a", metadata={"topic": "y"})
    answers = await FakeEngine().ainfer([first, second])
    assert [answer.metadata["topic"] for answer in answers] == ["x", "y"]
    assert answers[0].conversation_id != answers[1].conversation_id


async def test_copies_get_the_failure_of_the_row_that_was_sent() -> None:
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


async def test_setting_makes_random_rows_equal() -> None:
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


async def test_far_more_repeats_than_can_wait_are_answered() -> None:
    async def script(*_: object) -> None:
        await anyio.sleep(0.01)

    engine = FakeEngine(script, workers=4)  # type: ignore[arg-type]
    assert len(await engine.ainfer(rows(*["same"] * 6_000))) == 6_000
    assert engine.asked["same"] < 2_000


async def test_copies_that_come_long_after_the_answer_get_it_from_the_scratch_file(tmp_path: Path) -> None:
    texts = [str(number) for number in range(1_500)]
    source = write_jsonl(tmp_path / "in.jsonl", rows(*texts, *texts))
    engine = FakeEngine(workers=50)
    summary = await engine.arun(config(input_path=str(source), output_path=str(tmp_path / "out.jsonl")))
    assert engine.asked.total() == 1_500
    assert summary.deduplicated == 1_500
    answers = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert answers == [answer_to(text) for text in [*texts, *texts]]


async def test_interrupted_run_goes_on_with_the_copies(tmp_path: Path) -> None:
    stop, job = Stop(), config(output_path=str(tmp_path / "out.jsonl"))
    texts = [str(number % 30) for number in range(90)]
    engine = FakeEngine(lambda *_: stop.request() if engine.asked.total() == 20 else None, workers=2)
    with pytest.raises(RunInterruptedError):
        await engine.ainfer(rows(*texts), job, stop=stop)
    again = FakeEngine()
    answers = await again.ainfer(rows(*texts), job)
    assert [answer.text for answer in answers] == [answer_to(text) for text in texts]
    assert engine.asked.total() + again.asked.total() == 30


async def test_copies_do_not_count_towards_a_limit(tmp_path: Path) -> None:
    job = config(generation={"max_new_tokens": 10}, max_tokens=345)
    assert len(await FakeEngine().ainfer(rows("a", "a", "a"), job)) == 3


async def test_limit_ends_a_run_while_copies_wait() -> None:
    job = config(generation={"max_new_tokens": 10}, max_tokens=340)
    with pytest.raises(SpendingLimitError):
        await FakeEngine().ainfer(rows("a", "b", "c", "a", "b", "c"), job)


@pytest.mark.parametrize("saves", [True, False])
async def test_iteration_sends_repeated_rows_once(saves: bool, tmp_path: Path) -> None:
    engine = FakeEngine(workers=2)
    job = config(**({"output_path": str(tmp_path / "out.jsonl")} if saves else {}))
    texts = [str(number % 10) for number in range(100)]
    seen = {index: outcome async for index, outcome in engine.ainfer_iter(iter(rows(*texts)), job)}
    assert engine.asked.total() == 10
    assert sorted(seen) == list(range(100))
    assert all(isinstance(seen[i], Conversation) and seen[i].text == answer_to(texts[i]) for i in seen)


async def test_generation_settings_are_a_part_of_what_is_identical() -> None:
    engine = FakeEngine()
    await engine.ainfer(rows("a", "a"))
    await engine.ainfer(rows("a", "a"), InferenceConfig(generation=GenerationParams(max_new_tokens=7)))
    assert engine.asked == {"a": 2}
