"""Hands the rows of the input to an executor."""

from __future__ import annotations

import anyio

from asyncinfer.run.reader import RowReader
from asyncinfer.run.rows import Row, SavedRow
from asyncinfer.run.saver import ResultSaver
from asyncinfer.run.stop import Stop


class InputFeed:
    """Reads rows for an executor. Rows that need no answer go to the saver at once.

    A row is open from the time when it is read until `close` is called for it. At most `capacity` rows are open.
    """

    def __init__(self, reader: RowReader, saver: ResultSaver, capacity: int, stop: Stop) -> None:
        self._reader, self._saver, self._capacity, self._stop = reader, saver, capacity, stop
        self._open = 0
        self._changed: anyio.Event | None = None

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_requested

    async def read(self) -> list[Row] | None:
        while self._open >= self._capacity:
            await self._change()
        rows = await self._reader.read(self._capacity - self._open)
        if rows is None:
            return None
        self._open += len(rows)
        wanted: list[Row] = []
        for row in rows:
            if isinstance(row, Row):
                wanted.append(row)
            elif isinstance(row, SavedRow):
                await self._saver.resumed(row)
            else:
                self._saver.rejected(row)
        return wanted

    def close(self) -> None:
        """Close one row."""
        self._open -= 1
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait_closed(self) -> None:
        """Wait until no row is open."""
        while self._open:
            await self._change()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()
