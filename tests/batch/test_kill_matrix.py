"""A run is killed while it submits, polls or reads results, and started again: every row once, no row sent twice."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.batch.killed import run_in_child
from tests.batch.server import BatchServer
from tests.batch.server import Faults as ServerFaults
from tests.conftest import BlockWatch
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl
from tests.faulty_disk import Faults

ROWS = 40  # In five jobs.
TIMES = 20
# The steps of the server at which a run is killed, in each part of a run.
PARTS = {
    "submit": ("received", "uploaded", "created", "uploaded"),
    "poll": ("polled",),
    "download": ("sent",),
}


class Killer:
    """Kills the process of a run at the n-th step of a kind."""

    def __init__(self, step: str, n: int) -> None:
        self.step, self.left, self.pid = step, n, 0

    def __call__(self, step: str) -> None:
        if step == self.step and self.pid:
            self.left -= 1
            if self.left == 0:
                os.kill(self.pid, signal.SIGKILL)

    def started(self, pid: int) -> None:
        self.pid = pid


def check(folder: Path, server: BatchServer, rows: int = ROWS) -> None:
    assert dict(server.asked) == {f"question {i}": 1 for i in range(rows)}, "a row was sent twice"
    written = [row["messages"][-1]["content"] for row in read_jsonl(folder / "out.jsonl")]
    assert written == [answer_to(f"question {i}") for i in range(rows)]
    assert sorted(path.name for path in folder.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
async def test_killed_run_goes_on(tmp_path: Path, block_watch: BlockWatch, part: str) -> None:
    block_watch.off()
    steps, kills = PARTS[part], 0
    for time in range(TIMES):
        folder = tmp_path / str(time)
        folder.mkdir()
        write_jsonl(folder / "in.jsonl", questions(ROWS))
        async with BatchServer(ServerFaults(slow_polls=30 if part == "poll" else 5)) as server:
            server.piece = 400  # One or two results.
            server.on_step = killer = Killer(steps[time % len(steps)], 1 + time // len(steps))
            code = await run_in_child(folder, server.url, started=killer.started)
            assert code in (0, -signal.SIGKILL)
            server.on_step = lambda _: None
            if code:
                kills += 1
                assert await run_in_child(folder, server.url) == 0
            check(folder, server)
    assert kills == TIMES


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_kill_at_any_file_operation_sends_no_row_twice(
    tmp_path: Path, block_watch: BlockWatch, before: bool
) -> None:
    block_watch.off()
    code = at = 0
    for at in range(1, 200):
        folder = tmp_path / str(at)
        folder.mkdir()
        write_jsonl(folder / "in.jsonl", questions(10))
        async with BatchServer() as server:
            code = await run_in_child(folder, server.url, Faults(at, before=before))
            assert code in (0, -signal.SIGKILL)
            if code:
                assert await run_in_child(folder, server.url, reuse=True) == 0
            check(folder, server, 10)
        shutil.rmtree(folder)
        if code == 0:
            break
    assert code == 0
    assert at > 30
