"""Tells noise from load: whether refusals stay as frequent when the rate falls."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from asyncinfer.control.pacing.evidence import Trial, log_likelihood, log_likelihood_after

# The largest share of refusals that can be noise. With more, it would be pointless to send at full speed.
MAX_NOISE = 0.5
# The share of refusals, beyond the known noise, that is expected at a rate that the endpoint accepts.
NO_LOAD = 0.015
# A rate below this share of an accepted rate is certainly low enough.
_LOW_RATE = 0.85
# Evidence, as a log likelihood ratio, that proves noise (150 to 1), and the fewest attempts that do.
_SURE, _ATTEMPTS = 5.0, 30
# How much less likely, as a logarithm, noise of the earlier share may be than noise of the share seen now; and how much
# shows that it is not the same.
_DIFFERS, _SURELY_DIFFERS = 2.5, 5.0
# The standard errors that a share of noise may differ by, and those by which it surely has changed.
_ERRORS, _SURELY_ERRORS = 1.5, 3.0
# The share of noise that is worth a second look.
_LARGE = 0.04
# The attempts that are remembered: noise may change.
_REMEMBERED = 1000
# How long a reference holds: seconds, or the time for so many attempts. Later the capacity may have fallen.
_HOLDS, _HOLDS_ATTEMPTS = 10.0, 150


@dataclass(slots=True)
class Noise:
    """The share of attempts that the endpoint refuses at any rate, as far as the counted attempts show it.

    `is_confirmed`: it was found a second time, at a much lower rate.
    """

    accepted: float = 0.0
    refused: float = 0.0
    is_confirmed: bool = False

    @property
    def share(self) -> float:
        return self.refused / (self.accepted + self.refused) if self.refused else 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether it is so large, and so little proven, that load would be a costly mistake."""
        return self.share > _LARGE and not self.is_confirmed

    @property
    def most(self) -> float:
        """The share, or the higher one that the same attempts would show now and then."""
        return self.share + _ERRORS * self._error()

    def is_disproved(self, trial: Trial) -> bool:
        """Whether far fewer attempts were refused than noise would refuse at any rate."""
        return trial.count > 0 and trial.share < self.share - _SURELY_ERRORS * self._error(trial.count)

    def follow(self, trial: Trial) -> None:
        """Count the latest attempts. Far fewer refusals than expected replace what was known: noise may end."""
        if self.is_disproved(trial):
            self.accepted, self.refused, self.is_confirmed = trial.accepted, trial.refused, False
            return
        self.accepted, self.refused = self.accepted + trial.accepted, self.refused + trial.refused
        if self.accepted + self.refused > _REMEMBERED:
            self.accepted, self.refused = self.accepted / 2, self.refused / 2

    def _error(self, count: float | None = None) -> float:
        """The standard error of the share among `count` attempts, by default those that were counted."""
        share = self.share
        return sqrt(share * (1 - share) / (count or self.accepted + self.refused)) if share else 0.0


class Reference(NamedTuple):
    """The endpoint accepted `rate` attempts a second while it refused others, which `trial` counts."""

    rate: float
    trial: Trial


class NoiseEvidence:
    """Refusals at rates well below an accepted one. Load does not explain them, unless the capacity has fallen.

    If they are as frequent as they were at the higher rate, they are noise.
    """

    def __init__(self) -> None:
        self._reference: Reference | None = None
        self._since = 0.0
        self._below = Trial(0.0)

    @property
    def reference(self) -> Reference | None:
        return self._reference

    def accepted_rate(self, now: float) -> float | None:
        """The rate of the reference, if it still holds."""
        return self._reference.rate if self._reference is not None and self._holds(now) else None

    def refer(self, now: float, reference: Reference, *, replace: bool = False) -> None:
        """Compare with `reference` from now on. One with a higher rate stays while it holds, unless `replace`."""
        present = self._reference
        if replace or present is None or not self._holds(now) or reference.rate > present.rate:
            self._reference, self._since, self._below = reference, now, Trial(now)

    def _holds(self, now: float) -> bool:
        if self._reference is None:
            return False
        return now - self._since <= max(_HOLDS, _HOLDS_ATTEMPTS / self._reference.rate)

    def forget(self) -> None:
        """Compare with nothing."""
        self._reference = None

    def add(self, trial: Trial) -> None:
        """Count the attempts of a trial that has ended."""
        if self.is_low(trial):
            self._below.absorb(trial)

    def is_low(self, trial: Trial) -> bool:
        """Whether the trial's rate is well below the reference."""
        return self._reference is not None and trial.rate is not None and trial.rate <= _LOW_RATE * self._reference.rate

    def noise(self, now: float, trial: Trial, expected: float) -> Noise | None:
        """The refusals at random, if they are proven by what was counted and by a `trial` that goes on.

        Args:
            expected: The highest share of refusals if the earlier ones came from load.
        """
        if self._reference is None or not self._holds(now) or not self.is_low(trial):
            return None
        seen, earlier = self._below + trial, self._reference.trial
        if seen.count < _ATTEMPTS or seen.share > MAX_NOISE:
            return None
        as_before = log_likelihood_after(seen, earlier)
        if as_before - log_likelihood(seen, min(expected, seen.share)) < _SURE:
            return None
        if not self.is_explained(seen):
            return None
        return Noise(seen.accepted + earlier.accepted, seen.refused + earlier.refused)

    def is_safe(self, now: float, trial: Trial) -> bool:
        """Whether load cannot explain the refusals of the trial."""
        return self._holds(now) and self.is_low(trial) and self.is_explained(trial)

    def has_fallen(self, trial: Trial) -> bool:
        """Whether more was refused in the trial than noise explains, at a rate that was accepted before."""
        return self.is_low(trial) and self._difference(self._below + trial) > _SURELY_DIFFERS

    def is_explained(self, trial: Trial) -> bool:
        """Whether the refusals of a trial are about as frequent as those at the reference."""
        return self._reference is not None and self._difference(trial) <= _DIFFERS

    def _difference(self, trial: Trial) -> float:
        """How much less likely the trial is at the reference's share than at its own, as a logarithm."""
        if self._reference is None:
            return 0.0
        return log_likelihood(trial, trial.share) - log_likelihood_after(trial, self._reference.trial)
