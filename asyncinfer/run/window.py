"""The rows of a run that are open: read and not yet finished. Their number is bounded."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable

import anyio

from asyncinfer.run.clock import Clock, wait_until
from asyncinfer.run.rows import Row


class Window:
    """Hands out rows: one whose retry is due first, then new ones.

    A row that backs off waits here, and holds no permit, no connection and no task. While `prefers_new()`, new rows
    come first: where every row fails, a new one shows whether the rows are the reason or the endpoint.
    """

    def __init__(self, capacity: int, clock: Clock, prefers_new: Callable[[], bool] = lambda: False) -> None:
        self.capacity = capacity
        self._clock, self._prefers_new = clock, prefers_new
        self._open = 0
        self._ready: deque[Row] = deque()
        self._retries: list[tuple[float, int, Row]] = []
        self._tickets = itertools.count()
        self._exhausted = False
        self._changed: anyio.Event | None = None

    async def room(self, low_water: int) -> int:
        """Wait until more rows are wanted; how many."""
        while self._open >= self.capacity or len(self._ready) > low_water:
            await self._change()
        return self.capacity - self._open

    def open(self, rows: int) -> None:
        """Count rows that were read as open."""
        self._open += rows

    def offer(self, row: Row) -> None:
        """Hand out an open row when its turn comes."""
        self._ready.append(row)
        self._notify()

    def exhaust(self) -> None:
        """No more rows will be offered."""
        self._exhausted = True
        self._notify()

    def retry(self, row: Row, after: float) -> None:
        """Hand `row` out again `after` seconds from now."""
        heapq.heappush(self._retries, (self._clock.now() + after, next(self._tickets), row))
        self._notify()

    def finish(self) -> None:
        """Close one row."""
        self._open -= 1
        self._notify()

    def next_at_once(self) -> Row | None:
        """The next row to attempt, if there is one now."""
        if self._retries and self._retries[0][0] <= self._clock.now() and not (self._ready and self._prefers_new()):
            return heapq.heappop(self._retries)[2]
        if not self._ready:
            return None
        row = self._ready.popleft()
        if not self._ready:
            self._notify()
        return row

    def put_back(self, row: Row) -> None:
        """Hand out `row`, which was taken and not attempted, before others."""
        self._ready.appendleft(row)

    async def next(self) -> Row | None:
        """The next row to attempt; None once every row is closed and no more will come."""
        while True:
            if (row := self.next_at_once()) is not None:
                return row
            if self._exhausted and not self._open:
                return None
            await self._change(self._retries[0][0] if self._retries else None)

    def next_retry(self) -> float | None:
        """Seconds until the next retry; None if no row waits for a retry, or if other rows are ready."""
        if self._ready or not self._retries:
            return None
        return max(0.0, self._retries[0][0] - self._clock.now())

    def wait_no_more(self) -> None:
        """Hand out the rows that back off now."""
        self._ready.extend(row for _, _, row in self._retries)
        self._retries.clear()
        self._notify()

    async def _change(self, due: float | None = None) -> None:
        if self._changed is None or self._changed.is_set():
            self._changed = anyio.Event()
        await wait_until(self._changed, self._clock, due)

    def _notify(self) -> None:
        # Most changes find nobody waiting, and an event is not cheap.
        if self._changed is not None:
            self._changed.set()
            self._changed = None
