"""What is known about a run: the content of a file of saved events, and of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from asyncinfer.report.histogram import Histogram
from asyncinfer.report.slices import TimeSlices
from asyncinfer.types.results import EndpointSummary
from asyncinfer.types.run_counts import RunCounts

_EXAMPLES = 3
_MOST_KINDS = 50
_LONGEST_MESSAGE = 500


class ErrorExample(BaseModel):
    """An error, and the row at which it occurred. Rows count from 0."""

    row: int
    message: str


class ErrorKind(BaseModel):
    """The errors that have a type and a status in common."""

    error_type: str
    status_code: int | None = None
    count: int = 0
    examples: list[ErrorExample] = Field(default_factory=list[ErrorExample])

    def add(self, row: int, message: str) -> None:
        """Count an error. The first different ones are kept as examples."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            message = message[:_LONGEST_MESSAGE]
            if all(example.message != message for example in self.examples):
                self.examples.append(ErrorExample(row=row, message=message))


class ErrorKinds(BaseModel):
    """Errors by their kind."""

    kinds: list[ErrorKind] = Field(default_factory=list[ErrorKind])

    def add(self, row: int, error_type: str, status_code: int | None, message: str) -> None:
        """Count an error."""
        for kind in self.kinds:
            if kind.error_type == error_type and kind.status_code == status_code:
                kind.add(row, message)
                return
        if len(self.kinds) < _MOST_KINDS:
            kind = ErrorKind(error_type=error_type, status_code=status_code)
            kind.add(row, message)
            self.kinds.append(kind)

    def by_count(self) -> list[ErrorKind]:
        """The kinds, the commonest first."""
        return sorted(self.kinds, key=lambda kind: -kind.count)


class Latencies(BaseModel):
    """How long the answered requests took, in seconds."""

    queue: Histogram = Field(default_factory=Histogram)
    first_byte: Histogram = Field(default_factory=Histogram)
    total: Histogram = Field(default_factory=Histogram)


class Wait(BaseModel):
    """A time in which nothing was sent. `at` and `seconds` are in seconds, `at` from the start of the run."""

    at: float
    seconds: float
    reason: str


@dataclass(frozen=True, repr=False)
class Counts(RunCounts):
    """The counts of a run, and those of `RunSummary` and its usage."""

    retryable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: str | None = None


class EarlierRun(BaseModel):
    """An earlier run of the same job, which did not finish."""

    began_at: str
    seconds: float
    state: str
    completed: int
    failed: int


class SampleMessage(BaseModel):
    """A message of a sample. Long texts are cut, and files are only named."""

    role: str
    text: str


class Sample(BaseModel):
    """An answered row."""

    row: int
    finish_reason: str | None = None
    messages: list[SampleMessage]


class RunRecord(BaseModel):
    """Everything that a report shows.

    Attributes:
        format: The version of the format of saved events.
        began_at: When the run began, in ISO format.
        state: How the run ended; `running` while it is in progress, or if its process was killed.
        error: The error that ended the run.
        permits: How many requests could be in flight at the start.
        settings: The settings in effect as YAML, without secrets.
        failures: The rows that failed.
        attempt_errors: The requests that failed, also those that were tried again.
    """

    format: Literal[1] = 1
    name: str
    began_at: str
    updated_at: str = ""
    seconds: float = 0.0
    state: str = "running"
    error: str | None = None
    engine: str = ""
    model: str = ""
    output_path: str | None = None
    failures_path: str | None = None
    settings: str = ""
    permits: int = 0
    counts: Counts = Field(default_factory=Counts)
    slices: TimeSlices = Field(default_factory=TimeSlices)
    latencies: Latencies = Field(default_factory=Latencies)
    answer_tokens: Histogram = Field(default_factory=Histogram)
    finish_reasons: dict[str, int] = Field(default_factory=dict[str, int])
    failures: ErrorKinds = Field(default_factory=ErrorKinds)
    attempt_errors: ErrorKinds = Field(default_factory=ErrorKinds)
    waits: list[Wait] = Field(default_factory=list[Wait])
    endpoints: list[EndpointSummary] = Field(default_factory=list[EndpointSummary])
    earlier: list[EarlierRun] = Field(default_factory=list[EarlierRun])
    samples: list[Sample] = Field(default_factory=list[Sample])
