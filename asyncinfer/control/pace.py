"""When the next attempt may start: at once until the endpoint refuses, then near the rate it delivers.

AIMD on the number in flight alone cannot hold a server that refuses at once: a refused attempt frees its
permit in a millisecond, and the next is refused too. So a refusal also sets a rate. After each it is cut
to just below what the endpoint delivers, comes back to that along a cubic curve, lingers there, and then
probes ever faster upward, until the next refusal (as the CUBIC congestion control of RFC 9438 does with
a window). Figures: `benchmarks/adaptive.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from math import log2

# After a refusal the rate is this share of the delivered one. What was
# delivered lags behind a rate that grows, so no cut is deeper than to `_DEEPEST` of the rate; nor less deep than to
# `_UNKNOWN` of it before anything is known of what is delivered.
_CUT, _DEEPEST, _UNKNOWN = 0.95, 0.7, 0.5
# It is back at the delivered rate after so many seconds and attempts; later where waits that the endpoint
# asked for would cost more than a share of the time.
_RETURN_SECONDS, _RETURN_ATTEMPTS, _LONGEST_RETURN, _COST = 2.0, 80, 8.0, 0.05
# It is 5% above it after so many seconds and attempts more; after twice as many, 40%.
_GROWTH_SECONDS, _GROWTH_ATTEMPTS = 1.0, 30
# However few attempts there are, neither takes longer than so many seconds.
_LONGEST_WAY_BACK, _LONGEST_GROWTH = 30.0, 10.0
# While all is refused the rate only falls, and says nothing of what the endpoint took before. From a rate far
# below that it doubles in so many seconds; and one attempt in so many is made whatever the rate.
_DOUBLING, _LONGEST_PAUSE, _ENOUGH = 1.0, 15.0, 3
# Never faster than so many times what is delivered: an unused rate says nothing.
_HEADROOM = 1.5
# Seconds that an attempt may be early, for timers are no more exact.
_SLACK = 0.003
# Some servers refuse a few at random, at whatever rate they are asked. While no more than so many, or less than this
# share, were refused since the last cut, the way back goes on, and the goal only fades by a little.
_NO_NEWS, _TOLERATED, _FADING = 2, 0.1, 0.995
# Attempts left out after a cut, so that the endpoint has room for the next.
_PAUSE = 2.0
# Until the first refusal: so many at once, two more for each answer, so many more each second.
_FIRST, _PER_ANSWER, _PER_SECOND = 10, 2, 100.0


@dataclass(slots=True)
class Pace:
    """Spaces attempts. `goal` is the rate the endpoint delivered when it last refused, in attempts a second;
    None while it never has. `cuts` counts the times it made the rate lower.
    """

    goal: float | None = None
    cuts: int = 0
    _known: float | None = None
    _cut_at: float = 0.0
    _due: float = 0.0
    _return: float = _RETURN_SECONDS
    _began: float | None = None
    _sent: int = 0
    _answers: int = 0
    _cycle: _Cycle = field(default_factory=lambda: _Cycle(0.0, 0))
    _delivered: Delivered = field(default_factory=lambda: Delivered())

    def rate(self, now: float) -> float | None:
        """Attempts a second; None for no limit."""
        goal, since = self._course(now)
        if goal is None:
            return None
        if since < 0:
            return goal * 2.0 ** (since / _DOUBLING) * _CUT
        back = self._back_after(goal)
        if since < back:
            return goal * (1 - (1 - _CUT) * (1 - since / back) ** 3)
        growth = min(max(_GROWTH_SECONDS, _GROWTH_ATTEMPTS / goal), _LONGEST_GROWTH)
        probed = goal * (1 + (1 - _CUT) * ((since - back) / growth) ** 3)
        delivered = self._delivered.rate(now)
        return probed if delivered is None else min(probed, max(goal, delivered * _HEADROOM))

    def _course(self, now: float) -> tuple[float | None, float]:
        """The rate to come back to, and the seconds since the way back began; less than 0 while it still doubles."""
        since = max(now - self._cut_at, 0.0)
        if self.goal is None or self._known is None or self.goal >= self._known / 2:
            return self.goal, since
        return self._known, since - log2(self._known / self.goal) * _DOUBLING

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start."""
        if self.goal is not None:
            return max(0.0, self._due - _SLACK - now)
        if self._began is None:
            self._began = now
        room = _FIRST + _PER_ANSWER * self._answers + _PER_SECOND * (now - self._began) - self._sent
        return 0.0 if room >= 1 else (1 - room) / _PER_SECOND

    def started(self, now: float) -> None:
        """An attempt starts."""
        self._sent += 1
        self._cycle.sent += 1
        if (rate := self.rate(now)) is not None:
            self._due = max(self._due, now - _SLACK) + min(1 / rate, _LONGEST_PAUSE)

    def probes(self, sent: float) -> bool:
        """Whether a refusal of an attempt that started at `sent` is the pace's own doing: the attempt was
        under way when the rate was cut, or went out to see whether there is more than the goal.
        """
        goal, since = self._course(sent)
        return goal is not None and (sent < self._cut_at or since >= self._back_after(goal))

    def answered(self, now: float, sent: float) -> None:
        """An attempt that started at `sent` came through."""
        self._answers += 1
        self._cycle.delivered += sent >= self._cut_at
        self._delivered.add(now)

    def refused(self, now: float, sent: float, *, holds: bool = False) -> None:
        """An attempt that started at `sent` was refused; `holds`: with a wait for all that costs more."""
        if self.goal is not None and sent < self._cut_at:
            return  # It was under way when the rate was cut; that cut is for it too.
        cycle = self._cycle
        cycle.refused += 1
        few = not holds and (cycle.refused < _NO_NEWS or cycle.share < _TOLERATED)
        if self.goal is not None and few and not self.probes(sent):
            return
        goal = self._deliverable(now)
        self._weigh_probing(now, goal)
        if self.goal is not None and few:
            goal = max(goal, self.goal * _FADING)
        if self.goal is None or cycle.delivered >= _ENOUGH:
            self._known = goal  # Else next to nothing got through, and this is no measure.
        self.goal = goal
        self.cuts += 1
        self._cut_at = now
        self._cycle = _Cycle(now, self._answers)
        self._due = max(self._due, now + min(_PAUSE / (goal * _CUT), _LONGEST_PAUSE))

    def hold(self, until: float) -> None:
        """Nothing starts before `until`, and the wait does not count towards the next probe."""
        self._cycle.held += max(0.0, until - self._cut_at)
        self._due = max(self._due, until)
        self._cut_at = max(self._cut_at, until)

    def _back_after(self, goal: float) -> float:
        """Seconds from a cut until the rate is at the goal again."""
        return min(max(self._return, _RETURN_ATTEMPTS / goal), _LONGEST_WAY_BACK)

    def _deliverable(self, now: float) -> float:
        """What the endpoint takes, to judge by what it has delivered, in attempts a second."""
        rate, delivered = self.rate(now), self._delivered.rate(now)
        if rate is None:
            began = now if self._began is None else self._began
            rate = max(self._sent / max(now - began, _FIRST / _PER_SECOND), 1.0)
            return rate if delivered is None else min(rate, delivered)
        return rate * _UNKNOWN if delivered is None else max(rate * _DEEPEST, min(rate, delivered))

    def _weigh_probing(self, now: float, goal: float) -> None:
        """Probe more seldom where the wait after the last probe cost much that no burst made good."""
        if self.goal is None or not self.probes(now):
            return  # Refused on the way back: the goal was too high, which tells nothing of a probe's cost.
        missed = now - self._cycle.began - (self._answers - self._cycle.answers) / goal
        lost = min(missed, self._cycle.held)
        self._return = min(max(lost / _COST / 1.5, _RETURN_SECONDS), _LONGEST_RETURN)


