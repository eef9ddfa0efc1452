"""Follows an endpoint's limit on the number of attempts in flight, once the limit is known.

A *limit probe* allows more permits than the limit for a short time, to find out whether the limit has risen. In this
module, *above* means: the attempt started while at least as many others as the limit were in flight. *Below* means:
while fewer were in flight.
"""

from __future__ import annotations

from asyncinfer.config import AdaptiveConcurrencyParams

# The number of attempts that are accepted below the limit before a limit probe starts. It doubles after each failed
# probe, up to `_LONGEST_PATIENCE`.
_PATIENCE, _LONGEST_PATIENCE = 50, 800
# The fewest seconds between two limit probes, because each costs refusals.
_BETWEEN_PROBES = 1.0
# The limit is raised when this number of attempts above it were accepted, and none was refused.
_RAISING = 10
# The limit is lowered after `_LOWERING` refusals below it. A limit that is not trusted yet is wrong after `_WRONG` of
# them.
_LOWERING, _WRONG = 3, 2
# A new limit is trusted after this number of attempts were accepted below it.
_TRUST = 100
# How often the limit may be lowered without being raised. If attempts are refused below it even then, the limit does
# not explain the refusals.
_MOST_LOWERED = 2
# A limit probe ends when more than this number of attempts above the limit are refused, even if more attempts above it
# were accepted: while an answer is on its way, the client counts one attempt in flight too many.
_ENDING_PROBE = 2


class InFlightLimit:
    """Keeps the permits at the limit. From time to time, a limit probe finds out whether the limit has risen.

    Attributes:
        value: The most attempts in flight that the endpoint accepts.
        permits: How many attempts may be in flight: `value`, or more during a limit probe, within the configured
            bounds.
        is_probing: Whether a limit probe is running.
        is_over: Whether the limit no longer applies: it was wrong, or it has risen to the configured maximum.
    """

    def __init__(self, value: int, params: AdaptiveConcurrencyParams, now: float) -> None:
        self._most, self._least = params.max_concurrency, params.min_concurrency
        self._largest_probe = params.concurrency_step
        self.value = max(value, self._least)
        self.permits = min(self.value, self._most)
        self.is_probing = False
        self.is_over = False
        self._accepted_in_total = 0
        self._lowered = 0
        self._patience = _PATIENCE
        self._restart(now)

    def _restart(self, now: float) -> None:
        """Count from zero. The next limit probe adds one permit."""
        self._accepted_below = self._accepted_above = self._refused_above = self._refused_below = 0
        self._probe_size, self._probed_at = 1, now

    def accepted(self, now: float, level: int) -> None:
        """The endpoint accepted an attempt that started while `level` others were in flight."""
        if level >= self.value:
            self._accepted_above += 1
            if self._accepted_above >= _RAISING and not self._refused_above:
                self._raise(now)
            return
        self._accepted_below += 1
        self._accepted_in_total += 1
        if self._accepted_below >= self._patience and now - self._probed_at >= _BETWEEN_PROBES:
            self._probe()

    def refused(self, now: float, level: int) -> None:
        """The endpoint refused an attempt that started while `level` others were in flight."""
        if level >= self.value:
            self._refused_above += 1
            if self._refused_above > min(self._accepted_above, _ENDING_PROBE):
                self._end_probe(now)
            return
        self._refused_below += 1
        if self._accepted_in_total < _TRUST and self._refused_below >= _WRONG:
            self.is_over = True
        elif self._refused_below >= _LOWERING:
            self._lower(now)

    def _raise(self, now: float) -> None:
        self.value = self.permits
        if self.value >= self._most:
            self.is_over = True
            return
        size = self._probe_size
        self._restart(now)
        self._lowered = max(0, self._lowered - 1)
        self._probe_size = min(2 * size, self._largest_probe)
        self._probe()

    def _lower(self, now: float) -> None:
        self._lowered += 1
        self.value -= 1
        if self._lowered > _MOST_LOWERED or self.value < self._least:
            self.is_over = True
        else:
            self._end_probe(now)

    def _probe(self) -> None:
        self.is_probing = True
        self.permits = min(self.value + self._probe_size, self._most)

    def _end_probe(self, now: float) -> None:
        if self.is_probing:
            self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
        self.is_probing = False
        self.permits = min(self.value, self._most)
        self._restart(now)
