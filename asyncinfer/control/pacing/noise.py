"""Distinguishes noise from load: noise stays as frequent when the rate falls.

*Noise* is the share of attempts that the endpoint refuses at any rate. *Load* refuses more attempts at a higher rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from asyncinfer.control.pacing.evidence import (
    DIFFERENCE_EVIDENCE,
    NOISE_EVIDENCE,
    SURE_DIFFERENCE_EVIDENCE,
    AttemptCounts,
    log_likelihood,
    log_likelihood_after,
)

# The largest share of refusals that can be noise. If more attempts are refused, it is useless to send at full speed.
MAX_NOISE = 0.5
# The share of refusals, noise not counted, that is expected at a rate that the endpoint accepts.
NO_LOAD = 0.015
# A rate below this share of an accepted rate is low enough not to be refused for load.
_LOW_RATE = 0.85
# The fewest attempts that prove noise.
_ATTEMPTS = 30
# By how many standard errors the true share of noise may differ from the counted one, and by how many a new share must
# differ to show that the noise has changed.
_ERRORS, _SURE_ERRORS = 1.5, 3.0
# A share of noise above this one is checked a second time.
_LARGE = 0.04
# How many attempts are remembered: noise may change.
_REMEMBERED = 1000
# A reference is valid for `_VALID_SECONDS`, or for the time of `_VALID_ATTEMPTS` attempts if that is longer. Later the
# capacity may have fallen.
_VALID_SECONDS, _VALID_ATTEMPTS = 10.0, 150


@dataclass(slots=True)
class Noise:
    """The share of attempts that the endpoint refuses at any rate, as far as the counted attempts show it.

    Args:
        accepted: How many of the counted attempts were accepted.
        refused: How many were refused. 0: there is no noise.
        is_confirmed: The noise was found a second time, at a much lower rate.
    """

    accepted: float = 0.0
    refused: float = 0.0
    is_confirmed: bool = False

    @property
    def share(self) -> float:
        return self.refused / (self.accepted + self.refused) if self.refused else 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether the share is large and was found only once. If it is load instead, the mistake costs a lot."""
        return self.share > _LARGE and not self.is_confirmed

    @property
    def most(self) -> float:
        """The largest share that the counted attempts make likely."""
        return self.share + _ERRORS * self._error()

    def is_disproved(self, counts: AttemptCounts) -> bool:
        """Whether far fewer attempts were refused than noise refuses at any rate."""
        return counts.total > 0 and counts.share < self.share - _SURE_ERRORS * self._error(counts.total)

    def follow(self, counts: AttemptCounts) -> None:
        """Count the latest attempts too. If they disprove the noise, they replace all earlier attempts."""
        if self.is_disproved(counts):
            self.accepted, self.refused, self.is_confirmed = counts.accepted, counts.refused, False
            return
        self.accepted, self.refused = self.accepted + counts.accepted, self.refused + counts.refused
        if self.accepted + self.refused > _REMEMBERED:
            self.accepted, self.refused = self.accepted / 2, self.refused / 2

    def _error(self, count: float | None = None) -> float:
        """The standard error of the share among `count` attempts, by default among the counted ones."""
        share = self.share
        return sqrt(share * (1 - share) / (count or self.accepted + self.refused)) if share else 0.0


class Reference(NamedTuple):
    """The endpoint accepted `rate` attempts per second, and refused others at the same time. `counts` has both."""

    rate: float
    counts: AttemptCounts


class NoiseEvidence:
    """Collects attempts at rates well below an accepted rate, the reference.

    Load does not explain their refusals, unless the capacity has fallen. If they are refused as often as at the
    reference, the refusals are noise.
    """

    def __init__(self) -> None:
        self._reference: Reference | None = None
        self._since = 0.0
        self._below = AttemptCounts(0.0)

    @property
    def reference(self) -> Reference | None:
        return self._reference

    def accepted_rate(self, now: float) -> float | None:
        """The rate of the reference; None without a reference that is still valid."""
        return self._reference.rate if self._reference is not None and self._is_valid(now) else None

    def set_reference(self, now: float, reference: Reference, *, replace: bool = False) -> None:
        """Compare with `reference` from now on.

        Args:
            replace: Replace the present reference even if that one has a higher rate and is still valid.
        """
        present = self._reference
        if replace or present is None or not self._is_valid(now) or reference.rate > present.rate:
            self._reference, self._since, self._below = reference, now, AttemptCounts(now)

    def _is_valid(self, now: float) -> bool:
        if self._reference is None:
            return False
        return now - self._since <= max(_VALID_SECONDS, _VALID_ATTEMPTS / self._reference.rate)

    def forget(self) -> None:
        """Remove the reference."""
        self._reference = None

    def add(self, counts: AttemptCounts) -> None:
        """Count attempts at a rate that is no longer in use."""
        if self.is_low(counts):
            self._below.absorb(counts)

    def is_low(self, counts: AttemptCounts) -> bool:
        """Whether the rate of the attempts is well below the reference."""
        reference = self._reference
        return reference is not None and counts.rate is not None and counts.rate <= _LOW_RATE * reference.rate

    def find_noise(self, now: float, counts: AttemptCounts, expected: float) -> Noise | None:
        """The noise, if the collected attempts and those at the present rate prove it.

        Args:
            counts: The attempts at the present rate.
            expected: The highest share of refusals at this rate if the earlier refusals came from load.
        """
        if self._reference is None or not self._is_valid(now) or not self.is_low(counts):
            return None
        seen, earlier = self._below + counts, self._reference.counts
        if seen.total < _ATTEMPTS or seen.share > MAX_NOISE:
            return None
        as_before = log_likelihood_after(seen, earlier)
        if as_before - log_likelihood(seen, min(expected, seen.share)) < NOISE_EVIDENCE:
            return None
        if not self.is_explained(seen):
            return None
        return Noise(seen.accepted + earlier.accepted, seen.refused + earlier.refused)

    def is_safe(self, now: float, counts: AttemptCounts) -> bool:
        """Whether load cannot explain the refusals."""
        return self._is_valid(now) and self.is_low(counts) and self.is_explained(counts)

    def has_fallen(self, counts: AttemptCounts) -> bool:
        """Whether noise cannot explain the refusals, although the rate was accepted before: the capacity has fallen."""
        return self.is_low(counts) and self._difference(self._below + counts) > SURE_DIFFERENCE_EVIDENCE

    def is_explained(self, counts: AttemptCounts) -> bool:
        """Whether the refusals are about as frequent as those at the reference."""
        return self._reference is not None and self._difference(counts) <= DIFFERENCE_EVIDENCE

    def _difference(self, counts: AttemptCounts) -> float:
        """How much less likely the attempts are at the reference's share of refusals than at their own share."""
        if self._reference is None:
            return 0.0
        return log_likelihood(counts, counts.share) - log_likelihood_after(counts, self._reference.counts)
