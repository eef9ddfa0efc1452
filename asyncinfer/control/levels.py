"""Finds out from samples whether an endpoint limits the number of attempts in flight."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import pairwise
from math import comb


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
