"""The scratch file with a failing disk, after a crash, and with two runs at once."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncinfer.errors import ScratchError, ScratchLockedError
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.file import DiskFile, ScratchFile, scratch_path
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.temporary import temporary_scratch
from tests.conftest import BlockWatch


@pytest.fixture(autouse=True)
def unwatched(block_watch: BlockWatch) -> None:
    """The tests themselves access files."""
    block_watch.off()


def line(i: int) -> bytes:
    return encode(bytes([i]) * 16, 0, i, b'{"i":%d}' % i)


def opened(path: Path, **more: object) -> ScratchFile:
    file = ScratchFile(path, **more)  # type: ignore[arg-type]
    file.acquire()
    return file


def keys_in(path: Path) -> list[int]:
    file = opened(path)
    try:
        return [saved.key[0] for saved in file.recover()]
    finally:
        file.close()


class FullDisk(DiskFile):
    """Has space for one batch and half of the second."""

    batches = 0

    def write(self, data: bytes, /) -> int:
        self.batches += 1
        if self.batches > 1:
            super().write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_scratch_file_is_in_a_folder_beside_the_output(tmp_path: Path) -> None:
    assert scratch_path(tmp_path / "results.jsonl") == tmp_path / "scratch" / "results.jsonl"


def test_scratch_file_without_an_output_is_in_the_cache_folder(home: Path) -> None:
    assert temporary_scratch("abc") == home / ".cache/asyncinfer/tmp/temp_inference_output_abc.jsonl"


def test_file_of_another_program_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "scratch" / "out.jsonl"
    path.parent.mkdir()
    path.write_text("my notes\nmore of them")
    file = ScratchFile(path)
    file.acquire()
    with pytest.raises(ScratchError, match="was not written by asyncinfer"):
        list(file.recover())
    file.close()
    assert path.read_text() == "my notes\nmore of them"


def test_target_of_a_symbolic_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    with replacing(tmp_path / "link.jsonl") as file:
        file.write(b"new")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == "new"


async def test_appended_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "scratch" / "out.jsonl"
    for i in range(3):
        file = opened(path)
        assert len(list(file.recover())) == i
        await file.append(line(i))
        file.close()
    assert keys_in(path) == [0, 1, 2]


async def test_incomplete_last_line_is_removed_before_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(1) + line(2)[:-5])
    file = opened(path)
    assert len(list(file.recover())) == 1
    await file.append(line(3))
    file.close()
    assert keys_in(path) == [1, 3]


def test_damaged_line_is_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(1) + line(2).replace(b'"i"', b'"j"') + line(3))
    assert keys_in(path) == [1, 3]
    assert "1 damaged line(s) skipped" in caplog.text
    assert "(line 2)" in caplog.text


async def test_rows_saved_before_the_disk_is_full_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = opened(path, open_file=FullDisk)
    list(file.recover())
    await file.append(line(1))
    with pytest.raises(ScratchError, match="No space left on device.*run the same command again"):
        await file.append(line(2))
    file.close()
    assert keys_in(path) == [1]


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ScratchError, match="cannot be opened"):
        ScratchFile(blocked / "scratch" / "out.jsonl").acquire()


def test_second_run_with_the_same_file_is_refused(tmp_path: Path) -> None:
    first = opened(tmp_path / "out.jsonl")
    with pytest.raises(ScratchLockedError):
        opened(tmp_path / "out.jsonl")
    first.close()
    opened(tmp_path / "out.jsonl").close()


async def test_output_replaces_the_old_file_only_when_it_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old\n")
    file = opened(tmp_path / "scratch" / "out.jsonl")
    list(file.recover())
    await file.append(line(1))
    seen: list[str] = []

    def spans() -> Iterator[tuple[int, int]]:
        yield 0, 5
        seen.append(output.read_text())
        yield 2, 3

    await file.assemble(output, spans())
    assert seen == ["old\n"]
    assert output.read_bytes() == line(1)[:5] + b"\n" + line(1)[2:5] + b"\n"
    file.close(remove=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]
