"""Bounds the memory of all response bodies that are read at the same time."""

from __future__ import annotations

import asyncio
from collections import deque

# The memory budget for all response bodies of one event loop (bytes). One body at a time may exceed it.
BODIES = 256 * 2**20


def budget_for_bodies() -> MemoryBudget:
    """A budget for the response bodies of one event loop."""
    return MemoryBudget(BODIES)


class MemoryBudget:
    """Bytes that the large bodies of one event loop share.

    When the budget is used up, one body at a time may exceed it and the others wait. So one body can always be
    completed, and the memory stays below the sum of the budget and the largest body.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._beyond: MemoryShare | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    def share(self) -> MemoryShare:
        """A body's share, which is empty at first."""
        return MemoryShare(self)

    async def take(self, share: MemoryShare, count: int) -> None:
        while self._beyond is not share:
            if count <= self._free:
                self._free -= count
                share.taken += count
                return
            if self._beyond is None:
                self._beyond = share
                return
            await self._change()

    def give_back(self, share: MemoryShare) -> None:
        self._free += share.taken
        share.taken = 0
        if self._beyond is share:
            self._beyond = None
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                waiter.set_result(None)

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter


class MemoryShare:
    """The part of a budget that one body uses."""

    __slots__ = ("_budget", "taken")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self.taken = budget, 0

    async def grow(self, count: int) -> None:
        """Wait until `count` more bytes are free, and take them."""
        await self._budget.take(self, count)

    def release(self) -> None:
        """Give all bytes back."""
        self._budget.give_back(self)
