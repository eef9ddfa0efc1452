"""Statistics of refusals: counts at one rate, an alarm for a rising share, and a comparison of two hypotheses."""

from __future__ import annotations

from dataclasses import dataclass
from math import log


@dataclass(slots=True)
class Trial:
    """The attempts that were sent at one rate, from `since` on. `rate`: attempts a second; None for no limit.

    `sent` also counts attempts that are neither accepted nor refused yet.
    """

    since: float
    rate: float | None = None
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


class ChangeDetector:
    """Notices when the share of refusals rises well above a base (a one-sided CUSUM of Bernoulli trials).

    A few refusals in a row raise the alarm at once; the same number among many accepted attempts does not.
    """

    _RISE, _ALARM = 0.15, 7.0

    def __init__(self, base: float) -> None:
        low, high = max(base, 0.02), min(max(base, 0.02) + self._RISE, 0.95)
        self._up, self._down = log(high / low), log((1 - high) / (1 - low))
        self._score = 0.0

    def add(self, *, refused: bool) -> bool:
        """Count one attempt; True raises the alarm."""
        self._score = max(0.0, self._score + (self._up if refused else self._down))
        return self._score >= self._ALARM


def log_likelihood(trial: Trial, low: float, high: float) -> float:
    """The log of how much likelier the trial is at a share of `high` refusals than at `low`."""
    high = min(high, 0.95)
    return trial.refused * log(high / low) + trial.accepted * log((1 - high) / (1 - low))
