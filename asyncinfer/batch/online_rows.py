"""Rows of a batch run that are sent online: as single requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.run.executor import RowFeed
from asyncinfer.run.rows import Row
from asyncinfer.types.usage import Usage

_GROUP = 64


class OnlineRows(RowFeed):
    """A feed of the rows that are sent online. It ends after `close`.

    Args:
        is_stopped: Whether the run is stopped.
        load: Returns the row at an offset of the spill file. It blocks.
        feed: The feed that the rows come from.
    """

    def __init__(self, is_stopped: Callable[[], bool], load: Callable[[int], Row], feed: RowFeed) -> None:
        self._is_stopped, self._load, self._feed = is_stopped, load, feed
        self._offsets: deque[int] = deque()
        self._is_closed = False
        self._changed = anyio.Event()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped()

    @property
    def ended_at_limit(self) -> bool:
        return False

    def attempt_failed(self, row: Row, usage: Usage) -> bool:
        return self._feed.attempt_failed(row, usage)

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, offset: int) -> None:
        """Add the row at this offset of the spill file."""
        self._offsets.append(offset)
        self._changed.set()

    def close(self) -> None:
        """End the feed after the rows that were added."""
        self._is_closed = True
        self._changed.set()

    async def read(self) -> Sequence[Row] | None:
        while not self._offsets:
            if self._is_closed:
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        taken = [self._offsets.popleft() for _ in range(min(_GROUP, len(self._offsets)))]
        return await DISK.run(lambda: [self._load(offset) for offset in taken])
