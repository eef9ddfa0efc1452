"""An endpoint's limit on the number of attempts in flight, once it is known."""

from __future__ import annotations

from asyncinfer.config import AdaptiveConcurrencyParams

# Attempts accepted below the limit before more permits are tried: at first, and at most, after tries that failed.
_PATIENCE, _LONGEST_PATIENCE = 50, 800
# Seconds between two tries, at least: a try costs refusals.
_BETWEEN_PROBES = 1.0
# Attempts accepted at or above the limit that raise it, if none was refused.
_RAISING = 10
# Refusals below the limit that lower it; and that show it is wrong, until it is trusted.
_LOWERING, _WRONG = 3, 2
# Attempts accepted below a new limit before it is trusted.
_TRUST = 100
# How often a limit may be lowered without being raised. If refusals follow it further down, it does not explain them.
_MOST_LOWERED = 2
# Refusals above the limit that end a try, if as many attempts or more were accepted. Answers on their way make some
# attempts look as if they were above the limit.
_ENDING_PROBE = 2


class InFlightLimit:
    """Keeps the permits at the limit. Now and then it adds some for a moment, to notice when the limit has risen.

    Attributes:
        value: The most attempts in flight that the endpoint accepts.
        permits: How many attempts may be in flight: `value`, or more during a try, within the configured bounds.
        is_probing: Whether a try is under way.
        is_over: Whether the limit is no longer believed, or no longer needed.
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
        """Count from zero; the next try adds one permit."""
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
