"""Files that are not what their name or the settings say."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard

from asyncinfer.errors import InputError
from asyncinfer.run.sources import FileSource, prepared
from tests.data.tables import opened, read

CSV = b"id,text\n1,a\n"
TABLE = pa.table({"id": [1], "text": ["a"]})


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(TABLE, file)
    return file.getvalue()


def arrow() -> bytes:
    file = io.BytesIO()
    feather.write_feather(TABLE, file)
    return file.getvalue()


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    return file.getvalue()


WRONG = [
    ("a.csv", parquet(), "looks like Parquet, but is read as csv; set input.format: parquet"),
    ("a.jsonl", parquet(), "looks like Parquet, but is read as jsonl"),
    ("a.csv", arrow(), "looks like Arrow, but is read as csv"),
    ("a.parquet", arrow(), "looks like Arrow, but is read as parquet; set input.format: arrow"),
    ("a.arrow", parquet(), "looks like Parquet, but is read as arrow"),
    ("a.csv", gzip.compress(CSV), "is compressed with gzip; give it a name that ends with .gz, or decompress it"),
    ("a.jsonl", zstandard.compress(CSV), "is compressed with Zstandard; give it a name that ends with .zst"),
    ("a.parquet", gzip.compress(parquet()), "is compressed with gzip"),
    ("a.csv.gz", CSV, "is not compressed with gzip, although its name ends with .gz; rename it without .gz"),
    ("a.csv.zst", gzip.compress(CSV), "is not compressed with Zstandard, although its name ends with .zst"),
    ("a.csv", workbook(), "is a ZIP archive or an Excel workbook; save the table as CSV or Parquet"),
    ("a.csv", b"%PDF-1.7 " + bytes(100), "is a PDF document, not a table$"),
    ("a.csv", b"SQLite format 3\0" + bytes(100), "is a SQLite database"),
    ("a.csv", CSV.decode().encode("utf-16"), "UTF-16 or UTF-32.*save it as UTF-8"),
    ("a.csv", CSV.decode().encode("utf-16-le"), "UTF-16 or UTF-32.*save it as UTF-8"),
    ("a.csv", bytes(100), "like a binary file"),
    ("a.jsonl", b'[{"a": 1},\n{"a": 2}]', "is one JSON array; JSONL has one object in each line"),
    ("a.jsonl", b'[\n  {"a": 1}\n]', "is one JSON array"),
]


@pytest.mark.parametrize(
    ("name", "data", "message"), WRONG, ids=[f"{name}-{message[:30]}" for name, _, message in WRONG]
)
def test_error_says_what_the_file_looks_like_and_what_to_do(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        opened(tmp_path / name)


async def test_file_of_conversations_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(parquet())
    with pytest.raises(InputError, match="in.jsonl: looks like Parquet, but is read as jsonl"):
        async with prepared(FileSource(tmp_path / "in.jsonl")):
            pass


def test_format_in_the_settings_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(parquet())
    assert read(tmp_path / "a.csv", format="parquet") == [{"id": 1, "text": "a"}]


@pytest.mark.parametrize(("delimiter", "shown"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_csv_file_with_another_delimiter_is_an_error_that_names_the_setting(
    tmp_path: Path, delimiter: str, shown: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id{delimiter}text\n1{delimiter}a, b\n")
    with pytest.raises(InputError, match=rf"line 1: has only one column.*by {re.escape(shown)}, set input.delimiter"):
        read(path)
    assert read(path, delimiter=delimiter) == [{"id": "1", "text": "a, b"}]


def test_one_column_with_a_semicolon_in_its_name_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1\n")
    assert read(tmp_path / "a.csv", delimiter=",") == [{"a;b": "1"}]
