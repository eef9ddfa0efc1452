"""Hands the rows of the input to an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import anyio

from asyncinfer.errors import ConfigError
from asyncinfer.run.answer_reuse import AnswerReuse
from asyncinfer.run.budget import Budget
from asyncinfer.run.reader import RowReader
from asyncinfer.run.rows import Row, SavedRow
from asyncinfer.run.saver import ResultSaver
from asyncinfer.run.stop import Stop
from asyncinfer.types.results import failure_of
from asyncinfer.types.usage import Usage


class InputFeed:
    """Reads rows for an executor. Rows that need no answer go to the saver at once.

    A row is open from the time when it is read until `close` is called for it. At most `capacity` rows are open.

    Args:
        reuse: Finds answers for rows that need no request; None if each row is sent.
    """

    def __init__(
        self,
        reader: RowReader,
        saver: ResultSaver,
        capacity: int,
        stop: Stop,
        reuse: AnswerReuse | None = None,
    ) -> None:
        self._reader, self._saver, self._capacity, self._stop = reader, saver, capacity, stop
        self._reuse = reuse
        self._open = 0
        self._changed: anyio.Event | None = None

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_requested

    @property
    def ended_at_limit(self) -> bool:
        return False

    async def read(self) -> list[Row] | None:
        while (busy := self._busy()) >= self._capacity or (self._reuse is not None and self._reuse.is_full):
            await self.change()
        rows = await self._reader.read(self._capacity - busy)
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
        return wanted if self._reuse is None else await self._reuse.unanswered(wanted)

    def attempt_failed(self, row: Row, usage: Usage) -> bool:
        return self._saver.attempt_failed(row, usage)

    def reject(self, row: Row, error: Exception) -> None:
        """Let a row fail that is not sent."""
        self._saver.failed(row, failure_of(error))

    def _busy(self) -> int:
        """How many open rows the executor has. Duplicates that wait are not among them."""
        return self._open if self._reuse is None else self._open - self._reuse.waiting

    def abandon(self, rows: Collection[Row]) -> None:
        """Close rows that will have no outcome, and those that wait for them."""
        waiting = self._reuse.abandon(rows) if self._reuse is not None else 0
        self.close(len(rows) + waiting)

    def close(self, rows: int = 1) -> None:
        """Close rows; by default, one."""
        self._open -= rows
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait_closed(self) -> None:
        """Wait until no row is open."""
        while self._open:
            await self.change()

    async def change(self) -> None:
        """Wait until a row is closed."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


class LimitedFeed:
    """Hands out the rows of a feed for which there is room under the limits of a job.

    A row that does not fit waits until others have their outcomes. If it still does not fit, the feed ends.

    Args:
        is_batch: The executor collects all rows before it sends any. The feed then ends as soon as a row does not fit.

    Attributes:
        limit_reason: Why the feed has ended although there are more rows; None if it has not.
        is_limit_reached: A limit is reached, so that no further request should be sent.
    """

    def __init__(self, feed: InputFeed, budget: Budget, *, is_batch: bool) -> None:
        self._feed, self._budget, self._is_batch = feed, budget, is_batch
        self._waiting: deque[Row] = deque()
        self.limit_reason: str | None = None
        self.is_limit_reached = False

    @property
    def is_stopped(self) -> bool:
        return self.is_limit_reached or self._feed.is_stopped

    @property
    def ended_at_limit(self) -> bool:
        return self.limit_reason is not None

    async def read(self) -> list[Row] | None:
        while self.limit_reason is None:
            if not self._waiting:
                rows = await self._feed.read()
                if rows is None:
                    return None
                self._waiting.extend(rows)
            fitting = self._fitting()
            if fitting or not self._waiting:
                return fitting
            if self._is_batch or not self._budget.has_reservations:
                self.limit_reason = self._budget.why(self._waiting[0])
                self._feed.abandon(self._waiting)
            else:
                await self._feed.change()
        return None

    def attempt_failed(self, row: Row, usage: Usage) -> bool:
        return self._feed.attempt_failed(row, usage)

    def _fitting(self) -> list[Row]:
        """Take the rows from the front that fit. Rows whose cost has no bound fail."""
        rows: list[Row] = []
        while self._waiting:
            try:
                fits = self._budget.reserve(self._waiting[0])
            except ConfigError as error:  # The price of the model that the row asks for is unknown.
                self._feed.reject(self._waiting.popleft(), error)
                continue
            if not fits:
                break
            rows.append(self._waiting.popleft())
        return rows
