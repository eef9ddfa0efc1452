"""The counts and the state of one run."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Mapping
from pathlib import Path

from asyncinfer.aio.clock import Clock
from asyncinfer.errors import AsyncInferError, RequestError, error_repr
from asyncinfer.run.endpoint_stats import EndpointStats, Problems, one_endpoint
from asyncinfer.run.events import AttemptFailed, RowFailed, RowFinished, RowResumed, RowReused, RunEvent
from asyncinfer.run.failures import Failures
from asyncinfer.types.costs import RunCost
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.results import Progress, RunState, RunSummary
from asyncinfer.types.run_counts import counts_of
from asyncinfer.types.run_errors import RunInterruptedError
from asyncinfer.types.usage import Usage, UsageSum


def _no_cost() -> RunCost | None:
    return None


def same_row(index: int) -> int:
    """The row of the job is that of the input."""
    return index


class RunStats:
    """The counts and the state of one run. `observe` keeps the counts.

    Args:
        keep_failures: Keep the failure of every row.
        problems: Returns why each of several endpoints is put aside, by its name; None if it is in use.
        row_of: Returns the row of the job that a row of the input is. It names rows to the user.

    Attributes:
        failures_path: The file of the failed rows, once it is written.
        endpoints: The counts of each endpoint, if there are several.
        cost: Returns what the answers cost so far; None if they cost nothing.
    """

    def __init__(
        self,
        clock: Clock,
        total: int | None = None,
        *,
        keep_failures: bool = False,
        problems: Problems = one_endpoint,
        row_of: Callable[[int], int] = same_row,
    ) -> None:
        self._clock, self._began = clock, clock.now()
        self.total, self.row_of = total, row_of
        self.completed = self.resumed = 0
        self.attempts = self.refused = self.retried = 0
        self.cut_by_length = self.filtered = 0
        self.deduplicated = self.cached = 0
        self.failures = Failures(keep_all=keep_failures)
        self.failures_path: Path | None = None
        self.endpoints = EndpointStats(problems)
        self.cost: Callable[[], RunCost | None] = _no_cost
        self.waiting: str | None = None
        self.state, self.error = RunState.RUNNING, None
        self._usage = UsageSum()

    def begin(self, total: int | None) -> None:
        """Set the number of rows, and begin to count the seconds of the run."""
        self.total, self._began = total, self._clock.now()

    def end(self, error: BaseException | None) -> None:
        """Record that the run ended, and the error that ended it. Later calls have no effect."""
        if self.state is not RunState.RUNNING:
            return
        if isinstance(error, RunInterruptedError | CancelledError | KeyboardInterrupt):
            self.state = RunState.INTERRUPTED
        elif error is None:
            self.state = RunState.FINISHED
        else:
            self.state = RunState.FAILED
            self.error = str(error) if isinstance(error, AsyncInferError) else error_repr(error)

    def observe(self, event: RunEvent) -> None:
        """Count an event of the run."""
        match event:
            case RowFinished():
                self.attempts += 1
                self.completed += 1
                self.endpoints.finished(event)
                if event.usage is not None:
                    self._usage.add(event.usage)
                self._count_end(event.finish_reason)
            case RowResumed():
                self.completed += 1
                self.resumed += 1
                self._count_end(event.finish_reason)
            case RowReused():
                self.completed += 1
                self.deduplicated += event.source == "duplicate"
                self.cached += event.source == "cache"
                self._count_end(event.finish_reason)
            case RowFailed():
                self.failures.add(event.index, event.failure)
                if event.usage is not None:
                    self._usage.add(event.usage)
            case AttemptFailed():
                self.attempts += 1
                self.endpoints.failed(event)
                self.retried += event.retry_after is not None
                self.refused += isinstance(event.error, RequestError) and event.error.is_overload
            case _:
                pass

    def _count_end(self, reason: FinishReason) -> None:
        if reason is not FinishReason.STOP:
            self.cut_by_length += reason is FinishReason.LENGTH
            self.filtered += reason is FinishReason.CONTENT_FILTER

    def skip(self, rows: int, ends: Mapping[str, int]) -> None:
        """Count rows that an earlier run answered and whose answers are not read. `ends`: by finish reason."""
        self.completed = self.resumed = rows
        self.cut_by_length = ends.get(FinishReason.LENGTH, 0)
        self.filtered = ends.get(FinishReason.CONTENT_FILTER, 0)

    @property
    def failed(self) -> int:
        return self.failures.count

    @property
    def usage(self) -> Usage:
        """The tokens of this run's answers."""
        return self._usage.total()

    @property
    def seconds(self) -> float:
        return self._clock.now() - self._began

    def progress(self) -> Progress:
        return Progress(
            **counts_of(self),
            usage=self.usage,
            seconds=self.seconds,
            waiting=self.waiting,
            state=self.state,
            commonest_failure=self.failures.commonest,
            error=self.error,
            endpoints=tuple(self.endpoints.summaries()),
            cost=self.cost(),
        )

    def summary(self) -> RunSummary:
        total = self.total if self.total is not None else self.completed + self.failed
        return RunSummary(
            **counts_of(self, total=total),
            usage=self.usage,
            seconds=self.seconds,
            failure_samples=[(self.row_of(index), failure) for index, failure in self.failures.samples],
            retryable=self.failures.retryable,
            commonest_failure=self.failures.commonest,
            failures_path=self.failures_path,
            endpoints=self.endpoints.summaries(),
            cost=self.cost(),
        )
