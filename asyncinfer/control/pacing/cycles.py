"""The average rate over a cycle: a period in which the endpoint accepts attempts, and the stop that ends it.

A stop is a wait that the endpoint requested, or a time in CLOSED. An endpoint that admits a fixed number of requests
each minute accepts exactly that average, however fast the attempts in a cycle are sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.control.pacing.capacity import MEASURED_SECONDS, CapacityEstimate
from asyncinfer.control.pacing.noise import MAX_NOISE, Noise
from asyncinfer.control.pacing.transitions import Confidence, StartCruise, StartOpen

# Two averages count as the same if they differ by at most this share.
_SAME = 0.25
# A rate that is too high costs a stop. So a confirmed rate does not grow for the length of a cycle, and for twice as
# long with each further confirmation. The longest time without growth: relative to the stop, and in seconds.
_STEADY_STOPS, _LONGEST_STEADY = 2.0, 1800.0
# The largest number of confirmations that are counted, so that the time without growth fits into a float.
_MOST_CONFIRMATIONS = 60
# During a wait of at least this number of seconds, any bucket fills up.
_LONG_WAIT = 5.0
# A stop that is shorter than this number of seconds, after a short cycle, is about the time in which the bucket refills
# by one attempt.
_SHORT_STOP = 1.0
# If the endpoint accepts attempts for less than this share of the stop, it admits a fixed number of them per window.
_WINDOW_SHARE = 0.25
# The waits are noise if a lower rate does not avoid them. Each entry is a number of waits and a share. It applies if
# there were more waits, and they have lowered the rate to less than this share of the first rate.
_FALLEN = ((2, 0.3), (3, 0.5))
# The waits are also noise if there are more than `_MANY_WAITS`, on average after fewer than `_FEW_ATTEMPTS` attempts,
# while the rate is at most `_RISES` times the first rate.
_MANY_WAITS, _FEW_ATTEMPTS, _RISES = 5, 30, 1.1
# The smallest share of such noise, because a share of 0 means that there is no noise.
_LEAST_NOISE = 0.01
# A shorter period or stop, in seconds, counts as this long: a coarse clock may show no time at all.
_SHORTEST_PERIOD, _SHORTEST_STOP = 0.01, 1e-9


@dataclass(slots=True)
class Cycles:
    """The current cycle, and what earlier cycles have shown.

    Args:
        capacity: What else is known of the endpoint.
        start: When the current cycle began. It is in the future while a wait lasts.
        rate: The latest rate at which CRUISE started; None before. The pacer writes it.
        steady_until: Until then, the rate is confirmed and does not grow.
    """

    capacity: CapacityEstimate
    start: float = 0.0
    rate: float | None = None
    steady_until: float = 0.0
    _confirmations: int = 0
    _waits: int = 0
    _first_rate: float = 0.0
    _first_wait: float = 0.0

    def wait_requested(self, now: float, until: float) -> StartCruise | StartOpen | None:
        """The endpoint requested a wait from `now` until `until`: end the cycle.

        Returns:
            The next mode. None if an attempt that was in flight repeats an earlier request, or if nothing was accepted
            in the cycle.
        """
        repeats = now < self.start
        # If nothing was accepted, another client may have used up the limit, so the cycle does not show a rate.
        if repeats or not self.capacity.history.accepted(self.start, now - self.capacity.refusal_time):
            self.start = self.capacity.exhausted_at = until
            return None
        self.capacity.note_burst(now - self.capacity.refusal_time)
        since, cruise = self.start, self.finish(until, until - now, is_wait=True)
        if not self._waits or until - now > _LONG_WAIT or cruise.rate > _RISES * self._first_rate:
            self._waits, self._first_rate, self._first_wait = 1, cruise.rate, since
            return cruise
        self._waits += 1
        if self._waits_are_noise(now, cruise.rate / self._first_rate):
            self._waits = 0
            return StartOpen(self._noise_since(self._first_wait, now))
        return cruise

    def _waits_are_noise(self, now: float, fallen: float) -> bool:
        """Whether no rate avoids the waits. `fallen`: the present rate, relative to the rate after the first wait."""
        if any(self._waits > waits and fallen < share for waits, share in _FALLEN):
            return True
        often = self.capacity.history.sent(self._first_wait, now) < _FEW_ATTEMPTS * self._waits
        return often and self._waits > _MANY_WAITS

    def is_first_accepted(self, end: float) -> bool:
        """Whether the attempt that ends the cycle is the first one that the endpoint ever accepted.

        Then no rate is known: the endpoint may have been loading.
        """
        return self.rate is None and self.capacity.history.accepted(self.start, end) <= 1

    def finish(self, end: float, stop: float, *, is_wait: bool = False) -> StartCruise:
        """The cycle ends at `end`, after a stop of `stop` seconds: continue at its average rate.

        Args:
            is_wait: The endpoint requested the stop.
        """
        length = end - self.start
        rate = self._average(end, stop, is_wait=is_wait)
        is_same = self.rate is not None and abs(rate - self.rate) <= _SAME * self.rate
        self._confirmations = min(self._confirmations + 1, _MOST_CONFIRMATIONS) if is_same else 0
        steady = min(length * 2**self._confirmations, _STEADY_STOPS * stop) if is_same else 0.0
        self.steady_until = end + min(steady, _LONGEST_STEADY)
        self.start = self.capacity.exhausted_at = end
        self.rate = rate
        is_window = stop > _SHORT_STOP and length - stop < _WINDOW_SHARE * stop
        return StartCruise(rate, Confidence.HIGH if is_same or is_window else Confidence.LOW)

    def _average(self, end: float, stop: float, *, is_wait: bool) -> float:
        length = end - self.start
        rate = max(self.capacity.history.accepted(self.start, end), 1) / max(length, _SHORTEST_PERIOD)
        if is_wait and stop < _LONG_WAIT:
            rate = self._without_lost_time(rate, end, stop)
        if stop < _SHORT_STOP and length < MEASURED_SECONDS:
            # The bucket was full when the cycle began. During the stop it refills by about one attempt.
            rate = min(rate, 2 / max(stop, _SHORTEST_STOP))
        return rate

    def _without_lost_time(self, rate: float, end: float, stop: float) -> float:
        """The average without the part of the wait in which the bucket was already full."""
        length = end - self.start
        rate *= length / max(length - stop + min(stop, self.capacity.burst_seconds(rate)), _SHORTEST_PERIOD)
        return max(rate, self.capacity.recent_refill_rate(end - stop, length - stop))

    def _noise_since(self, start: float, now: float) -> Noise:
        history = self.capacity.history
        sent = max(history.sent(start, now), 1)
        share = min(max(history.refused(start, now) / sent, _LEAST_NOISE), MAX_NOISE)
        return Noise(sent * (1 - share), sent * share)
