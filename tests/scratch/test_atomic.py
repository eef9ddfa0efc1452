"""Temporary files have one writer at a time, and are used again after a process was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncinfer.run.progress_file import write_snapshot
from asyncinfer.scratch.atomic import discard_temporary, replacing, temporary_for, try_target
from asyncinfer.types.paths import NotAFileError
from asyncinfer.types.results import Progress
from tests.conftest import BlockWatch


def test_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with replacing(output) as file:
        file.write(b"first")
        with pytest.raises(BlockingIOError), replacing(output):
            pass
        discard_temporary(output)
    assert output.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["out.jsonl"]


async def test_progress_skips_a_snapshot_while_another_run_writes(tmp_path: Path, block_watch: BlockWatch) -> None:
    block_watch.off()
    with replacing(tmp_path / "progress.json") as file:
        file.write(b"other")
        await write_snapshot(tmp_path / "progress.json", Progress())
    assert (tmp_path / "progress.json").read_bytes() == b"other"


def test_temporary_file_of_a_killed_process_is_overwritten(tmp_path: Path) -> None:
    temporary_for(tmp_path / "out").write_bytes(b"a longer text that a killed process left")
    with replacing(tmp_path / "out") as file:
        file.write(b"new")
    assert (tmp_path / "out").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


def test_file_that_becomes_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(NotAFileError, match="is not a file, but a pipe"), replacing(path) as file:
        file.write(b"new")
        os.mkfifo(path)
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ["out"]


def test_check_of_a_target_leaves_no_file(tmp_path: Path) -> None:
    temporary_for(tmp_path / "out").write_bytes(b"left by a killed process")
    try_target(tmp_path / "out", "output_path")
    assert os.listdir(tmp_path) == []
