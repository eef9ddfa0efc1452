"""Traces the calls of an engine: a span for each single call, and what traces the rows of a run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncinfer.errors import RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.recording import RunRecorder
from asyncinfer.telemetry.attributes import (
    CHAT,
    CONVERSATION_ID,
    ERROR_TYPE,
    FINISH_REASONS,
    FIRST_CHUNK,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STREAM,
    Attributes,
    call_attributes,
    error_type,
    finish_reasons,
    request_attributes,
    response_attributes,
    server_attributes,
    usage_attributes,
)
from asyncinfer.telemetry.content import input_attributes, output_attributes
from asyncinfer.telemetry.instruments import Instruments
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.stream import StreamDelta

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanKind


class OpenTelemetryTracing:
    """Traces the calls with one configuration.

    Args:
        capture_content: Whether the spans of single calls have the messages.
    """

    def __init__(
        self, instruments: Instruments, engine_type: str, access: EngineAccess, *, capture_content: bool
    ) -> None:
        self.instruments, self._capture_content = instruments, capture_content
        self.attributes = call_attributes(engine_type, access)
        self.now: Callable[[], float] = access.clock.now
        self._request = request_attributes(access)
        model = self.attributes.get(REQUEST_MODEL)
        self.span_name = f"{CHAT} {model}" if model else CHAT
        self._is_remote = access.settings.remote.api_url is not None or bool(access.settings.remote.endpoints)

    @property
    def span_attributes(self) -> Attributes:
        """The attributes of each span."""
        return {**self.attributes, **self._request}

    @property
    def span_kind(self) -> SpanKind:
        """The kind of the spans: calls of a server, or of a model in this process."""
        from opentelemetry.trace import SpanKind

        return SpanKind.CLIENT if self._is_remote else SpanKind.INTERNAL

    @contextmanager
    def chat(self, conversation: Conversation, *, is_stream: bool = False) -> Generator[ChatSpan]:
        """A span for one call, with all its attempts. It is the current span of the block.

        A cancelled call, or a stream that its reader left, ends the span without an error.
        """
        attributes = self.span_attributes | ({STREAM: True} if is_stream else {})
        if conversation.conversation_id is not None:
            attributes[CONVERSATION_ID] = conversation.conversation_id
        if self._capture_content:
            attributes |= input_attributes(conversation)
        with self.instruments.tracer.start_as_current_span(
            self.span_name,
            kind=self.span_kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            chat = ChatSpan(self, span, capture_content=self._capture_content)
            try:
                yield chat
            except Exception as error:
                chat.failed(error)
                raise
            finally:
                chat.end()

    def run_recorder(self, name: str) -> RunRecorder:
        """What traces the rows of one run."""
        from asyncinfer.telemetry.run_spans import RunSpans

        return RunSpans(self, name)


class ChatSpan:
    """The span of one call."""

    def __init__(self, call: OpenTelemetryTracing, span: Span, *, capture_content: bool) -> None:
        self._call, self._span, self._capture_content = call, span, capture_content
        self._began = call.now()
        self._metric: Attributes = {**call.attributes}
        self._usage: Attributes = {}
        self._deltas: list[StreamDelta] = []
        self._is_first = True

    def answered(self, completion: Completion) -> None:
        """Add the answer to the span."""
        response = response_attributes(completion.metadata)
        if completion.endpoint is not None:
            self._metric |= server_attributes(completion.endpoint)
        if RESPONSE_MODEL in response:
            self._metric[RESPONSE_MODEL] = response[RESPONSE_MODEL]
        self._usage = usage_attributes(completion.usage)
        reasons = {FINISH_REASONS: finish_reasons(completion.finish_reason, completion.metadata)}
        self._span.set_attributes(self._metric | response | reasons | self._usage)
        if self._capture_content:
            self._span.set_attributes(output_attributes(completion.message, completion.finish_reason))

    def delta(self, delta: StreamDelta) -> None:
        """Note a part of a streamed answer. The last one completes the answer."""
        if self._is_first:
            self._is_first = False
            self._span.set_attribute(FIRST_CHUNK, self._call.now() - self._began)
        if self._capture_content or delta.finish_reason is not None:
            self._deltas.append(delta)
        if delta.finish_reason is not None and delta.finish_reason is not FinishReason.ERROR:
            self.answered(Completion.from_deltas(self._deltas))

    def failed(self, error: Exception) -> None:
        """Add the error to the span."""
        from opentelemetry.trace import Status, StatusCode

        self._metric[ERROR_TYPE] = error_type(error)
        if isinstance(error, RequestError):
            self._usage = usage_attributes(error.usage)
        self._span.set_attributes({ERROR_TYPE: self._metric[ERROR_TYPE], **self._usage})
        self._span.set_status(Status(StatusCode.ERROR, str(error)))

    def end(self) -> None:
        """Record the metrics. The span ends with its block."""
        self._call.instruments.record(self._call.now() - self._began, self._metric, self._usage)
