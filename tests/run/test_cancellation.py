"""A run cancelled at any of its steps leaves nothing behind, and loses nothing that was saved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from asyncinfer import InferenceConfig
from asyncinfer.scratch.file import ScratchFile
from tests.conftest import BlockWatch
from tests.fakes import FakeEngine, questions, read_jsonl, timeout, write_jsonl

ROWS = 6


@pytest.fixture
def inline_threads(monkeypatch: pytest.MonkeyPatch, block_watch: BlockWatch) -> None:
    """Work for threads is done on the spot, so that a step of the loop is the same step every time.

    As the real one, it can be cancelled before it begins, and by no scope afterwards.
    """

    async def run_sync(function: Callable[..., object], *args: object, **_: object) -> object:
        await anyio.lowlevel.checkpoint()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            result = function(*args)
            await anyio.lowlevel.checkpoint()
            return result

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    block_watch.off()


def engine_with_a_bad_minute() -> FakeEngine:
    """Yields to others now and then, and times out once."""

    async def script(text: str, attempt: int) -> None:
        await anyio.lowlevel.checkpoint()
        if text == "question 2" and attempt == 1:
            raise timeout()

    return FakeEngine(script, workers=2, retry_backoff_base=1e-9, retry_backoff_max=1e-9)


async def cancelled_after(steps: int, job: asyncio.Task[object]) -> bool:
    """Cancel `job` after so many turns of the loop; False if it was done before."""
    for _ in range(steps):
        if job.done():
            return False
        await asyncio.sleep(0)
    job.cancel()
    await asyncio.wait([job])
    return True


@pytest.mark.usefixtures("inline_threads")
async def test_a_run_cancelled_at_every_step(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    steps, saved_counts = 0, set[int]()
    while True:
        config = InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / f"out{steps}.jsonl"))
        engine, files = engine_with_a_bad_minute(), len(os.listdir("/proc/self/fd"))
        job = asyncio.create_task(engine.arun(config))
        if not await cancelled_after(steps, job):
            assert (await job).completed == ROWS
            break
        semaphore = engine._semaphore()
        assert (semaphore.in_use, semaphore.waiting, engine.in_flight) == (0, 0, 0), f"step {steps}: permits"
        assert asyncio.all_tasks() == {asyncio.current_task()}, f"step {steps}: tasks"
        assert len(os.listdir("/proc/self/fd")) == files, f"step {steps}: files"
        saved = saved_rows(tmp_path / "scratch" / f"out{steps}.jsonl")
        saved_counts.add(saved)
        again = FakeEngine()
        summary = await again.arun(config)
        assert (summary.completed, again.asked.total()) == (ROWS, ROWS - saved), f"step {steps}: resume"
        assert len(read_jsonl(tmp_path / f"out{steps}.jsonl")) == ROWS
        steps += 1
    assert saved_counts >= {0, ROWS}, "the steps covered the whole run"


def saved_rows(path: Path) -> int:
    if not path.exists():
        return 0
    file = ScratchFile(path)
    file.acquire()
    try:
        return len(list(file.recover()))
    finally:
        file.close()


@pytest.mark.usefixtures("inline_threads")
async def test_a_stream_cancelled_at_every_step() -> None:
    steps = 0
    while True:
        engine = engine_with_a_bad_minute()

        async def consume(engine: FakeEngine = engine) -> int:
            return len([pair async for pair in engine.ainfer_iter(questions(ROWS))])

        job = asyncio.create_task(consume())
        if not await cancelled_after(steps, job):
            assert await job == ROWS
            return
        del job
        for _ in range(20):
            await asyncio.sleep(0)
        semaphore = engine._semaphore()
        assert (semaphore.in_use, semaphore.waiting, engine.in_flight) == (0, 0, 0), f"step {steps}: permits"
        assert asyncio.all_tasks() == {asyncio.current_task()}, f"step {steps}: tasks"
        steps += 1


async def test_a_cancelled_wait_for_a_permit_takes_none() -> None:
    release = anyio.Event()
    engine = FakeEngine(lambda *_: release.wait(), workers=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.ainfer, questions(1))
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            with anyio.move_on_after(0.01):
                await engine.ainfer(questions(1))
        release.set()
    assert (engine._semaphore().in_use, engine._semaphore().waiting) == (0, 0)
    assert len(await engine.ainfer(questions(3))) == 3
