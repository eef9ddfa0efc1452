"""Reads a file line by line, with a bound on the size of a line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

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
