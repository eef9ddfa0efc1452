"""Files that are compressed as a whole."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.data.compression import Compression, compressing
from asyncinfer.errors import ConfigError, InputError
from tests.data.tables import opened, read, write

PACK = {".gz": gzip.compress, ".zst": zstandard.compress}
ROWS = [{"id": number, "text": f"text {number} " * 10} for number in range(2000)]


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_rows_survive_compression(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"a{kind}{suffix}"
    write(path, ROWS)
    plain = tmp_path / f"a{kind}"
    write(plain, ROWS)
    assert path.stat().st_size < plain.stat().st_size / 5
    assert read(path) == read(plain)


@pytest.mark.parametrize("suffix", PACK)
def test_members_that_follow_each_other_are_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](b'{"a": 1}\n') + PACK[suffix](b'{"a": 2}\n{"a"') + PACK[suffix](b": 3}"))
    assert read(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("suffix", PACK)
def test_empty_file_has_no_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](b""))
    assert read(path) == []


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_truncated_file_is_an_error_with_file_and_place(tmp_path: Path, kind: str, suffix: str, share: float) -> None:
    path = tmp_path / f"a{kind}{suffix}"
    write(path, ROWS)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"a\.\w+\.\w+: .*the compressed data end too early; the file is truncated"):
        read(path)


@pytest.mark.parametrize("suffix", PACK)
def test_message_about_a_truncated_file_counts_the_lines_before_the_cut(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.csv{suffix}"
    text = "".join(f"{number},{os.urandom(30).hex()}\n" for number in range(9999))
    path.write_bytes(PACK[suffix](f"id,text\n{text}".encode())[:-200])
    with pytest.raises(InputError, match=r"after line \d\d\d\d: the compressed data end too early"):
        read(path)


@pytest.mark.parametrize("suffix", PACK)
def test_file_that_is_not_compressed_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b'{"a": 1}\n' * 100)
    with pytest.raises(
        InputError,
        match=rf"a.jsonl\{suffix}: is not compressed with \w+, although its name ends with \{suffix}; rename it",
    ):
        read(path)


@pytest.mark.parametrize("suffix", PACK)
def test_damaged_data_are_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    write(path, ROWS)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data) - 20, 7):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged|truncated|is longer|not valid JSON"):
        read(path)


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.arrow.zst"])
def test_formats_that_are_compressed_inside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be compressed as a whole"):
        opened(tmp_path / name)


@pytest.mark.parametrize("compression", Compression)
def test_equal_data_give_equal_files(compression: Compression) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        with compressing(file, compression) as stream:  # type: ignore[arg-type]
            stream.write(b"a" * 1000)
    assert files[0].getvalue() == files[1].getvalue()


@given(st.binary(max_size=1000), st.integers(1, 40))
def test_any_cut_of_a_zstandard_file_is_noticed(data: bytes, missing: int) -> None:
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(b"{}\n" + data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl.zst"
        path.write_bytes(packed[: max(1, len(packed) - missing)])
        with pytest.raises(InputError, match="truncated|damaged|not valid JSON"):
            read(path)
