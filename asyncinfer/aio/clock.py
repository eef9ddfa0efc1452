"""The time as a run sees it. Tests use a clock that they control."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import anyio


class Clock(Protocol):
    """Shows the time, and calls functions later."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on the running event loop after this many seconds.

        Returns:
            A function that cancels the call.
        """
        ...


class MonotonicClock:
    """The monotonic clock of the machine."""

    now = staticmethod(time.monotonic)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, callback).cancel


async def wait_until(event: anyio.Event, clock: Clock, due: float | None) -> None:
    """Wait until `event` is set or the clock reaches `due`, whichever comes first. At `due`, the event is set."""
    if due is None:
        await event.wait()
        return
    cancel = clock.call_later(due - clock.now(), event.set)
    try:
        await event.wait()
    finally:
        cancel()
