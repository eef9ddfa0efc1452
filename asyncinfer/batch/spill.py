"""Rows on disk while they wait for their answers, so that memory does not grow with the rows. It blocks."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from struct import Struct

from asyncinfer.run.items import Item
from asyncinfer.run.rows import Row
from asyncinfer.scratch import disk

# The index, key, occurrence, checksum and size of a row, and the length of its JSON.
_HEAD = Struct(">q16sQIQQ")


class Spill:
    """A file of rows. Only this process uses it: a later run reads its rows from the input again."""

    def __init__(self, path: Path) -> None:
        self._fd = disk.open_for_writing(path, os.O_TRUNC)
        self._end = 0
        self._lock = threading.Lock()

    def add(self, row: Row) -> int:
        """Write a row, and return its offset in the file."""
        text = row.text()
        head = _HEAD.pack(row.index, row.key, row.n, row.checksum, row.size, len(text))
        with self._lock:
            offset, view = self._end, memoryview(head + text)
            self._end += len(view)
            while view:
                view = view[os.pwrite(self._fd, view, self._end - len(view)) :]
        return offset

    def row(self, offset: int) -> Row:
        """Return the row at this offset."""
        index, key, n, checksum, size, length = _HEAD.unpack(os.pread(self._fd, _HEAD.size, offset))
        text = os.pread(self._fd, length, offset + _HEAD.size)
        return Row(index, key, n, checksum, size, Item(None, checksum, size, text))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
