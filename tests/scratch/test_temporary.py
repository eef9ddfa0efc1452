"""Scratch files of runs without an output path are private, removed when they are empty, and expire after a week."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Awaitable
from pathlib import Path

import anyio
import pytest

from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.temporary import KEPT_SECONDS, TemporarySweeper, temporary_scratch
from tests.fakes import FakeEngine, questions, rejection

DAY = 24 * 3600


@pytest.fixture
def folder(home: Path) -> Path:
    return home / ".cache" / "asyncinfer" / "tmp"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


async def test_cancelled_call_without_a_saved_row_leaves_no_file(folder: Path) -> None:
    with anyio.CancelScope() as scope:

        def script(*_: object) -> Awaitable[None]:
            scope.cancel()
            return anyio.sleep_forever()

        await FakeEngine(script).ainfer(questions(5))
    assert scope.cancelled_caught
    assert not folder.exists()


async def test_call_whose_rows_all_fail_leaves_no_file(folder: Path) -> None:
    def script(*_: object) -> None:
        raise rejection()

    await FakeEngine(script).ainfer_partial(questions(5))
    assert not folder.exists()


async def test_only_the_owner_can_read_the_file_and_its_folder(folder: Path, tmp_path: Path) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 3":
            raise rejection()

    await FakeEngine(script).ainfer_partial(questions(5))
    [file] = folder.iterdir()
    assert (mode(folder), mode(file)) == (0o700, 0o600)


def test_only_the_owner_can_read_the_scratch_file_of_an_output(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path / "scratch" / "out.jsonl")
    file.acquire()
    list(file.recover())
    assert mode(tmp_path / "scratch") == 0o700
    assert {mode(path) for path in (tmp_path / "scratch").iterdir()} == {0o600}
    file.close()
    assert not (tmp_path / "scratch").exists(), "it held no row"


def test_scratch_file_that_others_may_read_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(encode(bytes(16), 0, 0, b"{}"))
    path.chmod(0o644)
    file = ScratchFile(path)
    file.acquire()
    assert len(list(file.recover())) == 1
    file.close()
    assert mode(path) == 0o600


def test_expired_files_are_removed(folder: Path) -> None:
    old = aged(temporary_scratch("a" * 32), KEPT_SECONDS + DAY)
    old_lock = aged(temporary_scratch("b" * 32).with_suffix(".jsonl.lock"), KEPT_SECONDS + DAY)
    young = aged(temporary_scratch("c" * 32), KEPT_SECONDS - DAY)
    unrelated = aged(folder / "notes.txt", 10 * KEPT_SECONDS)
    aged(temporary_scratch("d" * 32).with_suffix(".jsonl.lock"), KEPT_SECONDS + DAY)
    young_with_old_lock = aged(temporary_scratch("d" * 32), DAY)
    TemporarySweeper().sweep(folder)
    assert not old.exists()
    assert not old_lock.exists()
    assert {young, unrelated, young_with_old_lock} <= set(folder.iterdir())


def test_expired_file_in_use_is_not_removed(folder: Path) -> None:
    file = ScratchFile(temporary_scratch("a" * 32))
    file.acquire()
    list(file.recover())
    aged(file.path, KEPT_SECONDS + DAY)
    TemporarySweeper().sweep(folder)
    assert file.path.exists()
    file.close()


def test_sweeper_looks_for_expired_files_once_a_day(folder: Path) -> None:
    sweeper = TemporarySweeper()
    sweeper.sweep(folder)
    old = aged(temporary_scratch("a" * 32), KEPT_SECONDS + DAY)
    sweeper.sweep(folder)
    assert old.exists()
    TemporarySweeper().sweep(folder)
    assert not old.exists()


def test_sweeping_a_missing_folder_is_not_an_error(folder: Path) -> None:
    TemporarySweeper().sweep(folder)
