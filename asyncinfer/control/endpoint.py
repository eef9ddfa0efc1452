"""What the other side has shown it can take: how many attempts at once, and when the next may start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Endpoint:
    """The state that all rows of one engine share. Not thread-safe: its owner holds a lock.

    This one keeps a fixed number of permits; a controller that adapts overrides `permits`, `wait`
    and the two observations.
    """

    limit: int
    held_until: float = 0.0
    admissions: int = 0

    def permits(self) -> int:
        """How many attempts may be in flight now."""
        return self.limit

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start; 0 when it may start now."""
        return max(0.0, self.held_until - now)

    def admitted(self, now: float) -> None:
        """An attempt was answered."""
        self.admissions += 1

    def refused(self, now: float, retry_after: float | None) -> None:
        """An attempt was refused because the endpoint is busy: its wait holds every row."""
        self.held_until = max(self.held_until, now + (retry_after or 0.0))
