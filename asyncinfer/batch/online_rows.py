"""Rows of a batch run that are sent one by one."""

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
    """A feed of the rows that are sent one by one. It ends after `close`.

    Args:
        feed: The feed that the rows come from.
    """

    def __init__(self, is_stopped: Callable[[], bool], load: Callable[[int], Row], feed: RowFeed) -> None:
        self._is_stopped, self._load, self._feed = is_stopped, load, feed
        self._places: deque[int] = deque()
        self._is_closed = False
        self._changed = anyio.Event()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped()

    @property
    def is_cut(self) -> bool:
        return False

    def attempt_failed(self, row: Row, usage: Usage, endpoint: str | None) -> bool:
        return self._feed.attempt_failed(row, usage, endpoint)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: int) -> None:
        """Add the row that is stored at this place."""
        self._places.append(place)
        self._changed.set()

    def close(self) -> None:
        """No more rows will be added."""
        self._is_closed = True
        self._changed.set()

    async def read(self) -> Sequence[Row] | None:
        while not self._places:
            if self._is_closed:
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        taken = [self._places.popleft() for _ in range(min(_GROUP, len(self._places)))]
        return await DISK.run(lambda: [self._load(place) for place in taken])
