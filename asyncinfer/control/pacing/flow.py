"""The history of attempts: when they were sent, and which of them were refused."""

from __future__ import annotations

from bisect import bisect_left


class Flow:
    """When attempts were sent, and which of them were refused. An attempt that is pending counts as accepted."""

    _KEPT = 8192

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._refused: list[float] = []

    def send(self, now: float) -> None:
        """An attempt starts."""
        self._append(self._sent, now)

    def refuse(self, sent: float) -> None:
        """The attempt that started at `sent` was refused."""
        self._append(self._refused, sent)

    def accepted(self, start: float, end: float) -> int:
        """How many of the attempts that were sent from `start` until before `end` were not refused."""
        return self.sent(start, end) - self.refused(start, end)

    def sent(self, start: float, end: float) -> int:
        """How many were sent from `start` until before `end`."""
        return _between(self._sent, start, end)

    def refused(self, start: float, end: float) -> int:
        """How many of those were refused."""
        return _between(self._refused, start, end)

    def _append(self, times: list[float], time: float) -> None:
        # Replies come nearly in order, and the list must be in order.
        times.append(max(time, times[-1]) if times else time)
        if len(times) > 2 * self._KEPT:
            del times[: -self._KEPT]


def _between(times: list[float], start: float, end: float) -> int:
    return bisect_left(times, end) - bisect_left(times, start)
