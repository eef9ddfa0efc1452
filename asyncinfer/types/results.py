"""The results of a run: its rows, its progress and its summary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple

from asyncinfer.errors import (
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    InputError,
    RequestError,
    error_name_and_text,
)
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.costs import RunCost
from asyncinfer.types.markdown import failure_lines, table
from asyncinfer.types.parsed import ParsedT
from asyncinfer.types.run_counts import RunCounts
from asyncinfer.types.short_repr import ShortRepr, short_repr
from asyncinfer.types.usage import Usage


@dataclass(frozen=True, slots=True, repr=False)
class FailureDetail(ShortRepr):
    """The reason why a row has no answer.

    Args:
        is_retryable: Whether a new attempt at the same row, with the same settings, may succeed. False for a wrong
            setting, a refused key and a row that the API rejects.
    """

    error_message: str
    status_code: int | None = None
    is_retryable: bool = True
    error_type: InferenceErrorType = InferenceErrorType.UNKNOWN


def failure_of(error: Exception | None) -> FailureDetail:
    """Return the failure of a row that ended with `error`."""
    match error:
        case RequestError():
            return FailureDetail(str(error), error.status_code, error.is_retryable, error.error_type)
        case EngineDeadError():
            retryable = error.is_retryable and not isinstance(error, EngineConfigError)
            return FailureDetail(str(error), error.status_code, retryable, error.error_type)
        case ConfigError():
            return FailureDetail(str(error), is_retryable=False, error_type=InferenceErrorType.CONFIG)
        case InputError():
            return FailureDetail(str(error), is_retryable=False, error_type=InferenceErrorType.PARSE_ERROR)
        case _:
            text = error_name_and_text(error) if error is not None else "no answer"
            return FailureDetail(text, is_retryable=False, error_type=InferenceErrorType.RUNTIME)


@dataclass(frozen=True, repr=False)
class InferenceResult(Generic[ParsedT]):
    """The answered rows of a run, in input order, and the failures of the other rows."""

    successful: list[tuple[int, Conversation[ParsedT]]]
    failures: dict[int, FailureDetail]

    def __repr__(self) -> str:
        return f"InferenceResult(successful=<{len(self.successful):,} rows>, failures={short_repr(self.failures)})"

    def _repr_markdown_(self) -> str:
        counts = table([("answered", f"{len(self.successful):,}"), ("failed", f"{len(self.failures):,}")])
        return _with_failures(counts, self.failures.items(), len(self.failures))

    @property
    def failed_indices(self) -> list[int]:
        return sorted(self.failures)

    @property
    def error_messages(self) -> dict[int, str]:
        return {index: detail.error_message for index, detail in self.failures.items()}

    @property
    def has_failures(self) -> bool:
        return bool(self.failures)


class RunState(StrEnum):
    """The state of a run.

    Attributes:
        FINISHED: Every row has its outcome. Single rows may have failed.
        FAILED: An error ended the run before every row had its outcome.
        INTERRUPTED: The run was stopped or cancelled.
    """

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class CommonFailure(NamedTuple):
    """A reason why rows fail: the message of one of these rows, and the number of rows."""

    error_message: str
    rows: int


@dataclass(frozen=True, repr=False)
class EndpointSummary(ShortRepr):
    """What one of several endpoints did in a run.

    Args:
        endpoint: Its name: the URL, without credentials.
        answered: The number of rows that it answered.
        attempts: The number of requests to it.
        refused: The number of requests that it refused because it was busy.
        failed: The number of requests that failed for another reason.
        problem: Why it is put aside, or was at the end of the run; None if it is in use.
    """

    endpoint: str
    answered: int = 0
    attempts: int = 0
    refused: int = 0
    failed: int = 0
    problem: str | None = None


@dataclass(frozen=True, repr=False)
class Progress(RunCounts):
    """The progress of a run: its counts, as `RunCounts` describes them, and more.

    Args:
        usage: The tokens of the answers of this run only.
        seconds: The time since the run began.
        waiting: Why nothing has been sent for 10 seconds or more, and until when; None while requests are sent.
        state: Whether the run is in progress, or how it ended.
        commonest_failure: The commonest reason why rows failed; None if none failed.
        error: Why the run ended early.
        endpoints: What each endpoint has done so far; empty if the engine has only one.
        cost: What the answers of this run cost; None if they cost nothing, as those of a model in this process.
    """

    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    waiting: str | None = None
    state: RunState = RunState.RUNNING
    commonest_failure: CommonFailure | None = None
    error: str | None = None
    endpoints: tuple[EndpointSummary, ...] = ()
    cost: RunCost | None = None


@dataclass(frozen=True, repr=False)
class RunSummary(RunCounts):
    """The summary of a run: its counts, as `RunCounts` describes them, and more.

    Args:
        total: The number of rows.
        usage: The tokens of the answers of this run only.
        seconds: The time that the run took.
        failure_samples: At most 20 pairs of the index of a row and its failure.
        retryable: The number of failed rows that another run may answer.
        commonest_failure: The commonest reason why rows failed; None if none failed.
        failures_path: The file with the failed rows; None if there is none.
        endpoints: What each endpoint did; empty if the engine has only one.
        cost: What the answers of this run cost; None if they cost nothing, as those of a model in this process.
    """

    total: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    failure_samples: list[tuple[int, FailureDetail]] = field(default_factory=list[tuple[int, FailureDetail]])
    retryable: int = 0
    commonest_failure: CommonFailure | None = None
    failures_path: Path | None = None
    endpoints: list[EndpointSummary] = field(default_factory=list[EndpointSummary])
    cost: RunCost | None = None

    def _repr_markdown_(self) -> str:
        names = ("total", "completed", "resumed", "deduplicated", "cached", "failed", "cut_by_length", "filtered")
        names += ("refused", "retried")
        counts = [(name.replace("_", " "), f"{getattr(self, name):,}") for name in names if getattr(self, name)]
        tokens = f"{self.usage.prompt_tokens:,} in, {self.usage.completion_tokens:,} out"
        cost = [("cost", self.cost.text)] if self.cost is not None else []
        facts = table([*counts, ("tokens", tokens), *cost, ("time", f"{self.seconds:.1f} s")])
        return _with_failures(facts, self.failure_samples, self.failed)


# How many failed rows the Markdown of a result shows.
_SHOWN = 10


def _with_failures(facts: str, failures: Iterable[tuple[int, FailureDetail]], count: int) -> str:
    """Return a table, and a list of the first failed rows below it."""
    first = ((index, detail.error_message) for index, detail in islice(failures, _SHOWN))
    lines = list(failure_lines(first))
    if count > len(lines):
        lines.append(f"- {count - len(lines):,} more")
    return "\n".join([facts, "", *lines]).rstrip()
