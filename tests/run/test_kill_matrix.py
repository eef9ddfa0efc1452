"""A job is killed right before and right after each of its file operations, and run again."""

from __future__ import annotations

import ast
import json
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

import asyncinfer
from asyncinfer.scratch.format import encode
from tests.conftest import BlockWatch
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl
from tests.faults import FaultServer
from tests.faulty_disk import Faults, synced_questions
from tests.run.killed import run_in_child

ROWS = 6
MOST_OPERATIONS = 200
# The functions of `os` and `pathlib` that change a file or a folder.
DURABLE = frozenset(
    [
        "fsync",
        "ftruncate",
        "truncate",
        "mkdir",
        "makedirs",
        "rename",
        "renames",
        "unlink",
        "rmdir",
        "fchmod",
        "chmod",
        "write_bytes",
        "write_text",
    ]
)


class KilledJob:
    """Six rows, and the answers that are durable."""

    def __init__(self, folder: Path, server: FaultServer) -> None:
        self.folder, self.server = folder, server
        self.journal = folder.with_name("journal")
        self.journal.unlink(missing_ok=True)
        folder.mkdir()
        write_jsonl(folder / "in.jsonl", questions(ROWS))

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch" / "out.jsonl"

    def durable(self) -> set[str]:
        """The questions whose answers are in the scratch file or in the output."""
        lines = self.scratch.read_bytes().split(b"\n")[:-1] if self.scratch.exists() else []
        rows = [json.loads(line)["conversation"] for line in lines]
        output = self.folder / "out.jsonl"
        rows += read_jsonl(output) if output.exists() else []
        return {row["messages"][0]["content"] for row in rows}

    async def run(self, faults: Faults, *, reuse: bool) -> int:
        return await run_in_child(self.folder, self.server.url, faults, reuse=reuse)

    async def check_that_it_goes_on(self) -> None:
        """The next run sends no durable row again, writes the right output, and leaves no other file."""
        kept, before = self.durable() | synced_questions(self.journal), Counter(self.server.asked)
        assert await run_in_child(self.folder, self.server.url, Faults(), reuse=True) == 0
        asked = set(self.server.asked - before)
        assert not asked & kept, "a durable row was asked again"
        rows = read_jsonl(self.folder / "out.jsonl")
        assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(ROWS)]
        assert [row["messages"][-1]["content"] for row in rows] == [answer_to(f"question {i}") for i in range(ROWS)]


async def output_of_some_rows(folder: Path, server: FaultServer) -> bytes:
    """The output of a job of the first half of the rows."""
    job = KilledJob(folder, server)
    write_jsonl(folder / "in.jsonl", questions(ROWS // 2))
    assert await job.run(Faults(), reuse=False) == 0
    output = (folder / "out.jsonl").read_bytes()
    shutil.rmtree(folder)
    return output


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def foreign_line(tmp_path: Path) -> bytes:
    """A saved row that belongs to other settings."""
    return encode(b"\7" * 16, 0, 0, b'{"messages":[{"role":"user","content":"other"}]}')


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("start", ["alone", "with rows of others", "with an output to reuse"])
async def test_a_kill_at_any_file_operation_loses_and_repeats_nothing(
    tmp_path: Path, block_watch: BlockWatch, foreign_line: bytes, before: bool, start: str
) -> None:
    block_watch.off()
    shared, reuse = start == "with rows of others", start == "with an output to reuse"
    async with FaultServer() as server:
        older = await output_of_some_rows(tmp_path / "older", server)
        for at in range(1, MOST_OPERATIONS):
            server.asked.clear()
            job = KilledJob(tmp_path / str(at), server)
            if shared:
                job.scratch.parent.mkdir()
                job.scratch.write_bytes(foreign_line)
            if reuse:
                (job.folder / "out.jsonl").write_bytes(older)
            code = await job.run(Faults(at, before=before, journal=job.journal), reuse=reuse)
            assert code in (0, -signal.SIGKILL)
            await job.check_that_it_goes_on()
            left = ["in.jsonl", "out.jsonl", "progress.json"]
            assert files_in(job.folder) == (sorted([*left, "scratch/out.jsonl"]) if shared else left)
            assert not shared or job.scratch.read_bytes() == foreign_line
            assert not reuse or not server.asked.keys() & {f"question {i}" for i in range(ROWS // 2)}
            shutil.rmtree(job.folder)
            if code == 0:
                break
    assert 20 < at < MOST_OPERATIONS - 1


def test_every_file_operation_goes_through_the_disk_module() -> None:
    package = Path(asyncinfer.__file__).parent
    files = [*(package / "scratch").glob("*.py"), *(package / "run").glob("*.py")]
    found = {
        f"{path.name}: {node.attr}"
        for path in files
        if path.name != "disk.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in DURABLE
        and not (isinstance(node.value, ast.Name) and node.value.id == "disk")
    }
    assert not found
