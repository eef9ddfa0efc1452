"""The mode OPEN: there is no rate, only a ramp at the start."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.control.pacing.capacity import CapacityEstimate
from asyncinfer.control.pacing.evidence import AttemptCounts, ChangeDetector
from asyncinfer.control.pacing.noise import Noise
from asyncinfer.control.pacing.transitions import SetRate, Transition

# How many attempts in flight the ramp allows at first, and how many more each second. The ramp keeps an endpoint from
# being flooded before its first refusal arrives.
_RAMP_START, _RAMP_PER_SECOND = 2, 150.0
# The largest share of refusals that does not need a TRIAL.
_FEW = 0.06
# Less room than this, in attempts, is a rounding error: a clock would not show the wait for it.
_NO_ROOM = 1e-6
# A shorter period, in seconds, counts as this long: a coarse clock may show no time at all.
_SHORTEST_PERIOD = 1e-3
# The number of attempts after which the share of noise is measured again, because noise may end.
_NOISE_ATTEMPTS = 200


@dataclass(slots=True)
class Ramp:
    """Limits the attempts in flight. The limit grows with time, and with each answer.

    Attributes:
        answers: How many answers arrived since the ramp began.
    """

    answers: int = 0
    _began: float | None = None
    _at_first: int = 0

    def restart(self, now: float, in_flight: int) -> None:
        """Begin again. As many attempts as are in flight now may stay in flight."""
        self.answers, self._began, self._at_first = 0, now, in_flight

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until another attempt may start."""
        if self._began is None:
            self._began = now
        room = _RAMP_START + self._at_first + self.answers + _RAMP_PER_SECOND * (now - self._began) - in_flight
        return 0.0 if room >= 1 - _NO_ROOM else (1 - room) / _RAMP_PER_SECOND


class OpenMode:
    """Starts a TRIAL when clearly more attempts are refused than the noise explains. Follows the share of noise."""

    def __init__(self, capacity: CapacityEstimate) -> None:
        self._capacity = capacity
        self._alarm = ChangeDetector(capacity.noise.most)
        self._before = AttemptCounts(0.0)

    def sample(self, now: float, counts: AttemptCounts, *, refused: bool) -> Transition | None:
        """Judge an attempt. `counts` includes it."""
        if self._alarm.add(refused=refused):
            return self._accept_few(counts) or self.start_trial(now, counts)
        if counts.total < _NOISE_ATTEMPTS:
            return None
        self._before = counts
        rate = counts.accepted / max(now - counts.since, _SHORTEST_PERIOD)
        self._capacity.best_rate = max(self._capacity.best_rate, rate)
        noise = self._capacity.noise
        if noise.share:
            noise.follow(counts)
            self._alarm = ChangeDetector(noise.most)
        if noise.is_doubtful:
            return self._capacity.recheck_noise(now, rate, counts)
        return SetRate(None)

    def _accept_few(self, counts: AttemptCounts) -> Transition | None:
        """Expect a small share of refusals from now on. If load causes it, the rate is right as it is."""
        seen = self._before + counts
        if seen.total < _NOISE_ATTEMPTS / 2 or seen.share > _FEW:
            return None
        self._before = seen
        noise = self._capacity.noise = Noise(seen.accepted, seen.refused)
        self._alarm = ChangeDetector(noise.most)
        return SetRate(None)

    def start_trial(self, now: float, counts: AttemptCounts, *, is_flood: bool = False) -> Transition:
        """Clearly more attempts are refused than before. `is_flood`: nearly all of them are refused."""
        return self._capacity.start_trial(now, counts, self._before, is_flood=is_flood)
