"""The output of an earlier run: whose answers are in it, and where."""

from __future__ import annotations

import os
import re
from binascii import unhexlify
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from asyncinfer.types.paths import open_regular

_LONGEST = 1 << 28
# Where answered rows carry their identity: `<key>`, or `<key>-<n>` for an occurrence after the first.
ROW_KEY = "row_key"
# Within a JSON string its quotes would be escaped.
_ROW_KEY = re.compile(rb'"row_key"\s*:\s*"([0-9a-f]{32})(?:-([1-9]\d{0,8}))?"')


class AnsweredLine(NamedTuple):
    """One line of an output: the identity of its row, and where its JSON stands in the file."""

    key: bytes
    n: int
    offset: int
    length: int


class FinishedOutput:
    """An output file, open for reading. It can be read to its end also after another file took its place. Blocks.

    Raises:
        OSError: it cannot be opened, or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path, 1 << 18)

    def lines(self) -> Iterator[AnsweredLine]:
        """The lines that say which row they answer. What else they hold is not checked."""
        offset = 0
        self._file.seek(0)
        # As iterating over the file, with a bound on the memory that a line takes.
        for line in iter(partial(self._file.readline, _LONGEST), b""):
            for found in _ROW_KEY.finditer(line):
                yield AnsweredLine(unhexlify(found[1]), int(found[2] or 0), offset, len(line))
            offset += len(line)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        self._file.close()
