"""Saved rows of other input or settings stay in the scratch file of an output."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from asyncinfer import InferenceConfig, RunInterruptedError, Stop
from tests.fakes import FakeEngine, answer_to, question, questions, read_jsonl, rejection, write_jsonl


@pytest.fixture
async def stopped(tmp_path: Path) -> tuple[InferenceConfig, set[str]]:
    """A job of fifty rows that was stopped, and the questions whose answers it saved."""
    write_jsonl(tmp_path / "in.jsonl", questions(50))
    config = InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))
    stop = Stop()
    engine = FakeEngine(lambda *_: stop.request() if engine.asked.total() == 30 else None, workers=2)
    with pytest.raises(RunInterruptedError):
        await engine.arun(config, stop=stop)
    return config, set(engine.asked)


async def finish(config: InferenceConfig, saved: set[str]) -> None:
    """Resume the job, and check that it sends none of the saved rows again."""
    engine = FakeEngine()
    await engine.arun(config)
    assert engine.asked.keys() == {f"question {i}" for i in range(50)} - saved
    output = Path(str(config.output_path))
    assert [row["messages"][-1]["content"] for row in read_jsonl(output)] == [
        answer_to(f"question {i}") for i in range(50)
    ]
    assert not (output.parent / "scratch").exists()


Stopped = tuple[InferenceConfig, set[str]]


async def test_run_of_other_rows_keeps_saved_rows_and_warns(
    stopped: Stopped, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, saved = stopped
    caplog.set_level(logging.WARNING)
    other = config.model_copy(update={"input_path": str(write_jsonl(tmp_path / "b.jsonl", map(question, "abc")))})
    await FakeEngine().arun(other)
    scratch = tmp_path / "scratch" / "out.jsonl"
    assert scratch.read_bytes().count(b"\n") == len(saved), "the rows of this run were removed"
    assert f"{scratch} keeps {len(saved)} saved row(s) that belong to other input or settings" in caplog.text
    assert "delete the file" in caplog.text
    assert not list(scratch.parent.glob("*.lock"))
    await finish(config, saved)


async def test_run_of_some_rows_keeps_the_other_saved_rows(stopped: Stopped, tmp_path: Path) -> None:
    config, saved = stopped
    write_jsonl(tmp_path / "b.jsonl", questions(5))
    await FakeEngine().arun(config.model_copy(update={"input_path": str(tmp_path / "b.jsonl")}))
    engine = FakeEngine()
    await engine.arun(config)
    assert engine.asked.keys() == {f"question {i}" for i in range(50)} - saved | {f"question {i}" for i in range(5)}


async def test_run_with_other_settings_keeps_saved_rows(stopped: Stopped) -> None:
    config, saved = stopped
    await FakeEngine(model="other").arun(config)
    await finish(config, saved)


async def test_ainfer_iter_keeps_other_saved_rows(stopped: Stopped) -> None:
    config, saved = stopped
    rows = [question("a"), question("question 0")]
    engine = FakeEngine()
    async for _ in engine.ainfer_iter(rows, InferenceConfig(output_path=config.output_path)):
        pass
    assert engine.asked.keys() == {"a"}
    await finish(config, saved - {"question 0"})


async def test_run_with_failed_rows_keeps_all_saved_rows(stopped: Stopped, tmp_path: Path) -> None:
    config, saved = stopped
    write_jsonl(tmp_path / "b.jsonl", map(question, "abc"))

    def script(text: str, _: int) -> None:
        if text == "b":
            raise rejection()

    other = config.model_copy(update={"input_path": str(tmp_path / "b.jsonl")})
    await FakeEngine(script).arun(other)
    engine = FakeEngine()
    await engine.arun(other)
    assert engine.asked.keys() == {"b"}
    await finish(config, saved)
