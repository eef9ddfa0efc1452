"""The request to end runs and calls early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import anyio

from asyncinfer.aio.tasks import task_group
from asyncinfer.types.results import RunSummary
from asyncinfer.types.run_errors import RunInterruptedError
from asyncinfer.types.usage import Usage

T = TypeVar("T")


class Stop:
    """Ends the runs and calls that it is passed to, once `request` is called. What is in flight gets `grace` seconds to
    finish.

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
        """Ask the runs and calls to stop."""
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


async def unless_stopped(stop: Stop | None, work: Callable[[], Awaitable[T]]) -> T:
    """The result of the call `work`. It is cancelled `stop.grace` seconds after a stop was requested.

    Raises:
        RunInterruptedError: `stop` was requested before the call, or ended it.
    """
    if stop is None:
        return await work()
    scope, results = anyio.CancelScope(), list[T]()

    async def end_later() -> None:
        await stop.wait()
        scope.deadline = anyio.current_time() + stop.grace

    if not stop.is_requested:
        async with task_group() as tasks:
            tasks.start_soon(end_later)
            with scope:
                results.append(await work())
            tasks.cancel_scope.cancel()
    if not results:
        nothing = RunSummary(total=1, completed=0, failed=0, resumed=0, usage=Usage(), seconds=0.0, failure_samples=[])
        raise RunInterruptedError("Stopped before the conversation was answered.", nothing)
    return results[0]
