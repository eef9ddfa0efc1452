"""Reads a file line by line, with a bound on the size of a line."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from typing import BinaryIO, cast

MAX_LINE = 1 << 28
"""The most bytes of one line that are in memory."""


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. A line of more than `MAX_LINE` bytes is returned in parts."""
    return iter(partial(file.readline, MAX_LINE), b"")


def is_cut(line: bytes) -> bool:
    """Whether `line`, from `bounded_lines`, is a part of a longer line, and not its last part."""
    return len(line) == MAX_LINE and not line.endswith(b"\n")


def skip_line(file: BinaryIO) -> None:
    """Read the rest of a line that was cut."""
    while is_cut(file.readline(MAX_LINE)):
        pass


def skip_byte_order_mark(file: BinaryIO) -> bool:
    """Read the mark of UTF-8 at the beginning of a buffered file. Returns False if the mark is that of UTF-16 or 32."""
    beginning = cast(BufferedReader, file).peek(len(BOM_UTF8))
    if beginning.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return False
    if beginning.startswith(BOM_UTF8):
        file.read(len(BOM_UTF8))
    return True
