"""The mode CLOSED: the endpoint refuses everything, so attempts start one at a time, with growing pauses."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import LONGEST_GAP, CapacityEstimate
from asyncinfer.control.pacing.evidence import AttemptCounts
from asyncinfer.control.pacing.transitions import Reopen, Transition

# The first pause, as a number of attempts at the last rate, and its minimum in seconds.
_FIRST_PAUSE_ATTEMPTS, _SHORTEST_FIRST_PAUSE = 2, 0.02
# The longest pause, as a number of attempts at the earlier average rate, and its minimum in seconds. At a fast endpoint
# a pause costs more answers, so pauses are shorter there.
_LONGEST_PAUSE_ATTEMPTS, _LEAST_LONGEST_PAUSE = 10, 2.0
# The period before the endpoint closed, in seconds: the shortest that gives an average, and the longest that is used.
_KNOWN_SECONDS, _AVERAGED_SECONDS = 5.0, 60.0
# A lower average rate counts as this one, in attempts per second.
_LOWEST_AVERAGE = 0.1


class ClosedMode:
    """Doubles the pause after each refusal. The first accepted attempt opens the endpoint again.

    An answer to an earlier attempt lets one attempt start at once: if the endpoint limits the attempts in flight,
    it has room then. If that attempt is refused too, further answers let no attempt start for twice the time that the
    endpoint has been closed.
    """

    def __init__(self, capacity: CapacityEstimate, now: float, rate: float) -> None:
        self._capacity = capacity
        self._closed_at = now
        self.pause = max(_FIRST_PAUSE_ATTEMPTS / rate, _SHORTEST_FIRST_PAUSE)
        self._early_attempt = False
        # Answers that were on their way when the endpoint closed do not show that there is room.
        self._no_early_before = now + capacity.refusal_time

    def allows_early_attempt(self, now: float) -> bool:
        """An answer arrived. Returns whether an attempt may start before its pause is over."""
        if self._early_attempt or now < self._no_early_before:
            return False
        self._early_attempt = True
        return True

    def sample(self, now: float, counts: AttemptCounts, *, refused: bool) -> Transition | None:
        """Judge an attempt."""
        if not refused:
            return Reopen(now - self._closed_at)
        self.pause = min(2 * self.pause, self._longest_pause())
        if self._early_attempt:
            self._no_early_before, self._early_attempt = now + 2 * (now - self._closed_at), False
        return None

    def _longest_pause(self) -> float:
        began = self._capacity.began or 0.0
        seconds = self._closed_at - began
        if seconds < _KNOWN_SECONDS:
            return LONGEST_GAP
        accepted = self._capacity.history.accepted(max(began, self._closed_at - _AVERAGED_SECONDS), self._closed_at)
        average = max(accepted / min(seconds, _AVERAGED_SECONDS), _LOWEST_AVERAGE)
        return min(max(_LONGEST_PAUSE_ATTEMPTS / average, _LEAST_LONGEST_PAUSE), LONGEST_GAP)
