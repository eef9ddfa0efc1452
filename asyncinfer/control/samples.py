"""Counts of what became of attempts: the samples that the controller decides on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from math import comb


@dataclass(slots=True)
class Trial:
    """The attempts that were sent at one rate, from `since` on. `rate`: attempts a second; None for no limit."""

    since: float
    rate: float | None = None
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    is_test: bool = False

    @property
    def count(self) -> int:
        return self.accepted + self.refused

    @property
    def share(self) -> float:
        """The share that was refused."""
        return self.refused / max(1, self.count)

    def add(self, *, refused: bool) -> None:
        if refused:
            self.refused += 1
        else:
            self.accepted += 1


class ChangeDetector:
    """Notices when the share of refusals rises well above a base (a one-sided CUSUM of Bernoulli trials).

    A few refusals in a row raise the alarm at once; the same number among many accepted attempts does not.
    """

    _RISE, _ALARM = 0.15, 7.0

    def __init__(self, base: float) -> None:
        low, high = max(base, 0.02), min(max(base, 0.02) + self._RISE, 0.95)
        self._up, self._down = math.log(high / low), math.log((1 - high) / (1 - low))
        self._score = 0.0

    def add(self, *, refused: bool) -> bool:
        """Count one attempt; True raises the alarm."""
        self._score = max(0.0, self._score + (self._up if refused else self._down))
        return self._score >= self._ALARM


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


class Levels:
    """Tells whether the endpoint limits the number of attempts in flight.

    Such an endpoint refuses an attempt exactly when `limit` others are in flight. So all refused attempts started
    while at least `limit` others were in flight, and the accepted ones while fewer were. Neither a limit on the rate
    nor refusals at random separate the two like that.
    """

    _KEPT_ACCEPTED, _KEPT_REFUSED = 100, 40
    _REFUSED, _ACCEPTED, _TURNS, _TOLERATED = 4, 3, 3, 0.1
    # One in so many orders of the samples would show a limit by chance.
    _CHANCE = 5000

    def __init__(self) -> None:
        self._accepted: deque[tuple[float, int]] = deque(maxlen=self._KEPT_ACCEPTED)
        self._refused: deque[tuple[float, int]] = deque(maxlen=self._KEPT_REFUSED)
        self._needed = self._REFUSED

    def add(self, sent: float, level: int, *, refused: bool) -> None:
        """`level`: how many other attempts were in flight when this one started, at `sent`."""
        (self._refused if refused else self._accepted).append((sent, level))

    def clear(self) -> None:
        """Begin anew."""
        self._accepted.clear()
        self._refused.clear()

    def doubt(self) -> None:
        """Begin anew, and believe the next limit only after twice as many refusals."""
        self._needed = min(2 * self._needed, self._KEPT_REFUSED)
        self.clear()

    def limit(self) -> int | None:
        """The limit that the samples show; None while they show none."""
        if len(self._refused) < self._needed:
            return None
        # What was sent before the first refusal says little: the endpoint may have had capacity saved up.
        first = min(self._refused)[0]
        after = [sample for sample in self._accepted if sample[0] >= first]
        refused, accepted = sorted(level for _, level in self._refused), sorted(level for _, level in after)
        found = refused[int(len(refused) * self._TOLERATED)]
        below = bisect_left(accepted, found)
        if found < 1 or below < self._ACCEPTED or len(accepted) - below > self._TOLERATED * len(refused):
            return None
        tight = accepted[below - 2] >= found - 1 - found // 5
        rare = comb(len(accepted) + len(refused), len(refused)) >= self._CHANCE
        return found if tight and rare and self._turns(after) >= self._TURNS else None

    def _turns(self, accepted: list[tuple[float, int]]) -> int:
        """How often a refusal followed an accepted attempt, in the order in which they were sent."""
        ordered = sorted([(sent, False) for sent, _ in accepted] + [(sent, True) for sent, _ in self._refused])
        return sum(later and not earlier for (_, earlier), (_, later) in pairwise(ordered))
