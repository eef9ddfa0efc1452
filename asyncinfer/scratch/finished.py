"""Finds the answers in the output of a finished run."""

from __future__ import annotations

import os
import re
from binascii import unhexlify
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asyncinfer.types.lines import bounded_lines
from asyncinfer.types.paths import open_regular

# The metadata field with a row's identity: `<key>`, or `<key>-<n>` for an occurrence after the first.
ROW_KEY = "row_key"
ROW_KEY_PATTERN = r"([0-9a-f]{32})(?:-([1-9]\d{0,8}))?"
# This cannot match inside a JSON string, where the quotes are escaped.
_ROW_KEY = re.compile(rb'"row_key"\s*:\s*"%b"' % ROW_KEY_PATTERN.encode())


class AnsweredLine(NamedTuple):
    """One line of an output: the identity of its row, and the position of its JSON in the file."""

    key: bytes
    n: int
    offset: int
    length: int


def row_keys_in(line: bytes) -> Iterator[tuple[bytes, int]]:
    """The row keys in the JSON of a conversation, each as the key and the occurrence of a row."""
    for found in _ROW_KEY.finditer(line):
        yield unhexlify(found[1]), int(found[2] or 0)


class FinishedOutput:
    """An output file, open for reading. It stays readable after the file at its path is replaced. Blocks.

    Raises:
        OSError: The file cannot be opened or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path, 1 << 18)

    def lines(self) -> Iterator[AnsweredLine]:
        """The lines that contain a row key. Only the row key is checked."""
        offset = 0
        self._file.seek(0)
        for line in bounded_lines(self._file):
            for key, n in row_keys_in(line):
                yield AnsweredLine(key, n, offset, len(line))
            offset += len(line)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        self._file.close()