@dataclass(slots=True)
class _Cycle:
    """From one cut to the next: when it began, with how many answers, the seconds it was held, and how many of the
    attempts since then were refused, or delivered.
    """

    began: float
    answers: int
    held: float = 0.0
    sent: int = 0
    refused: int = 0
    delivered: int = 0

    @property
    def share(self) -> float:
        return self.refused / max(self.sent, 1)


class Delivered:
    """The rate of answers, over the last second, or as much longer, up to five, as twenty of them take."""

    _SECONDS, _LONGEST, _ANSWERS, _KEPT = 1.0, 5.0, 20, 8192

    def __init__(self) -> None:
        self._times: list[float] = []
        self._first: float | None = None

    def add(self, now: float) -> None:
        if self._first is None:
            self._first = now
        self._times.append(now)
        if len(self._times) > 2 * self._KEPT:
            del self._times[: -self._KEPT]

    def rate(self, now: float) -> float | None:
        """Answers a second; None before there is enough to tell."""
        if self._first is None or now - self._first < self._SECONDS:
            return None
        end = len(self._times)
        lately = end - bisect_left(self._times, now - self._SECONDS)
        counted = max(lately, min(self._ANSWERS, end - bisect_left(self._times, now - self._LONGEST)))
        if counted < 2:
            return None
        return counted / max(self._SECONDS, now - self._times[-counted])
