"""The mode OPEN: no rate, only a ramp at the start."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.control.pacing.capacity import CapacityEstimate
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial
from asyncinfer.control.pacing.noise import Noise
from asyncinfer.control.pacing.transitions import NewTrial, Transition

# Attempts in flight that the ramp allows: at first, and more each second, so that no endpoint is flooded before its
# first refusal arrives.
_RAMP_START, _RAMP_PER_SECOND = 2, 150.0
# The largest share of refusals that needs no test.
_FEW = 0.06
# A smaller part of an attempt is an error of rounding: no clock would show the wait for it.
_NO_ROOM = 1e-6
# No trial counts as shorter, in seconds: a coarse clock may show no time at all.
_SHORTEST_TRIAL = 1e-3
# The attempts after which the share of noise is measured again, since noise may end.
_NOISE_ATTEMPTS = 200


@dataclass(slots=True)
class Ramp:
    """Limits the attempts in flight. The limit grows with time, and with each answer. The ramp counts in every mode."""

    in_flight: int = 0
    answers: int = 0
    _began: float | None = None
    _at_first: int = 0

    def restart(self, now: float) -> None:
        """Begin with as many attempts as are in flight now."""
        self.answers, self._began, self._at_first = 0, now, self.in_flight

    def wait(self, now: float) -> float:
        """Seconds until another attempt may start."""
        if self._began is None:
            self._began = now
        room = _RAMP_START + self._at_first + self.answers + _RAMP_PER_SECOND * (now - self._began) - self.in_flight
        return 0.0 if room >= 1 - _NO_ROOM else (1 - room) / _RAMP_PER_SECOND


class OpenMode:
    """Waits for clearly more refusals than the noise explains, and follows the noise."""

    def __init__(self, capacity: CapacityEstimate) -> None:
        self._capacity = capacity
        self._alarm = ChangeDetector(capacity.refused_anyway.most)
        self._before = Trial(0.0)

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if self._alarm.add(refused=refused):
            return self._accept_few(trial) or self.overloaded(now, trial)
        if trial.count < _NOISE_ATTEMPTS:
            return None
        self._before = trial
        rate = trial.accepted / max(now - trial.since, _SHORTEST_TRIAL)
        self._capacity.best_rate = max(self._capacity.best_rate, rate)
        noise = self._capacity.refused_anyway
        if noise.share:
            noise.follow(trial)
            self._alarm = ChangeDetector(noise.most)
        if noise.is_doubtful:
            return self._capacity.doubt(now, rate, trial)
        return NewTrial(None)

    def _accept_few(self, trial: Trial) -> Transition | None:
        """Expect a small share of refusals from now on. If they come from load, the rate is right as it is."""
        seen = self._before + trial
        if seen.count < _NOISE_ATTEMPTS / 2 or seen.share > _FEW:
            return None
        self._before = seen
        noise = self._capacity.refused_anyway = Noise(seen.accepted, seen.refused)
        self._alarm = ChangeDetector(noise.most)
        return NewTrial(None)

    def overloaded(self, now: float, trial: Trial, *, is_flood: bool = False) -> Transition:
        """Clearly more attempts are refused than before; in a flood, nearly all of them."""
        return self._capacity.overloaded(now, trial, self._before, is_flood=is_flood)
