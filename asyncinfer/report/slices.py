"""What happened in a run, by time. The number of time slices is bounded: when a run takes longer, they get longer."""

from __future__ import annotations

from pydantic import BaseModel, Field

from asyncinfer.report.histogram import Histogram

# The most slices, and the length of the first ones (seconds).
MOST_SLICES = 240
_SHORTEST = 0.25


class TimeSlice(BaseModel):
    """The events of one part of a run.

    Attributes:
        finished: The rows that were answered.
        failed: The rows that have no answer, and are not tried again.
        refused: The requests that the endpoint refused because it was busy.
        errors: The requests that failed for another reason.
        permits: How many requests could be in flight at the end of the slice; None if that has not changed.
        rate: How many requests could start per second at the end of the slice; None for no limit.
        total: How long the answered requests took, in seconds.
    """

    finished: int = 0
    failed: int = 0
    refused: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    permits: int | None = None
    rate: float | None = None
    total: Histogram = Field(default_factory=Histogram)

    def merge(self, later: TimeSlice) -> None:
        """Add the events of the next slice."""
        self.finished += later.finished
        self.failed += later.failed
        self.refused += later.refused
        self.errors += later.errors
        self.prompt_tokens += later.prompt_tokens
        self.completion_tokens += later.completion_tokens
        if later.permits is not None:
            self.permits, self.rate = later.permits, later.rate
        self.total.merge(later.total)


class TimeSlices(BaseModel):
    """The slices of a run, from its start. Each takes `seconds`."""

    seconds: float = _SHORTEST
    slices: list[TimeSlice] = Field(default_factory=list[TimeSlice])

    def at(self, elapsed: float) -> TimeSlice:
        """The slice for the time `elapsed` seconds after the start of the run."""
        index = int(elapsed / self.seconds)
        if index < len(self.slices):
            return self.slices[max(index, 0)]
        while index >= MOST_SLICES:
            self._double()
            index = int(elapsed / self.seconds)
        while index >= len(self.slices):
            self.slices.append(TimeSlice())
        return self.slices[index]

    def _double(self) -> None:
        """Merge pairs of slices."""
        merged = self.slices[::2]
        for first, second in zip(merged, self.slices[1::2], strict=False):
            first.merge(second)
        self.slices = merged
        self.seconds *= 2
