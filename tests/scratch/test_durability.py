"""SIGKILL leaves the page cache alone, so it never tests fsync. Here a crash forgets what was not synced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncinfer import InferenceConfig
from asyncinfer.scratch import atomic
from asyncinfer.scratch import file as scratch_file
from asyncinfer.scratch.file import DiskFile, ScratchFile
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.writer import ScratchWriter
from tests.conftest import BlockWatch
from tests.fakes import FakeEngine, questions


class Memory:
    """Remembers how much of each file was there when it was last synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: dict[int, int] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(scratch_file.os, "fsync", self.fsync)

    def fsync(self, fd: int) -> None:
        self._fsync(fd)
        status = os.fstat(fd)
        self.synced[status.st_ino] = status.st_size

    def crash(self, path: Path) -> bytes:
        """What is left of the file after the machine lost its power."""
        return path.read_bytes()[: self.synced.get(path.stat().st_ino, 0)]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


async def test_a_row_counts_as_saved_only_once_it_would_survive_a_crash(
    tmp_path: Path, memory: Memory, block_watch: BlockWatch
) -> None:
    block_watch.off()
    path = tmp_path / "out.jsonl"
    file = ScratchFile(path)
    file.acquire()
    list(file.recover())
    survived: list[bool] = []

    def saved(record: int, offset: int, length: int) -> None:
        survived.append(memory.crash(path)[offset : offset + length] == f'{{"i":{record}}}'.encode())

    writer = ScratchWriter[int](file, saved)
    for i in range(10):
        writer.put(i, encode(bytes(16), i, 0, b'{"i":%d}' % i))
    writer.close()
    await writer.run()
    file.close()
    assert survived == [True] * 10


async def test_what_a_run_yields_needs_no_asking_after_a_crash(
    tmp_path: Path, memory: Memory, block_watch: BlockWatch
) -> None:
    block_watch.off()
    before, after = tmp_path / "before", tmp_path / "after"
    rows, yielded = questions(40), list[int]()
    async with FakeEngine(workers=4).ainfer_iter(rows, saving_to(before)) as outcomes:
        async for index, _ in outcomes:
            yielded.append(index)
            if len(yielded) == 15:
                (after / "scratch").mkdir(parents=True)
                (after / "scratch" / "out.jsonl").write_bytes(memory.crash(before / "scratch" / "out.jsonl"))
                break
    resumed = FakeEngine()
    assert (await resumed.ainfer_partial(rows, saving_to(after))).failures == {}
    assert not resumed.asked.keys() & {f"question {index}" for index in yielded}


def saving_to(folder: Path) -> InferenceConfig:
    return InferenceConfig(output_path=str(folder / "out.jsonl"))


def test_a_disk_that_never_syncs_would_be_caught(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the test above can fail."""
    file = DiskFile(tmp_path / "out.jsonl", 0)
    monkeypatch.setattr(scratch_file.os, "fsync", lambda fd: None)
    file.append(b"row\n")
    file.close()
    assert memory.crash(tmp_path / "out.jsonl") == b""


def test_the_output_is_durable_before_it_takes_its_place(tmp_path: Path, memory: Memory) -> None:
    output = tmp_path / "out.jsonl"
    with atomic.replacing(output) as file:
        file.write(b"whole\n")
    assert memory.crash(output) == b"whole\n"


def test_an_error_leaves_the_old_output_and_no_litter(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"old\n")
    with pytest.raises(ZeroDivisionError), atomic.replacing(output) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert output.read_bytes() == b"old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
