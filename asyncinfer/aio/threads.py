"""Worker threads for blocking calls, each kind of work with a limit of its own.

`anyio.to_thread.run_sync` counts every call of an event loop against one limiter of 40 tokens, and
`loop.run_in_executor` uses one small pool. Applications use both. An application that fills them with slow calls
would stop every run, so this package takes no thread from either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")


class ThreadLimit:
    """Runs blocking functions in worker threads, at most `size` of them at once on each event loop."""

    def __init__(self, name: str, size: int) -> None:
        self._size = size
        self._limiter: RunVar[CapacityLimiter] = RunVar(f"asyncinfer_{name}")

    async def run(self, function: Callable[..., T], *args: object, abandon_on_cancel: bool = False) -> T:
        """Call `function(*args)` in a worker thread.

        Args:
            abandon_on_cancel: Let a cancelled caller go on at once; the thread finishes its call alone.
        """
        if not threading.main_thread().is_alive():
            return await self._run_late(function, *args)
        return await to_thread.run_sync(
            function, *args, abandon_on_cancel=abandon_on_cancel, limiter=self._own_limiter()
        )

    async def _run_late(self, function: Callable[..., T], *args: object) -> T:
        """Call `function` on the event loop if no thread can be started, as Python 3.12 has it at a program's end."""
        begun = False

        def work() -> T:
            nonlocal begun
            begun = True
            return function(*args)

        try:
            return await to_thread.run_sync(work, limiter=self._own_limiter())
        except RuntimeError:
            if begun:
                raise
            return work()

    def _own_limiter(self) -> CapacityLimiter:
        # A limiter belongs to the event loop that made it.
        try:
            return self._limiter.get()
        except LookupError:
            limiter = CapacityLimiter(self._size)
            self._limiter.set(limiter)
            return limiter


DISK = ThreadLimit("disk", 16)
"""Short work of a run: its input, its scratch file, its output, its progress file."""

ROWS = ThreadLimit("rows", 32)
"""What one row needs and may wait for: files, downloads, credentials."""

MODELS = ThreadLimit("models", 16)
"""What concerns a model in this process: its files, and the end of its thread."""

NAMES = ThreadLimit("names", 8)
"""Lookups of host names."""
