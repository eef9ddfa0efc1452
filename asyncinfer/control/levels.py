"""Finds out from samples whether an endpoint limits the number of attempts in flight."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import pairwise
from math import comb
from typing import NamedTuple

# How many samples are kept. The limit of an endpoint may change, so old samples are dropped.
_KEPT_ACCEPTED, _KEPT_REFUSED = 100, 40
# The fewest refused and accepted attempts that show a limit, and how often a refused attempt must come right after an
# accepted one. An endpoint that refuses everything from one moment on does not limit the attempts in flight.
_REFUSED, _ACCEPTED, _TURNS = 4, 3, 3
# The share of samples that may be on the wrong side of the limit, because the client does not know exactly how many
# attempts the endpoint sees in flight.
_TOLERATED = 0.1
# If refusals did not depend on the level, the samples would show a limit by chance at most once in this many cases.
_CHANCE = 5000
# The gap between the highest accepted levels and the limit is at most one plus the limit divided by this number.
_GAP_DIVISOR = 5


class _Sample(NamedTuple):
    number: int
    level: int
    series: int


class Levels:
    """Finds out whether the endpoint limits the number of attempts in flight.

    The level of an attempt is the number of others in flight when it started. An endpoint with a limit refuses an
    attempt exactly when `limit` others are in flight. So all refused attempts have a level of at least `limit`, and
    all accepted attempts have a lower level. A limit on the rate does not separate them like that, nor do refusals at
    random.
    """

    def __init__(self) -> None:
        self._accepted: deque[_Sample] = deque(maxlen=_KEPT_ACCEPTED)
        self._refused: deque[_Sample] = deque(maxlen=_KEPT_REFUSED)
        self._needed = _REFUSED

    def add(self, number: int, level: int, series: int, *, refused: bool) -> None:
        """Add a sample.

        Args:
            number: The number of the attempt.
            level: How many other attempts were in flight when it started.
            series: Attempts with the same value were sent at the same rate.
            refused: Whether the endpoint refused it.
        """
        (self._refused if refused else self._accepted).append(_Sample(number, level, series))

    def clear(self) -> None:
        """Forget all samples."""
        if self._accepted or self._refused:
            self._accepted.clear()
            self._refused.clear()

    def require_more(self) -> None:
        """Forget all samples, and require twice as many refusals to show the next limit."""
        self._needed = min(2 * self._needed, _KEPT_REFUSED)
        self.clear()

    def limit(self) -> int | None:
        """The limit that the samples show; None if they show no limit."""
        if len(self._refused) < self._needed:
            return None
        # Attempts before the first refusal prove little: the endpoint may have saved up capacity. Attempts at a rate at
        # which nothing was refused prove little, too: at a low rate, fewer are in flight, and fewer are refused.
        first, series = min(self._refused).number, {sample.series for sample in self._refused}
        accepted = [sample for sample in self._accepted if sample.number >= first and sample.series in series]
        limit = _separating_level(sorted(s.level for s in accepted), sorted(s.level for s in self._refused))
        return limit if limit is not None and self._turns(accepted) >= _TURNS else None

    def _turns(self, accepted: list[_Sample]) -> int:
        """How often a refusal followed an accepted attempt, in the order in which they were sent."""
        ordered = sorted([(s.number, False) for s in accepted] + [(s.number, True) for s in self._refused])
        return sum(later and not earlier for (_, earlier), (_, later) in pairwise(ordered))


def _separating_level(accepted: list[int], refused: list[int]) -> int | None:
    """The lowest level at which attempts are refused; None if no level separates the two. Both lists are sorted."""
    level = refused[int(len(refused) * _TOLERATED)]
    below = bisect_left(accepted, level)
    if level < 1 or below < _ACCEPTED or len(accepted) - below > _TOLERATED * len(refused):
        return None
    is_close = accepted[below - 2] >= level - 1 - level // _GAP_DIVISOR
    is_unlikely = comb(len(accepted) + len(refused), len(refused)) >= _CHANCE
    return level if is_close and is_unlikely else None
