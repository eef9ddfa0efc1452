"""How long a model's thread has been at one piece of work, for whoever watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LOADING = "loading the model"


@dataclass(frozen=True, slots=True)
class WatchdogTimeouts:
    """In seconds: when a piece of work that does not end is told of, which is done again each time it has taken
    twice as long; when it is given up; and when it is given up once the engine is to stop. A model may be loaded for
    as long as it takes, as it may have to be downloaded.
    """

    tell_after: float = 60.0
    give_up_after: float = 1800.0
    stop_within: float = 30.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A piece of work that has taken `seconds` so far; whether it is given up, and whether it was to stop anyway."""

    work: str
    seconds: float
    given_up: bool
    stopping: bool


class Watchdog:
    """Written by the thread that works, and read by the one that watches it."""

    def __init__(self, patience: WatchdogTimeouts | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.patience = patience or WatchdogTimeouts()
        self._now = now
        # Re-entrant, because a garbage collection inside may finalize the engine, which stops.
        self._lock = threading.RLock()
        self._work: str | None = None
        self._since = self._tell_at = 0.0
        self._stop_at: float | None = None
        self._given_up = False

    def begin(self, work: str) -> None:
        with self._lock:
            self._work, self._since = work, self._now()
            self._tell_at = self._since + self.patience.tell_after

    def end(self) -> bool:
        """The work is done; whether it was worth it, as nobody has given it up."""
        with self._lock:
            self._work = None
            return not self._given_up

    def stop(self) -> None:
        """From now on the work should come to its end."""
        with self._lock:
            self._stop_at = self._now() + self.patience.stop_within

    def look(self) -> Stall | None:
        """What there is to tell of the work, which is given up for good if it has taken too long."""
        with self._lock:
            now = self._now()
            if self._work is None or self._given_up:
                return None
            self._given_up = now >= self._gives_up_at()
            if not self._given_up and now < self._tell_at:
                return None
            self._tell_at = now + (now - self._since)
            return Stall(self._work, now - self._since, self._given_up, self._stop_at is not None)

    def _gives_up_at(self) -> float:
        by_itself = float("inf") if self._work == LOADING else self._since + self.patience.give_up_after
        return by_itself if self._stop_at is None else min(by_itself, self._stop_at)
