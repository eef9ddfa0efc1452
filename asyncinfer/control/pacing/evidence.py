"""Statistics of refusals: counts at one rate, an alarm for a rising share, and the likelihood of a share.

All conclusions from refusals compare likelihoods. How much evidence each one takes is listed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log

# The evidence that each conclusion takes, as the natural logarithm of a likelihood ratio: 5.0 is about 150 to 1.
#
# The share of refusals has risen (`ChangeDetector`), and the fewest attempts that show it.
RISE_EVIDENCE, RISE_ATTEMPTS = 7.0, 20
# Nearly all attempts are refused now, although noise is known.
FLOOD_EVIDENCE = 16.0
# Refusals are noise: they are as frequent at a much lower rate; they are not more frequent in a rate probe.
NOISE_EVIDENCE, PROBE_EVIDENCE = 5.0, 4.0
# A share of refusals is not the one that was seen before: a doubt, and a certainty.
DIFFERENCE_EVIDENCE, SURE_DIFFERENCE_EVIDENCE = 2.5, 5.0
# A TRIAL shows few refusals (30 to 1), or many (55 to 1), so that it can end early.
FEW_EVIDENCE, MANY_EVIDENCE = 3.4, 4.0
# The endpoint refuses everything, and noise does not explain that.
CLOSED_EVIDENCE = 6.0


@dataclass(slots=True)
class AttemptCounts:
    """Counts the attempts that were sent at one rate.

    Args:
        since: When the first of them could be sent.
        rate: Attempts per second; None for no limit.
        first: The number of the first of them.
        sent: How many were sent. Some of them may be neither accepted nor refused yet.
        accepted: How many were accepted.
        refused: How many were refused.
    """

    since: float
    rate: float | None = None
    first: int = 0
    sent: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        """How many attempts were accepted or refused."""
        return self.accepted + self.refused

    @property
    def share(self) -> float:
        """The share of them that was refused."""
        return self.refused / max(1, self.total)

    @property
    def accepted_rate(self) -> float:
        """Accepted attempts per second at `rate`, which must not be None."""
        assert self.rate is not None
        return self.rate * (self.accepted + 0.5) / (self.total + 1)

    def add(self, *, refused: bool) -> None:
        """Count one attempt."""
        if refused:
            self.refused += 1
        else:
            self.accepted += 1

    def absorb(self, other: AttemptCounts) -> None:
        """Count the attempts of `other` here too."""
        self.accepted += other.accepted
        self.refused += other.refused

    def __add__(self, other: AttemptCounts) -> AttemptCounts:
        accepted, refused = self.accepted + other.accepted, self.refused + other.refused
        return AttemptCounts(min(self.since, other.since), accepted=accepted, refused=refused)


class ChangeDetector:
    """Raises an alarm when the share of refusals rises well above a base (a one-sided CUSUM).

    Args:
        base: The share of refusals that is expected.
    """

    # The smallest base; how far above the base the share must rise; and the largest share that is compared with.
    _SMALLEST_BASE, _RISE, _LARGEST = 0.02, 0.15, 0.95

    def __init__(self, base: float) -> None:
        low = max(base, self._SMALLEST_BASE)
        high = min(low + self._RISE, self._LARGEST)
        self._up, self._down = log(high / low), log((1 - high) / (1 - low))
        self._score, self._count = 0.0, 0

    def add(self, *, refused: bool) -> bool:
        """Count one attempt. Returns whether the alarm is raised."""
        self._count += 1
        self._score = max(0.0, self._score + (self._up if refused else self._down))
        return self._score >= RISE_EVIDENCE and self._count >= RISE_ATTEMPTS


def log_likelihood(counts: AttemptCounts, share: float) -> float:
    """The logarithm of the likelihood of `counts` if each attempt is refused with the probability `share`."""
    share = min(max(share, 1e-3), 1 - 1e-3)
    return counts.refused * log(share) + counts.accepted * log(1 - share)


def log_likelihood_after(counts: AttemptCounts, earlier: AttemptCounts) -> float:
    """The logarithm of the likelihood of `counts` if the share of refusals is that of `earlier`.

    The share is only known as well as the earlier attempts show it, so this is a beta-binomial distribution.
    """
    refused, accepted = earlier.refused + 0.5, earlier.accepted + 0.5
    return _log_beta(refused + counts.refused, accepted + counts.accepted) - _log_beta(refused, accepted)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
