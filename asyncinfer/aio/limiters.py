"""Worker threads for blocking calls. Each kind of work has its own limit.

`anyio.to_thread.run_sync` counts every call of an event loop against one limiter of 40 tokens, and
`loop.run_in_executor` uses one small pool. Applications use both. An application that fills them with slow
calls would stop every run, so this package uses neither of them.
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
            abandon_on_cancel: A cancelled caller does not wait for the thread, which still finishes the call.
        """
        if not threading.main_thread().is_alive():
            return await self._run_late(function, *args)
        return await to_thread.run_sync(
            function, *args, abandon_on_cancel=abandon_on_cancel, limiter=self._own_limiter()
        )

    async def _run_late(self, function: Callable[..., T], *args: object) -> T:
        """Call `function` on the event loop if no thread can be started.

        Python 3.12 starts no threads at the end of a program.
        """
        started = False

        def work() -> T:
            nonlocal started
            started = True
            return function(*args)

        try:
            return await to_thread.run_sync(work, limiter=self._own_limiter())
        except RuntimeError:
            if started:
                raise
            return work()

    def _own_limiter(self) -> CapacityLimiter:
        # A limiter belongs to the event loop on which it was created.
        try:
            return self._limiter.get()
        except LookupError:
            limiter = CapacityLimiter(self._size)
            self._limiter.set(limiter)
            return limiter


DISK = ThreadLimit("disk", 16)
"""Short file operations of a run: its input, its scratch file, its output, its progress file."""

ROWS = ThreadLimit("rows", 32)
"""Work for one row that may block for long: files, downloads, credentials."""

MODELS = ThreadLimit("models", 16)
"""Work for a model in this process: reading its files, and waiting for its thread to end."""

NAMES = ThreadLimit("names", 8)
"""Lookups of host names."""
