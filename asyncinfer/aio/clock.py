"""Time, as a run is told it. Tests move a clock of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import anyio


class Clock(Protocol):
    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def alarm(self, seconds: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Have `ring` called on the running loop after so many seconds; what is returned calls that off."""
        ...


class MonotonicClock:
    """The machine's own clock."""

    now = staticmethod(time.monotonic)

    def alarm(self, seconds: float, ring: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, ring).cancel


async def wait_until(event: anyio.Event, clock: Clock, due: float | None) -> None:
    """Return when `event` is set or the clock reaches `due`, whichever comes first."""
    if due is None:
        await event.wait()
        return
    # The event that is waited for is the alarm too: who waits looks again in either case.
    call_off = clock.alarm(due - clock.now(), event.set)
    try:
        await event.wait()
    finally:
        call_off()
