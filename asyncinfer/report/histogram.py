"""A histogram of positive numbers with buckets of equal ratio. Its size does not grow with the number of values."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import BaseModel, Field

# The upper bound of a bucket is this many times its lower bound, so that a percentile is wrong by at most 5%.
_RATIO = 1.1
_LOG = math.log(_RATIO)
# Smaller values, such as 0, count as this one.
_SMALLEST = 1e-4


class Histogram(BaseModel):
    """Counts values by their size.

    Attributes:
        buckets: How many values are in each bucket, by its number. Bucket `n` begins at 1.1 to the power of `n`.
    """

    buckets: dict[int, int] = Field(default_factory=dict[int, int])
    count: int = 0
    total: float = 0.0
    largest: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        bucket = math.floor(math.log(max(value, _SMALLEST)) / _LOG)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    def merge(self, other: Histogram) -> None:
        """Count the values of another histogram, too."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` percent of the values do not exceed, within 5%; None if there are no values."""
        if not self.count:
            return None
        rank, seen = math.ceil(self.count * percent / 100), 0
        for bucket, count in sorted(self.buckets.items()):
            seen += count
            if seen >= rank:
                return min(_RATIO ** (bucket + 0.5), self.largest)
        return self.largest

    def bars(self, most: int) -> Iterator[tuple[float, float, int]]:
        """Yield at most `most` bars from the smallest to the largest value: lower bound, upper bound, count."""
        if not self.buckets:
            return
        first, last = min(self.buckets), max(self.buckets)
        width = -(-(last - first + 1) // most)
        for start in range(first, last + 1, width):
            count = sum(self.buckets.get(bucket, 0) for bucket in range(start, start + width))
            yield _RATIO**start, _RATIO ** (start + width), count
