"""Virtual time that passes as soon as every task waits."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.lowlevel

from tests.fakes import FakeClock


class QuickClock(FakeClock):
    """A FakeClock that advances as soon as every task waits."""

    def __init__(self) -> None:
        super().__init__()
        self._off: set[int] = set()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        ticket = next(self._tickets)
        heapq.heappush(self._alarms, (self._now + max(0.0, seconds), ticket, callback))
        return lambda: self._off.add(ticket)

    async def run(self) -> None:
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            await anyio.lowlevel.checkpoint()
            if not ready and self._alarms:
                due, ticket, callback = heapq.heappop(self._alarms)
                if ticket not in self._off:
                    self._now = max(self._now, due)
                    callback()


@asynccontextmanager
async def passing(clock: FakeClock) -> AsyncGenerator[None]:
    """Let the time of `clock` pass while the block runs. The block's exception is raised as it is."""
    task = asyncio.create_task(clock.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
