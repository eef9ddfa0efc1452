"""Reads the lines of a file by their numbers."""

from __future__ import annotations

import os
from array import array
from collections.abc import Generator
from pathlib import Path

from asyncinfer.types.lines import bounded_lines, skip_byte_order_mark
from asyncinfer.types.paths import open_regular

_EVERY = 64  # lines


class IndexedLines:
    """The lines of a file that are not blank. Takes 16 bytes per line. Blocks.

    Raises:
        OSError: The file cannot be opened or read.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path, 1 << 18)
        self._starts, self._lengths = array("Q"), array("Q")

    def index(self) -> Generator[None]:
        """Find the lines. Yields every 64 lines."""
        skip_byte_order_mark(self._file)
        start = self._file.tell()
        for count, line in enumerate(bounded_lines(self._file)):
            if not line.isspace():
                self._starts.append(start)
                self._lengths.append(len(line))
            start += len(line)
            if count % _EVERY == 0:
                yield

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> bytes:
        """The line, with a line break at its end."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        line = os.pread(self._file.fileno(), self._lengths[number], self._starts[number])
        return line if line.endswith(b"\n") else line + b"\n"

    def close(self) -> None:
        self._file.close()
