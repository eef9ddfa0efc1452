"""Statistics of refusals: counts at one rate, an alarm for a rising share, and the likelihood of a share."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log


@dataclass(slots=True)
class Trial:
    """The attempts that were sent at one rate, from `since` on. `rate`: attempts a second; None for no limit.

    `first` is the number of the first of them. `sent` also counts attempts that are neither accepted nor refused yet.
    """

    since: float
    rate: float | None = None
    first: int = 0
    sent: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def count(self) -> int:
        """How many attempts were accepted or refused."""
        return self.accepted + self.refused

    @property
    def share(self) -> float:
        """The share that was refused."""
        return self.refused / max(1, self.count)

    @property
    def accepted_rate(self) -> float:
        """Accepted attempts a second at `rate`, which must be known."""
        assert self.rate is not None
        return self.rate * (self.accepted + 0.5) / (self.count + 1)

    def add(self, *, refused: bool) -> None:
        """Count one attempt."""
        if refused:
            self.refused += 1
        else:
            self.accepted += 1

    def absorb(self, other: Trial) -> None:
        """Count the attempts of `other` here too."""
        self.accepted += other.accepted
        self.refused += other.refused

    def __add__(self, other: Trial) -> Trial:
        accepted, refused = self.accepted + other.accepted, self.refused + other.refused
        return Trial(min(self.since, other.since), accepted=accepted, refused=refused)


class ChangeDetector:
    """Notices when the share of refusals rises well above a base (a one-sided CUSUM of Bernoulli trials)."""

    _RISE, _ALARM, _ATTEMPTS = 0.15, 7.0, 20

    def __init__(self, base: float) -> None:
        low, high = max(base, 0.02), min(max(base, 0.02) + self._RISE, 0.95)
        self._up, self._down = log(high / low), log((1 - high) / (1 - low))
        self._score, self._count = 0.0, 0

    def add(self, *, refused: bool) -> bool:
        """Count one attempt; True raises the alarm."""
        self._count += 1
        self._score = max(0.0, self._score + (self._up if refused else self._down))
        return self._score >= self._ALARM and self._count >= self._ATTEMPTS


def log_likelihood(trial: Trial, share: float) -> float:
    """The log of the likelihood of the trial if each attempt is refused with the probability `share`."""
    share = min(max(share, 1e-3), 1 - 1e-3)
    return trial.refused * log(share) + trial.accepted * log(1 - share)


def log_likelihood_after(trial: Trial, earlier: Trial) -> float:
    """The same if the share is that of `earlier`, as well as those attempts show it (a beta-binomial distribution)."""
    refused, accepted = earlier.refused + 0.5, earlier.accepted + 0.5
    return _log_beta(refused + trial.refused, accepted + trial.accepted) - _log_beta(refused, accepted)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
