"""The mode CLOSED: everything is refused, so attempts start one at a time, with growing pauses."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import LONGEST_GAP, CapacityEstimate
from asyncinfer.control.pacing.evidence import Trial
from asyncinfer.control.pacing.transitions import Reopen, Transition

# The first pause, as a number of attempts at the last rate, and its minimum in seconds.
_FIRST_PAUSE_ATTEMPTS, _SHORTEST_FIRST_PAUSE = 2, 0.02
# The longest pause, as a number of attempts at the average rate before, and its minimum in seconds. A pause costs more
# answers at a fast endpoint, so that is tried more often.
_LONGEST_PAUSE_ATTEMPTS, _LEAST_LONGEST_PAUSE = 10, 2.0
# The seconds before the endpoint closed: the fewest that give an average, and the most that it covers.
_KNOWN_SECONDS, _AVERAGED_SECONDS = 5.0, 60.0
# The lowest average rate that counts, in attempts a second.
_LOWEST_AVERAGE = 0.1


class ClosedMode:
    """Doubles the pause after each refusal. The first accepted attempt opens the endpoint again.

    An answer to an earlier attempt lets one attempt start at once: if the endpoint limits the attempts in flight,
    it has room then. If that one is refused too, answers let none start for twice the time since the endpoint closed.
    """

    def __init__(self, capacity: CapacityEstimate, now: float, rate: float) -> None:
        self._capacity = capacity
        self._closed_at = now
        self.pause = max(_FIRST_PAUSE_ATTEMPTS / rate, _SHORTEST_FIRST_PAUSE)
        self._early_attempt = False
        # Answers that are on their way when the endpoint closes do not show that there is room.
        self._no_early_before = now + capacity.lag

    def allows_early_attempt(self, now: float) -> bool:
        """An answer arrived; whether an attempt may start before its pause is over."""
        if self._early_attempt or now < self._no_early_before:
            return False
        self._early_attempt = True
        return True

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
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
        accepted = self._capacity.flow.accepted(max(began, self._closed_at - _AVERAGED_SECONDS), self._closed_at)
        average = max(accepted / min(seconds, _AVERAGED_SECONDS), _LOWEST_AVERAGE)
        return min(max(_LONGEST_PAUSE_ATTEMPTS / average, _LEAST_LONGEST_PAUSE), LONGEST_GAP)
