"""The history of attempts: when they were sent, and which of them were refused."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque


class AttemptHistory:
    """Records when attempts were sent, and which of them were refused. A pending attempt counts as accepted.

    Periods include their start, and exclude their end.
    """

    # The fewest attempts that are kept, and how many of the latest refused ones are kept.
    _KEPT, _IN_A_ROW = 8192, 64

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._refused: list[float] = []
        self._count = 0
        self._latest_refused = deque[int](maxlen=self._IN_A_ROW)

    @property
    def count(self) -> int:
        """How many attempts have started. It is also the number of the latest one."""
        return self._count

    def add(self, now: float) -> int:
        """An attempt starts.

        Returns:
            Its number.
        """
        self._append(self._sent, now)
        self._count += 1
        return self._count

    def mark_refused(self, number: int) -> None:
        """The attempt with this number was refused."""
        back = self._count - number
        self._append(self._refused, self._sent[-1 - back] if back < len(self._sent) else self._sent[0])
        self._latest_refused.append(number)

    def accepted(self, start: float, end: float) -> int:
        """How many of the attempts that were sent in the period were not refused."""
        return self.sent(start, end) - self.refused(start, end)

    def sent(self, start: float, end: float) -> int:
        """How many attempts were sent in the period."""
        return _between(self._sent, start, end)

    def refused(self, start: float, end: float) -> int:
        """How many of the attempts that were sent in the period were refused."""
        return _between(self._refused, start, end)

    def refused_in_a_row(self, count: int, first: int) -> bool:
        """Whether the last `count` refused attempts have numbers from `first` on, and at most one other among them."""
        latest = sorted(number for number in self._latest_refused if number >= first)[-count:]
        return len(latest) == count and latest[-1] - latest[0] <= count

    def first_refused(self, start: float, end: float) -> float | None:
        """When the first refused attempt of the period was sent; None if none was refused."""
        at = bisect_left(self._refused, start)
        return self._refused[at] if at < len(self._refused) and self._refused[at] < end else None

    def _append(self, times: list[float], time: float) -> None:
        # Responses arrive nearly in the order of sending. The list must be in order.
        times.append(max(time, times[-1]) if times else time)
        if len(times) > 2 * self._KEPT:
            del times[: -self._KEPT]


def _between(times: list[float], start: float, end: float) -> int:
    return bisect_left(times, end) - bisect_left(times, start)
