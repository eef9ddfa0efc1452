"""The spans of a run: one for the run, and one below it for each row that was sent.

They are made from the events of the run, so that a run does the same work with and without them. A span of a row
begins with its first attempt, and ends when its answer is saved.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asyncinfer.aio.tasks import clean_up_after
from asyncinfer.run.events import AttemptFailed, RowFailed, RowFinished, RunEvent
from asyncinfer.run.recording import RecordedRun
from asyncinfer.telemetry.attributes import (
    ATTEMPTS,
    ERROR_TYPE,
    FINISH_REASONS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    ROW_INDEX,
    Attributes,
    error_type,
    server_attributes,
    usage_attributes,
)
from asyncinfer.types.results import FailureDetail, RunState

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from asyncinfer.telemetry.tracing import OpenTelemetryTracing

_NANOSECONDS = 1_000_000_000


class _Failed(NamedTuple):
    """A failed attempt: when it began and ended, in nanoseconds since 1970."""

    began: int
    ended: int
    error_type: str


class RunSpans:
    """Makes the spans of one run, and records the metrics of its rows. Its parent is the span of the caller."""

    def __init__(self, call: OpenTelemetryTracing, name: str) -> None:
        from opentelemetry import context

        self._call, self._name = call, name
        self._caller: Context = context.get_current()
        self._parent: Context | None = None
        # The failed attempts at the rows that are open.
        self._failed: dict[int, list[_Failed]] = {}

    @property
    def paths(self) -> Mapping[str, Path]:
        return {}

    @asynccontextmanager
    async def recording(self, run: RecordedRun) -> AsyncGenerator[None]:
        """Keep the span of the run open during the block."""
        from opentelemetry import trace

        tracer, attributes = self._call.instruments.tracer, self._call.attributes
        span = tracer.start_span(f"run {self._name}", context=self._caller, attributes=attributes)
        self._parent = trace.set_span_in_context(span, self._caller)

        async def finish() -> None:
            summary, state = run.stats.progress(), run.stats.state
            counts = {"total": summary.total, "completed": summary.completed, "failed": summary.failed}
            span.set_attributes({f"asyncinfer.run.{key}": value for key, value in counts.items() if value is not None})
            span.set_attribute("asyncinfer.run.state", state.value)
            if state is RunState.FAILED:
                span.set_status(trace.Status(trace.StatusCode.ERROR, run.stats.error))
            span.end()

        async with clean_up_after(finish):
            yield

    def observe(self, event: RunEvent) -> None:
        """Note a failed attempt, or end the span of a row."""
        match event:
            case AttemptFailed(index, error):
                now = time.time_ns()
                began = now - round(event.latency.total * _NANOSECONDS)
                self._failed.setdefault(index, []).append(_Failed(began, now, error_type(error)))
            case RowFinished():
                self._finished(event)
            case RowFailed(index, failure, used):
                self._failed_row(index, failure, usage_attributes(used))
            case _:
                pass

    def _finished(self, event: RowFinished) -> None:
        now, failed = time.time_ns(), self._failed.pop(event.index, [])
        began = failed[0].began if failed else now - round(event.latency.total * _NANOSECONDS)
        server = server_attributes(event.endpoint)
        usage = usage_attributes(event.usage)
        given = {RESPONSE_ID: event.response_id, RESPONSE_MODEL: event.response_model}
        response = {name: value for name, value in given.items() if isinstance(value, str)}
        answered = {**server, **usage, **response, FINISH_REASONS: [event.finish_reason.value]}
        self._span(event.index, began, now, failed, answered)
        seconds = (now - began) / _NANOSECONDS if failed else event.latency.total
        self._call.instruments.record(seconds, {**self._call.attributes, **server}, usage)

    def _failed_row(self, index: int, failure: FailureDetail, usage: Attributes) -> None:
        failed = self._failed.pop(index, [])
        if not failed:
            return  # The row was not sent.
        began, ended = failed[0].began, failed[-1].ended
        error = {ERROR_TYPE: failed[-1].error_type}
        self._span(index, began, ended, failed[:-1], {**error, **usage}, failure)
        self._call.instruments.record((ended - began) / _NANOSECONDS, {**self._call.attributes, **error}, usage)

    def _span(
        self,
        index: int,
        began: int,
        ended: int,
        retried: list[_Failed],
        attributes: Attributes,
        failure: FailureDetail | None = None,
    ) -> None:
        from opentelemetry.trace import Status, StatusCode

        own = {ROW_INDEX: index, ATTEMPTS: len(retried) + 1}
        span = self._call.instruments.tracer.start_span(
            self._call.span_name,
            context=self._parent,
            kind=self._call.span_kind,
            attributes={**self._call.span_attributes, **own, **attributes},
            start_time=began,
        )
        for attempt in retried:
            span.add_event("retry", {ERROR_TYPE: attempt.error_type}, attempt.ended)
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR, failure.error_message))
        span.end(ended)
