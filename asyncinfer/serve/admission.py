"""Decides which requests are answered now, which wait, and which are refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import NamedTuple

import anyio

from asyncinfer.serve.api_errors import ApiError

# The bounds of the wait that a refused client is asked for (seconds).
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 60.0
# The weight of the latest answer in the average time.
_NEWEST = 0.1


class _Turn(NamedTuple):
    """A request in the queue. `granted` is set when its answers may begin."""

    size: int
    granted: asyncio.Future[None]


class Admission:
    """The slots in which answers are made, and a bounded queue of the requests that wait for them.

    Args:
        slots: The maximum number of answers in progress.
        max_queue: The maximum number of requests that wait.
        now: The time, in seconds.
    """

    def __init__(self, slots: int, max_queue: int, now: Callable[[], float]) -> None:
        self.slots, self._max_queue, self._now = slots, max_queue, now
        self.in_use = 0
        self.is_draining = self._is_cut_off = False
        self._scopes: set[anyio.CancelScope] = set()
        self._queue: deque[_Turn] = deque()
        self._seconds = _SHORTEST_WAIT
        self._idle = anyio.Event()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @asynccontextmanager
    async def acquire(self, size: int = 1) -> AsyncGenerator[None]:
        """Hold slots for the answers of one request. Waits for them in the order of the calls.

        Args:
            size: How many answers the request has. More than there are slots count as all slots.

        Raises:
            ApiError: The queue is full, or the server is stopping.
        """
        size = min(size, self.slots)
        await self._enter(size)
        began = self._now()
        try:
            yield
            self._seconds += _NEWEST * (self._now() - began - self._seconds)
        finally:
            self._leave(size)

    def check(self, size: int = 1) -> None:
        """Raise an ApiError if a request with `size` answers cannot be accepted now."""
        if self.is_draining:
            raise _unavailable("The server is shutting down.")
        if len(self._queue) >= self._max_queue and not self._fits(size):
            message = f"The server is busy: {self.in_use} answers are in progress and {self.waiting} requests wait."
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded", retry_after=self._expected_wait()
            )

    async def drain(self) -> None:
        """Accept no more requests, and wait until all that were accepted are answered."""
        self.is_draining = True
        while self.in_use or self._queue:
            self._idle = anyio.Event()
            await self._idle.wait()

    @contextmanager
    def cancellable(self) -> Generator[anyio.CancelScope]:
        """Make a scope for the work on one request. `cut_off` cancels it. The caller must enter it.

        Yields:
            The scope, which is not entered yet.
        """
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    def cut_off(self) -> int:
        """End all work at once. Returns how many requests are cut off."""
        self._is_cut_off = True
        for scope in self._scopes:
            scope.cancel()
        return len(self._scopes)

    def cut_off_error(self) -> ApiError | None:
        """The error for a request that `cut_off` has ended; None if it was not called."""
        message = "The server was shut down before the answer was complete."
        return _unavailable(message) if self._is_cut_off else None

    async def _enter(self, size: int) -> None:
        self.check(size)
        if self._fits(size):
            self.in_use += size
            return
        turn = _Turn(size, asyncio.get_running_loop().create_future())
        self._queue.append(turn)
        try:
            await turn.granted
        except BaseException:
            if turn in self._queue:
                self._queue.remove(turn)
            if turn.granted.done() and not turn.granted.cancelled():
                self.in_use -= size  # The slots were granted when the request was already cancelled.
            self._grant()
            raise

    def _leave(self, size: int) -> None:
        self.in_use -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return not self._queue and self.in_use + size <= self.slots

    def _grant(self) -> None:
        while self._queue and self.in_use + self._queue[0].size <= self.slots:
            turn = self._queue.popleft()
            if not turn.granted.done():
                self.in_use += turn.size
                turn.granted.set_result(None)
        if not self.in_use and not self._queue:
            self._idle.set()

    def _expected_wait(self) -> float:
        expected = self._seconds * (self.waiting + 1) / self.slots
        return min(max(expected, _SHORTEST_WAIT), _LONGEST_WAIT)


def _unavailable(message: str) -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, code="shutting_down", retry_after=_SHORTEST_WAIT)
