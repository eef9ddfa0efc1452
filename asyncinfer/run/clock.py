"""Time, as a run is told it. Tests move a clock of their own."""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class MonotonicClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def wait_until(event: anyio.Event, clock: Clock, due: float | None) -> None:
    """Return when `event` is set or the clock reaches `due`, whichever comes first."""
    if due is None:
        await event.wait()
        return
    async with anyio.create_task_group() as tasks:

        async def alarm() -> None:
            await clock.sleep(due - clock.now())
            tasks.cancel_scope.cancel()

        tasks.start_soon(alarm)
        await event.wait()
        tasks.cancel_scope.cancel()
