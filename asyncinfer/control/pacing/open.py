"""The mode OPEN: no rate, only a ramp at the start."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.control.pacing.capacity import CapacityEstimate
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial
from asyncinfer.control.pacing.transitions import NewTrial, Transition

# Undecided attempts that the ramp allows: at first, and more each second, so that no endpoint is flooded before its
# first refusal arrives.
_RAMP_START, _RAMP_PER_SECOND = 2, 150.0
# The attempts after which the share of noise is measured again, since noise may end.
_NOISE_ATTEMPTS = 200


@dataclass(slots=True)
class Ramp:
    """Limits the undecided attempts: those that are neither accepted nor refused yet.

    The limit grows with time and by one for each accepted attempt. The ramp counts in every mode.
    """

    undecided: int = 0
    accepted: int = 0
    _began: float | None = None

    def wait(self, now: float) -> float:
        """Seconds until another attempt may start."""
        if self._began is None:
            self._began = now
        room = _RAMP_START + self.accepted + _RAMP_PER_SECOND * (now - self._began) - self.undecided
        return 0.0 if room >= 1 else (1 - room) / _RAMP_PER_SECOND


class OpenMode:
    """Waits for clearly more refusals than the noise explains, and follows the noise."""

    def __init__(self, capacity: CapacityEstimate) -> None:
        self._capacity = capacity
        self._alarm = ChangeDetector(capacity.noise)

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if self._alarm.add(refused=refused):
            return self._capacity.overloaded(now, trial)
        if trial.count < _NOISE_ATTEMPTS:
            return None
        if self._capacity.noise:
            self._follow_noise(trial.share)
        return NewTrial(None)

    def _follow_noise(self, share: float) -> None:
        # A share that doubles is for the alarm to judge.
        self._capacity.noise = min(share, 2 * self._capacity.noise)
        self._alarm = ChangeDetector(self._capacity.noise)
