"""The scratch file under failing disks, crashes and rivals."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from asyncinfer.errors import ScratchError, ScratchLockedError
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.cache import in_cache
from asyncinfer.scratch.file import DiskFile, ScratchFile, scratch_path
from asyncinfer.scratch.format import encode


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
    """Has room for one batch; of the second it takes half."""

    batches = 0

    def append(self, data: bytes) -> None:
        self.batches += 1
        if self.batches > 1:
            super().append(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(data)


def test_stands_beside_the_output(tmp_path: Path) -> None:
    assert scratch_path(tmp_path / "results.jsonl") == tmp_path / "scratch" / "results.jsonl"


def test_stands_in_the_cache_without_an_output(home: Path) -> None:
    assert in_cache("abc") == home / ".cache/asyncinfer/tmp/temp_inference_output_abc.jsonl"


def test_leaves_a_file_of_somebody_elses_alone(tmp_path: Path) -> None:
    path = tmp_path / "scratch" / "out.jsonl"
    path.parent.mkdir()
    path.write_text("my notes\nmore of them")
    file = ScratchFile(path)
    file.acquire()
    with pytest.raises(ScratchError, match="was not written by asyncinfer"):
        list(file.recover())
    file.close()
    assert path.read_text() == "my notes\nmore of them"


def test_replaces_what_an_output_links_to(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    with replacing(tmp_path / "link.jsonl") as file:
        file.write(b"new")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == "new"


def test_keeps_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "scratch" / "out.jsonl"
    for i in range(3):
        file = opened(path)
        assert len(list(file.recover())) == i
        file.append(line(i))
        file.close()
    assert keys_in(path) == [0, 1, 2]


def test_truncates_a_torn_tail_before_it_appends(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(1) + line(2)[:-5])
    file = opened(path)
    assert len(list(file.recover())) == 1
    file.append(line(3))
    file.close()
    assert keys_in(path) == [1, 3]


def test_skips_a_damaged_line_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(1) + line(2).replace(b'"i"', b'"j"') + line(3))
    assert keys_in(path) == [1, 3]
    assert "1 damaged line(s) skipped" in caplog.text
    assert "(line 2)" in caplog.text


def test_a_full_disk_keeps_what_was_saved_before(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = opened(path, open_file=FullDisk)
    list(file.recover())
    file.append(line(1))
    with pytest.raises(ScratchError, match="No space left on device.*run the same command again"):
        file.append(line(2))
    file.close()
    assert keys_in(path) == [1]


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ScratchError, match="cannot be opened"):
        ScratchFile(blocked / "scratch" / "out.jsonl").acquire()


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    first = opened(tmp_path / "out.jsonl")
    with pytest.raises(ScratchLockedError):
        opened(tmp_path / "out.jsonl")
    first.close()
    opened(tmp_path / "out.jsonl").close()


def test_the_output_replaces_what_was_there_only_when_whole(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old\n")
    file = opened(tmp_path / "scratch" / "out.jsonl")
    list(file.recover())
    file.append(line(1))
    assembling = file.assemble(output, [(0, 5), (2, 3)], every=1)
    next(assembling)
    assert output.read_text() == "old\n"
    list(assembling)
    assert output.read_bytes() == line(1)[:5] + b"\n" + line(1)[2:5] + b"\n"
    file.close(remove=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]
