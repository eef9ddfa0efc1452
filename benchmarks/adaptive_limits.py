"""The limits of the benchmark's servers. They are pure: the time is an argument.

Times are seconds since the server's first request. Each limit counts how much of its capacity was used before `end`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal


class Limit(ABC):
    """Decides which requests a server admits."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.used = 0.0

    @abstractmethod
    def capacity(self, seconds: float) -> float:
        """How much the server can take in `seconds`, in the unit of `used`."""

    @abstractmethod
    def admit(self, at: float, tokens: int) -> float | None:
        """Returns the seconds that an admitted request waits in a queue, or None if the request is refused."""

    def finish(self, began: float, ended: float) -> None:
        """A request that was admitted at `began` is answered at `ended`."""
        return

    def retry_after(self, at: float) -> float:
        """Seconds until a request may be admitted."""
        return 1.0

    def headers(self, at: float) -> dict[str, str]:
        """The headers that report the limit, on every response."""
        return {}

    def _use(self, at: float, amount: float) -> None:
        if at < self.end:
            self.used += amount


class Bucket(Limit):
    """A token bucket of requests, or of the tokens that they ask for.

    Args:
        end: When counting stops.
        phases: The seconds of each phase and its rate per second. A rate of 0 refuses everything.
        burst: The size of the bucket, in seconds of the rate. The bucket is full at the start.
        unit: What the bucket counts.
        reports: Whether responses have `x-ratelimit-*` headers.
    """

    def __init__(
        self,
        end: float,
        phases: Sequence[tuple[float, float]],
        burst: float = 1.0,
        unit: Literal["requests", "tokens"] = "requests",
        reports: bool = False,
    ) -> None:
        super().__init__(end)
        self._phases, self._burst, self._unit, self._reports = phases, burst, unit, reports
        self._level, self._at = self._size(0.0), 0.0

    def rate(self, at: float) -> float:
        for seconds, rate in self._phases:
            if at < seconds:
                return rate
            at -= seconds
        return self._phases[-1][1]

    def capacity(self, seconds: float) -> float:
        total = self._size(0.0)
        for length, rate in self._phases:
            total += min(length, max(0.0, seconds)) * rate
            seconds -= length
        return total

    def admit(self, at: float, tokens: int) -> float | None:
        amount = tokens if self._unit == "tokens" else 1
        self._fill(at)
        if self._level < amount:
            return None
        self._level -= amount
        self._use(at, amount)
        return 0.0

    def retry_after(self, at: float) -> float:
        return (1 - self._level) / self.rate(at) if self.rate(at) else 1.0

    def headers(self, at: float) -> dict[str, str]:
        if not self._reports:
            return {}
        self._fill(at)
        size = self._size(at)
        reset = (size - self._level) / self.rate(at)
        values = {"limit": f"{size:.0f}", "remaining": f"{self._level:.0f}", "reset": f"{reset:.3f}s"}
        return {f"x-ratelimit-{part}-{self._unit}": value for part, value in values.items()}

    def _fill(self, at: float) -> None:
        self._level = min(self._size(at), self._level + self.rate(at) * (at - self._at))
        self._at = at

    def _size(self, at: float) -> float:
        rate = self.rate(at)
        return max(1.0, rate * self._burst) if rate else 0.0


class InFlight(Limit):
    """At most `limit` requests at once. The capacity is counted in seconds of `limit` slots."""

    def __init__(self, end: float, limit: int) -> None:
        super().__init__(end)
        self.limit = limit
        self._running = 0

    def capacity(self, seconds: float) -> float:
        return self.limit * seconds

    def admit(self, at: float, tokens: int) -> float | None:
        if self._running >= self.limit:
            return None
        self._running += 1
        return 0.0

    def finish(self, began: float, ended: float) -> None:
        self._running -= 1
        self.used += max(0.0, min(ended, self.end) - began)


class FixedWindow(Limit):
    """At most `limit` requests in each window of `window` seconds. The first window began `elapsed` seconds ago."""

    def __init__(self, end: float, limit: int, window: float, elapsed: float) -> None:
        super().__init__(end)
        self.limit, self._window, self._elapsed = limit, window, elapsed
        self._number, self._taken = 0, 0

    def capacity(self, seconds: float) -> float:
        return self.limit * math.ceil((seconds + self._elapsed) / self._window)

    def admit(self, at: float, tokens: int) -> float | None:
        number = int((at + self._elapsed) / self._window)
        if number != self._number:
            self._number, self._taken = number, 0
        if self._taken >= self.limit:
            return None
        self._taken += 1
        self._use(at, 1)
        return 0.0

    def retry_after(self, at: float) -> float:
        return self._window - (at + self._elapsed) % self._window


class Queue(Limit):
    """Refuses nothing, and works off `rate` requests per second in their order."""

    def __init__(self, end: float, rate: float) -> None:
        super().__init__(end)
        self._rate = rate
        self._free = 0.0

    def capacity(self, seconds: float) -> float:
        return self._rate * seconds

    def admit(self, at: float, tokens: int) -> float | None:
        self._free = max(self._free, at) + 1 / self._rate
        self._use(self._free, 1)
        return self._free - at
