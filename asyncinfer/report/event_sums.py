"""The observer that adds up the events of a run. Its memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Callable

from asyncinfer.errors import RequestError
from asyncinfer.report.record import ErrorKinds, RunRecord, Wait
from asyncinfer.report.slices import TimeSlice
from asyncinfer.run.events import (
    AttemptFailed,
    LimitsChanged,
    RowFailed,
    RowFinished,
    RowResumed,
    RowReused,
    RunEvent,
    RunWaits,
)
from asyncinfer.run.stats import same_row
from asyncinfer.types.results import FailureDetail, failure_of

_MOST_WAITS = 100


class EventSums:
    """Adds up events in a record.

    Args:
        elapsed: Returns the seconds since the run began.
        permits: Returns how many requests may be in flight now.
        row_of: Returns the row of the job that a row of the input is.
    """

    def __init__(
        self,
        record: RunRecord,
        elapsed: Callable[[], float],
        permits: Callable[[], int],
        row_of: Callable[[int], int] = same_row,
    ) -> None:
        self._record, self._elapsed, self._permits, self._row_of = record, elapsed, permits, row_of
        self._rates: dict[str | None, float | None] = {}

    def observe(self, event: RunEvent) -> None:
        """Add an event."""
        match event:
            case RowFinished():
                self._finished(event)
            case AttemptFailed():
                self._attempt_failed(event)
            case RowFailed(index, failure):
                self._slice().failed += 1
                self._add(self._record.failures, index, failure)
            case LimitsChanged():
                self._limits_changed(event)
            case RunWaits(seconds, reason):
                if len(self._record.waits) < _MOST_WAITS:
                    self._record.waits.append(Wait(at=self._elapsed(), seconds=seconds, reason=reason))
            case RowResumed() | RowReused():
                pass  # The counts of the run have them.

    def _finished(self, event: RowFinished) -> None:
        record, now = self._record, self._slice()
        now.finished += 1
        now.total.add(event.latency.total)
        record.latencies.queue.add(event.latency.queue)
        record.latencies.total.add(event.latency.total)
        if event.latency.first_byte is not None:
            record.latencies.first_byte.add(event.latency.first_byte)
        if event.usage is not None:
            now.prompt_tokens += event.usage.prompt_tokens
            now.completion_tokens += event.usage.completion_tokens
            record.answer_tokens.add(event.usage.completion_tokens)
        reason = event.finish_reason.value
        record.finish_reasons[reason] = record.finish_reasons.get(reason, 0) + 1

    def _attempt_failed(self, event: AttemptFailed) -> None:
        now = self._slice()
        if isinstance(event.error, RequestError) and event.error.is_overload:
            now.refused += 1
        else:
            now.errors += 1
        self._add(self._record.attempt_errors, event.index, failure_of(event.error))

    def _add(self, errors: ErrorKinds, index: int, failure: FailureDetail) -> None:
        errors.add(self._row_of(index), failure.error_type, failure.status_code, failure.error_message)

    def _limits_changed(self, event: LimitsChanged) -> None:
        self._rates[event.decision.endpoint] = event.decision.rate
        now, rates = self._slice(), [rate for rate in self._rates.values() if rate is not None]
        now.permits = self._permits()
        now.rate = sum(rates) if rates and len(rates) == len(self._rates) else None

    def _slice(self) -> TimeSlice:
        return self._record.slices.at(self._elapsed())
