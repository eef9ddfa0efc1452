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
    """A file of rows. It is only for this process: a later one reads its rows from the input again."""

    def __init__(self, path: Path) -> None:
        self._fd = disk.open_for_writing(path, os.O_TRUNC)
        self._end = 0
        self._lock = threading.Lock()

    def add(self, row: Row) -> int:
        """Write a row. Returns its place."""
        text = row.text()
        head = _HEAD.pack(row.index, row.key, row.n, row.checksum, row.size, len(text))
        with self._lock:
            place, view = self._end, memoryview(head + text)
            self._end += len(view)
            while view:
                view = view[os.pwrite(self._fd, view, self._end - len(view)) :]
        return place

    def row(self, place: int) -> Row:
        """Read the row at this place."""
        index, key, n, checksum, size, length = _HEAD.unpack(os.pread(self._fd, _HEAD.size, place))
        text = os.pread(self._fd, length, place + _HEAD.size)
        return Row(index, key, n, checksum, size, Item(None, checksum, size, text))

    def close(self) -> None:
        os.close(self._fd)
