"""Admit attempts: a permit each, in the order they asked, no sooner than the endpoint allows."""

from __future__ import annotations

import threading
from collections import deque

import anyio

from asyncinfer.control.endpoint import Endpoint
from asyncinfer.errors import RequestError
from asyncinfer.run.clock import Clock, wait_until


class Gate:
    """One engine's permits on one event loop, shared by all its runs and streams there.

    What the endpoint has shown is shared between loops, under `lock`, which no await ever holds.
    """

    def __init__(self, endpoint: Endpoint, lock: threading.Lock, clock: Clock) -> None:
        self._endpoint, self._lock, self._clock = endpoint, lock, clock
        self._queue: deque[_Turn] = deque()
        self.in_use = 0

    @property
    def limit(self) -> int:
        with self._lock:
            return self._endpoint.permits()

    @property
    def waiting(self) -> int:
        """How many wait for a permit."""
        return len(self._queue)

    def enter_at_once(self) -> bool:
        """Take a permit if that needs no waiting; whether one was taken."""
        if self._queue or self._delay() != 0.0:
            return False
        self.in_use += 1
        return True

    async def enter(self) -> None:
        """Take a permit. A cancelled wait takes none and lets the next in line go first."""
        if self.enter_at_once():
            return
        turn = _Turn()
        self._queue.append(turn)
        try:
            while (due := self._due(turn)) != 0.0:
                await wait_until(turn.news, self._clock, due)
                turn.news = anyio.Event()
            self.in_use += 1
        finally:
            self._queue.remove(turn)
            self._nudge()

    def leave(self) -> None:
        """Give a permit back."""
        self.in_use -= 1
        self._nudge()

    def admitted(self) -> None:
        """Tell the endpoint's controller of an answer."""
        with self._lock:
            self._endpoint.admitted(self._clock.now())

    def refused(self, error: RequestError) -> None:
        """Tell the endpoint's controller that it was busy."""
        with self._lock:
            self._endpoint.refused(self._clock.now(), error.retry_after)

    @property
    def admissions(self) -> int:
        """How many attempts the endpoint has answered so far."""
        with self._lock:
            return self._endpoint.admissions

    def _delay(self) -> float | None:
        """Seconds until the next may enter; None while every permit is out."""
        with self._lock:
            if self.in_use >= self._endpoint.permits():
                return None
            return self._endpoint.wait(self._clock.now())

    def _due(self, turn: _Turn) -> float | None:
        """0 when `turn` may enter now, the time when it may, or None while only news can tell."""
        if self._queue[0] is not turn or (delay := self._delay()) is None:
            return None
        return self._clock.now() + delay if delay else 0.0

    def _nudge(self) -> None:
        if self._queue:
            self._queue[0].news.set()


class _Turn:
    """A place in the queue; `news` is set when things may have changed for it."""

    __slots__ = ("news",)

    def __init__(self) -> None:
        self.news = anyio.Event()
