"""Detects work of a model's thread that takes too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LOADING = "loading the model"


@dataclass(frozen=True, slots=True)
class WatchdogTimeouts:
    """Limits for one piece of work, in seconds. Loading a model may take any time, because it may be downloaded.

    Args:
        warn_after: Report the work after this time, and again each time its duration has doubled.
        abandon_after: Abandon the work after this time.
        stop_timeout: Abandon the work this long after the engine was stopped.
    """

    warn_after: float = 60.0
    abandon_after: float = 1800.0
    stop_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A piece of work that takes long.

    Args:
        work: What the thread does.
        seconds: How long it has taken so far.
        abandoned: Whether it is now abandoned.
        stopping: Whether the engine is stopping.
    """

    work: str
    seconds: float
    abandoned: bool
    stopping: bool


class Watchdog:
    """Measures the work of one thread. The thread calls `begin` and `end`; another thread calls `check`."""

    def __init__(self, timeouts: WatchdogTimeouts | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.timeouts = timeouts or WatchdogTimeouts()
        self._now = now
        # Re-entrant: a garbage collection inside may finalize the engine, which calls `stop`.
        self._lock = threading.RLock()
        self._work: str | None = None
        self._since = self._warn_at = 0.0
        self._stop_at: float | None = None
        self._abandoned = False

    def begin(self, work: str) -> None:
        """A piece of work begins."""
        with self._lock:
            self._work, self._since = work, self._now()
            self._warn_at = self._since + self.timeouts.warn_after

    def end(self) -> bool:
        """The work has ended. Returns whether its result counts: False if the work was abandoned."""
        with self._lock:
            self._work = None
            return not self._abandoned

    def stop(self) -> None:
        """The engine is asked to stop. From now on `stop_timeout` limits the work."""
        with self._lock:
            self._stop_at = self._now() + self.timeouts.stop_timeout

    def check(self) -> Stall | None:
        """Return the stall to report now, if any. Abandons the work for good if it has taken too long."""
        with self._lock:
            now = self._now()
            if self._work is None or self._abandoned:
                return None
            self._abandoned = now >= self._deadline()
            if not self._abandoned and now < self._warn_at:
                return None
            self._warn_at = now + (now - self._since)
            return Stall(self._work, now - self._since, self._abandoned, self._stop_at is not None)

    def _deadline(self) -> float:
        """When the work is abandoned."""
        deadline = float("inf") if self._work == LOADING else self._since + self.timeouts.abandon_after
        return deadline if self._stop_at is None else min(deadline, self._stop_at)
