"""Saved rows survive a power failure. The simulated one loses all data that was not synced.

A test that kills the process does not show this, because the operating system keeps the written data.
"""

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


class SyncedSizes:
    """Records the size of each file at its last sync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: dict[int, int] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(scratch_file.os, "fsync", self.fsync)

    def fsync(self, fd: int) -> None:
        self._fsync(fd)
        status = os.fstat(fd)
        self.synced[status.st_ino] = status.st_size

    def after_power_failure(self, path: Path) -> bytes:
        """The content of the file after a power failure."""
        return path.read_bytes()[: self.synced.get(path.stat().st_ino, 0)]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> SyncedSizes:
    return SyncedSizes(monkeypatch)


async def test_row_is_reported_as_saved_after_it_is_synced(
    tmp_path: Path, sizes: SyncedSizes, block_watch: BlockWatch
) -> None:
    block_watch.off()
    path = tmp_path / "out.jsonl"
    file = ScratchFile(path)
    file.acquire()
    list(file.recover())
    survived: list[bool] = []

    def saved(record: int, offset: int, length: int) -> None:
        survived.append(sizes.after_power_failure(path)[offset : offset + length] == f'{{"i":{record}}}'.encode())

    writer = ScratchWriter[int](file, saved)
    for i in range(10):
        writer.put(i, encode(bytes(16), i, 0, b'{"i":%d}' % i))
    writer.close()
    await writer.run()
    file.close()
    assert survived == [True] * 10


async def test_rows_that_were_yielded_are_not_sent_again_after_a_power_failure(
    tmp_path: Path, sizes: SyncedSizes, block_watch: BlockWatch
) -> None:
    block_watch.off()
    before, after = tmp_path / "before", tmp_path / "after"
    rows, yielded = questions(40), list[int]()
    async with FakeEngine(workers=4).ainfer_iter(rows, saving_to(before)) as outcomes:
        async for index, _ in outcomes:
            yielded.append(index)
            if len(yielded) == 15:
                (after / "scratch").mkdir(parents=True)
                (after / "scratch" / "out.jsonl").write_bytes(
                    sizes.after_power_failure(before / "scratch" / "out.jsonl")
                )
                break
    resumed = FakeEngine()
    assert (await resumed.ainfer_partial(rows, saving_to(after))).failures == {}
    assert not resumed.asked.keys() & {f"question {index}" for index in yielded}


def saving_to(folder: Path) -> InferenceConfig:
    return InferenceConfig(output_path=str(folder / "out.jsonl"))


def test_simulation_notices_a_missing_sync(tmp_path: Path, sizes: SyncedSizes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the tests above can fail."""
    file = DiskFile(tmp_path / "out.jsonl", 0)
    monkeypatch.setattr(scratch_file.os, "fsync", lambda fd: None)
    file.write(b"row\n")
    file.close()
    assert sizes.after_power_failure(tmp_path / "out.jsonl") == b""


def test_output_is_synced_before_it_replaces_the_old_file(tmp_path: Path, sizes: SyncedSizes) -> None:
    output = tmp_path / "out.jsonl"
    with atomic.replacing(output) as file:
        file.write(b"whole\n")
    assert sizes.after_power_failure(output) == b"whole\n"


def test_error_leaves_the_old_output_and_no_temporary_file(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"old\n")
    with pytest.raises(ZeroDivisionError), atomic.replacing(output) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert output.read_bytes() == b"old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
