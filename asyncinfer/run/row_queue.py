"""The rows that the online executor has read and not finished."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.run.attempts import AttemptState
from asyncinfer.run.rows import Row


@dataclass(slots=True, eq=False, kw_only=True)
class QueuedRow(AttemptState):
    """A row, and what the attempts at it have shown. `ready_at`: when it could be sent."""

    row: Row
    ready_at: float


class RowQueue:
    """Hands out rows: one whose retry is due first, then new ones.

    A row that waits for a retry holds no permit, no connection and no task. While `prefers_new()`, new rows come first:
    if every row fails, a new row shows whether the endpoint or the failed rows are the reason.
    """

    def __init__(self, clock: Clock, prefers_new: Callable[[], bool] = lambda: False) -> None:
        self._clock, self._prefers_new = clock, prefers_new
        self._ready: deque[QueuedRow] = deque()
        self._retries: list[tuple[float, int, QueuedRow]] = []
        self._tickets = itertools.count()
        self._unfinished = 0
        self._exhausted = False
        self._changed: anyio.Event | None = None

    async def wait_for_room(self, low_water: int) -> None:
        """Wait until at most `low_water` rows are ready."""
        while len(self._ready) > low_water:
            await self._change()

    def add(self, rows: Iterable[Row]) -> None:
        """Add new rows."""
        now = self._clock.now()
        before = len(self._ready)
        self._ready.extend([QueuedRow(row=row, ready_at=now) for row in rows])
        self._unfinished += len(self._ready) - before
        self._notify()

    def exhaust(self) -> None:
        """No more rows will be added."""
        self._exhausted = True
        self._notify()

    def retry(self, queued: QueuedRow, after: float) -> None:
        """Hand out the row again `after` seconds from now."""
        queued.ready_at = self._clock.now() + after
        heapq.heappush(self._retries, (queued.ready_at, next(self._tickets), queued))
        self._notify()

    def finish(self) -> None:
        """One row has its outcome."""
        self._unfinished -= 1
        self._notify()

    def next_nowait(self) -> QueuedRow | None:
        """The next row to attempt, if there is one now."""
        if self._retries and self._retries[0][0] <= self._clock.now() and not (self._ready and self._prefers_new()):
            return heapq.heappop(self._retries)[2]
        if not self._ready:
            return None
        queued = self._ready.popleft()
        if not self._ready:
            self._notify()
        return queued

    def put_back(self, queued: QueuedRow) -> None:
        """Put a row back at the front of the queue. It was taken, but not attempted."""
        self._ready.appendleft(queued)

    async def next(self) -> QueuedRow | None:
        """The next row to attempt; None once every row has its outcome and no more will come."""
        while True:
            if (queued := self.next_nowait()) is not None:
                return queued
            if self._exhausted and not self._unfinished:
                return None
            await self._change(self._retries[0][0] if self._retries else None)

    def next_retry(self) -> float | None:
        """Seconds until the next retry; None if no row waits for a retry, or if other rows are ready."""
        if self._ready or not self._retries:
            return None
        return max(0.0, self._retries[0][0] - self._clock.now())

    def stop_waiting(self) -> None:
        """Make all rows that wait for a retry ready at once."""
        self._ready.extend(queued for _, _, queued in self._retries)
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
