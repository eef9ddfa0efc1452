"""Gives many duplicates the outcome of their original, without blocking the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.lowlevel import checkpoint

from asyncinfer.run.duplicates import Outcome
from asyncinfer.run.rows import Row

# After this many rows, other tasks may run.
_AT_ONCE = 32


class OutcomeSharing:
    """Hands outcomes to duplicates in the background.

    Args:
        give: Called with each duplicate and its outcome.
    """

    def __init__(self, give: Callable[[Row, Outcome], Awaitable[None]]) -> None:
        self._give = give
        self._waiting: deque[tuple[Sequence[Row], Outcome]] = deque()
        self._wake = anyio.Event()
        self._closed = False

    def add(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """Give these rows an outcome soon."""
        if rows:
            self._waiting.append((rows, outcome))
            self._wake.set()

    async def run(self) -> None:
        """Hand out outcomes until `close` is called."""
        while not self._closed:
            await self._wake.wait()
            self._wake = anyio.Event()
            while self._waiting and not self._closed:
                await self._share(*self._waiting.popleft())

    async def _share(self, rows: Sequence[Row], outcome: Outcome) -> None:
        for count, row in enumerate(rows, 1):
            if self._closed:
                return
            await self._give(row, outcome)
            if count % _AT_ONCE == 0:
                await checkpoint()

    def close(self) -> None:
        """Let `run` return. Rows that have no outcome then get none."""
        self._closed = True
        self._wake.set()
