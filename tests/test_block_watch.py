"""Every test checks that the package does not block the event loop. These tests check the check."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockingError

from asyncinfer.aio.limiters import DISK
from asyncinfer.scratch import disk
from asyncinfer.types.files import read_file
from tests.block_watch import BlockWatch


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    fd = disk.open_for_writing(tmp_path / "file")
    yield fd
    os.close(fd)


# Calls of the package, by the function in which they block.
CALLS: dict[str, Callable[[Path, int], object]] = {
    "io.open": lambda folder, fd: read_file(str(folder / "file")),
    "os.open": lambda folder, fd: os.close(disk.open_for_writing(folder / "new")),
    "os.write": lambda folder, fd: disk.write(fd, b"row"),
    "os.ftruncate": lambda folder, fd: disk.truncate(fd, 0),
    "os.fsync": lambda folder, fd: disk.sync(fd),
    "os.replace": lambda folder, fd: disk.replace(folder / "file", folder / "new"),
    "os.mkdir": lambda folder, fd: disk.make_folder(folder / "new"),
    "os.unlink": lambda folder, fd: disk.remove(folder / "file"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_blocks_the_loop_raises_and_is_seen(
    name: str, tmp_path: Path, descriptor: int, block_watch: BlockWatch
) -> None:
    with pytest.raises(BlockingError):
        CALLS[name](tmp_path, descriptor)
    assert any("asyncinfer" in place for place in block_watch.seen)
    block_watch.seen.clear()


@pytest.mark.parametrize("name", CALLS)
async def test_the_same_call_may_run_in_a_thread(name: str, tmp_path: Path, descriptor: int) -> None:
    await DISK.run(CALLS[name], tmp_path, descriptor)


@pytest.mark.parametrize("name", CALLS)
def test_the_same_call_may_run_without_a_loop(name: str, tmp_path: Path, descriptor: int) -> None:
    CALLS[name](tmp_path, descriptor)


async def test_a_call_of_the_test_itself_may_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")


async def test_a_blocking_call_whose_error_is_handled_is_seen(tmp_path: Path, block_watch: BlockWatch) -> None:
    with contextlib.suppress(Exception):
        disk.make_folder(tmp_path / "new")
    assert len(block_watch.seen) == 1
    block_watch.seen.clear()


async def test_nothing_is_seen_once_the_watch_is_off(tmp_path: Path, block_watch: BlockWatch) -> None:
    block_watch.off()
    disk.make_folder(tmp_path / "new")
    assert block_watch.seen == []


FAILS = """
from asyncinfer.scratch import disk


async def test_folder_is_made(tmp_path):
    try:
        disk.make_folder(tmp_path / "new")
    except Exception:
        pass
"""


def test_a_test_in_which_the_package_blocks_the_loop_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(FAILS)
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*blocked the event loop: *os.mkdir*"])
