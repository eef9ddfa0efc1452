"""Recognises a file by its first bytes, for errors about files that are not what their name or the settings say."""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from asyncinfer.config import InputFormat
from asyncinfer.data.compression import Compression
from asyncinfer.data.layout import InputLayout
from asyncinfer.data.text_file import UTF_16
from asyncinfer.errors import InputError
from asyncinfer.types.paths import open_regular

T = TypeVar("T")

_LOOKED_AT = 4096
_SHORTEST = 4
_NAMES = {Compression.GZIP: "gzip", Compression.ZSTD: "Zstandard"}
_ENDINGS = {Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
_COMPRESSED = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_TABLES = {b"PAR1": InputFormat.PARQUET, b"ARROW1": InputFormat.ARROW, b"\xff\xff\xff\xff": InputFormat.ARROW}
# Kinds of files that are not read, each with what to do.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; save the table as CSV or Parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the table as CSV or Parquet",
    b"SQLite format 3\0": "a SQLite database; save the table as CSV or Parquet",
    b"Obj\x01": "an Avro file; save the table as Parquet",
    b"ORC": "an ORC file; save the table as Parquet",
    b"BZh": "compressed with bzip2; decompress it, or use gzip",
    b"\xfd7zXZ\0": "compressed with xz; decompress it, or use gzip",
    b"%PDF-": "a PDF document, not a table",
}
_TEXTS = (InputFormat.JSONL, InputFormat.CSV, InputFormat.OPENAI_BATCH)
# A JSON array of objects, which is not JSONL.
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*\{")


def check_kind(path: Path, name: str, layout: InputLayout) -> None:
    """Check that a file is what it is read as, as far as its first bytes show. A file that cannot be read is accepted.

    Raises:
        InputError: It is something else. The message says what it looks like, and what to do.
    """
    try:
        with open_regular(path) as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return
    if start and (problem := _problem(start, layout)) is not None:
        raise InputError(f"{name}: {problem}")


def _problem(start: bytes, layout: InputLayout) -> str | None:
    compression = _found(_COMPRESSED, start) or Compression.NONE
    if compression is not layout.compression and len(start) >= _SHORTEST:
        if layout.compression is Compression.NONE:
            ending = _ENDINGS[compression]
            return f"is compressed with {_NAMES[compression]}; give it a name that ends with {ending}, or decompress it"
        ending = _ENDINGS[layout.compression]
        name = _NAMES[layout.compression]
        return f"is not compressed with {name}, although its name ends with {ending}; rename it without {ending}"
    if compression is not Compression.NONE:
        return None
    found = _found(_TABLES, start)
    if found is not None and found is not layout.format:
        looks_like = found.value.capitalize()
        return f"looks like {looks_like}, but is read as {layout.format.value}; set input.format: {found.value}"
    if other := _found(_OTHERS, start):
        return f"is {other}"
    return _text_problem(start, layout.format) if layout.format in _TEXTS else None


def _text_problem(start: bytes, format: InputFormat) -> str | None:
    if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return UTF_16
    if start.count(0) * 4 > len(start) > _SHORTEST:
        return "looks like text in UTF-16 or UTF-32, or like a binary file; save it as UTF-8, or set input.format"
    if format is not InputFormat.CSV and _ARRAY.match(start):
        return "is one JSON array; JSONL has one object in each line (`jq -c '.[]' FILE` writes it)"
    return None


def _found(kinds: Mapping[bytes, T], start: bytes) -> T | None:
    return next((kind for magic, kind in kinds.items() if start.startswith(magic)), None)
