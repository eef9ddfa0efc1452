"""What a job will take, as a pilot of some of its rows shows.

The rows of the pilot are a simple random sample. The expected total is the mean of the sample, times the number of rows
that are left. The interval contains the usual 95% confidence interval of a mean (Student's t distribution, with the
finite population correction), and the one that takes the skewness of the sample into account (P. Hall, "On the removal
of skewness by transformation", 1992). The lengths of answers are skewed: a few are much longer than the others. The
usual interval alone then contains the real total too seldom.

An interval is wide for a small sample. It says nothing about rows of a kind that the sample does not have at all, so a
few very long answers may still exceed it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncinfer.types.costs import RunCost
from asyncinfer.types.results import FailureDetail
from asyncinfer.types.short_repr import ShortRepr

# The 97.5% quantiles of Student's t distribution, for 1 to 30 degrees of freedom. For more, the quantile follows from
# that of the normal distribution (Cornish and Fisher).
_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Interval(NamedTuple):
    """An expected value, and the ends of its 95% confidence interval.

    The ends are None if the sample has fewer than two rows.
    """

    expected: float
    low: float | None
    high: float | None

    def at_least(self, least: float) -> Interval:
        """The interval, of which each value is at least `least`."""
        low, high = (max(end, least) if end is not None else None for end in (self.low, self.high))
        return Interval(max(self.expected, least), low, high)


def estimated_total(values: Sequence[float], rows: int, most: float = math.inf) -> Interval:
    """The sum over `rows` further rows, from the values of a sample of at least one row.

    Args:
        most: The largest value that a row can have.
    """
    size, mean = len(values), statistics.fmean(values)
    if not rows:
        return Interval(0.0, 0.0, 0.0)
    if size < 2:
        return Interval(mean * rows, None, None)
    correction = math.sqrt(rows / (rows + size))
    deviation, quantile = statistics.stdev(values), t_quantile(size - 1) / math.sqrt(size)
    skewness = _skewness(values, mean, deviation)
    below = max(quantile, _without_skewness(quantile, skewness, size)) * deviation * correction
    above = max(quantile, -_without_skewness(-quantile, skewness, size)) * deviation * correction
    return Interval(mean * rows, max(0.0, mean - below) * rows, min(mean + above, most) * rows)


def _skewness(values: Sequence[float], mean: float, deviation: float) -> float:
    return statistics.fmean([(value - mean) ** 3 for value in values]) / deviation**3 if deviation else 0.0


def _without_skewness(quantile: float, skewness: float, size: int) -> float:
    """The quantile of a mean in deviations, corrected for the skewness: the inverse of Hall's third transformation."""
    if abs(skewness) < 1e-6:
        return quantile
    return 3 / skewness * (math.cbrt(1 + skewness * (quantile - skewness / (6 * size))) - 1)


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t distribution."""
    if degrees <= len(_QUANTILES):
        return _QUANTILES[degrees - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


@dataclass(frozen=True, repr=False)
class Estimate(ShortRepr):
    """What the rest of a job will take.

    Args:
        rows: The number of rows of the job.
        left: The number of rows that are still to be sent. Rows with saved answers and duplicates are not among them.
        pilot_rows: The number of rows of the pilot that are answered. Their answers are saved.
        prompt_tokens: The tokens of the prompts of the rows that are left; None if no row of the pilot shows it.
        completion_tokens: The tokens of their answers.
        cost: What they cost, in US dollars; None if their price is unknown, or if they cost nothing.
        seconds: How long they take, if the server accepts as many requests at once as the settings allow; None if no
            row of the pilot was sent now.
        paid: What the pilot cost; None if it cost nothing.
        failures: The failed rows of the pilot.
        already_answered: How many rows of `pilot_rows` were answered before. Nothing was sent for them.
        sent_again: How many rows of `left` have an answer in the output of an earlier run. With `reuse_output`, they
            are not sent again, and are not among the rows that are left.
    """

    rows: int
    left: int
    pilot_rows: int
    prompt_tokens: Interval | None = None
    completion_tokens: Interval | None = None
    cost: Interval | None = None
    seconds: Interval | None = None
    paid: RunCost | None = None
    failures: list[tuple[int, FailureDetail]] = field(default_factory=list[tuple[int, FailureDetail]])
    already_answered: int = 0
    sent_again: int = 0
