"""The request to end runs early."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Stop:
    """Ends the runs that it is passed to, once `request` is called. Rows in flight get `grace` seconds to finish.

    It may be used from any thread and from a signal handler, and for several runs.
    """

    def __init__(self, grace: float = 10.0) -> None:
        self.grace = grace
        self._lock = threading.Lock()
        self._is_requested = False
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_requested(self) -> bool:
        return self._is_requested

    def request(self) -> None:
        """Ask the runs to stop."""
        self._is_requested = True
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for future in waiting:
            with suppress(RuntimeError):  # The event loop is closed.
                future.get_loop().call_soon_threadsafe(_set, future)

    async def wait(self) -> None:
        """Return once a stop is requested."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.add(future)
        try:
            if not self._is_requested:
                await future
        finally:
            with self._lock:
                self._waiting.discard(future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
