"""Equal runs without an output path, at the same time and one after the other."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest

from asyncinfer.scratch import temporary
from tests.fakes import FakeEngine, questions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(temporary, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


async def interrupted(count: int) -> FakeEngine:
    """Run `count` equal runs at the same time, and cancel them when each has saved one of its three rows."""
    engine = FakeEngine(lambda text, _: None if text == "question 0" else anyio.sleep_forever())
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(engine.ainfer_partial, questions(3))
        with anyio.fail_after(10):
            while engine.in_flight < 2 * count:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()
    return engine


async def test_equal_runs_at_the_same_time_are_all_saved_without_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await interrupted(3)
    assert len(list(folder.glob("*.jsonl"))) == 3
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_next_equal_runs_resume_the_rows_of_the_interrupted_ones(folder: Path) -> None:
    await interrupted(2)
    for _ in range(2):
        engine = FakeEngine()
        assert len(await engine.ainfer(questions(3))) == 3
        assert "question 0" not in engine.asked
    assert not list(folder.glob("*.jsonl"))


async def test_each_run_has_its_answers(folder: Path) -> None:
    engine, results = FakeEngine(lambda *_: anyio.sleep(0.05)), list[list[str]]()

    async def call() -> None:
        results.append([answered.text for answered in await engine.ainfer(questions(3))])

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call)
    assert results == [[f"answer to question {i}" for i in range(3)]] * 5
