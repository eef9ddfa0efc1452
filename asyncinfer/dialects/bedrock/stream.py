"""Decodes streams of Bedrock's ConverseStream: events in AWS's frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asyncinfer.dialects.answer_text import reasoning_of, text_in
from asyncinfer.dialects.bedrock.event_stream import Frame, FrameParser
from asyncinfer.dialects.bedrock.response import OF_CONTENT, OF_RESPONSE, OF_TRACE, described_by, usage_in
from asyncinfer.dialects.bedrock.thinking import ReasoningBlocks
from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.call_pieces import CallPiece
from asyncinfer.dialects.error_body import excerpt, read_error
from asyncinfer.dialects.fields import as_count, as_id, as_text, object_at
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.http import api_error
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.provider_fields import ProviderFields
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.stream_parts import is_part
from asyncinfer.errors import RequestError
from asyncinfer.types.http import malformed_response
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

# The HTTP status of each exception outside streams: botocore 1.44, `bedrock-runtime`.
_STATUS = {
    "validationException": 400,
    "conflictException": 400,
    "serviceQuotaExceededException": 400,
    "accessDeniedException": 403,
    "resourceNotFoundException": 404,
    "modelTimeoutException": 408,
    "modelErrorException": 424,
    "modelNotReadyException": 429,
    "modelStreamErrorException": 424,
    "throttlingException": 429,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}


class ConverseStreamDecoder:
    """Turns the bytes of a stream into deltas.

    The last delta contains the complete tool calls, the usage and the finish reason.
    """

    def __init__(self) -> None:
        self.end = StreamEnd()
        self._frames = FrameParser()
        self._calls = CallAssembler("{}", counts_all_parts=True)
        self._server_tools: set[int] = set()  # the indices of calls of tools that Bedrock runs itself
        self._reasoning = ReasoningBlocks()
        self._usage: Usage | None = None
        self._described: Mapping[str, Any] = {}
        self._fields = ProviderFields()
        self._json = EventJson()
        self._has_metadata = False  # The metadata event comes last.
        self.parts = 0

    @property
    def done(self) -> bool:
        return self._has_metadata and self.end.marked

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def feed(self, chunk: bytes) -> Iterator[StreamDelta]:
        """Yield the deltas that `chunk` completes.

        Raises:
            RequestError: The stream contains an error, or cannot be read.
        """
        frames = self._frames.feed(chunk)
        # Events after the end of the answer are ignored.
        while not self.done and (frame := next(frames, None)) is not None:
            if (delta := self._read(frame)) is not None:
                yield delta
            if delta is not None or is_part(frame.payload):
                self.parts += 1

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        described = {**self._described, **self._fields.metadata()}
        return self.end.last_delta(
            self._calls, self._usage, described, content=self._json.rest(), extra=self._reasoning.extra()
        )

    def _read(self, frame: Frame) -> StreamDelta | None:
        kind = frame.header(":message-type")
        if kind in ("exception", "error"):
            self.end.report_error(_error(frame))
            return None
        if has_too_many_values(frame.payload):
            raise malformed_response("has an event with more values than any answer has")
        try:
            return self._event(frame.header(":event-type"), self._json.read(frame.payload))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise malformed_response(f"has an event that cannot be read: {excerpt(frame.payload)}") from None

    def _event(self, kind: str, data: Mapping[str, Any]) -> StreamDelta | None:
        if kind == "contentBlockDelta":
            self.end.add_part()
            return self._delta(data.get("contentBlockIndex"), object_at(data, "delta"))
        if kind == "contentBlockStart":
            self.end.add_part()
            return self._begin(data.get("contentBlockIndex"), object_at(data, "start").get("toolUse"))
        if kind == "contentBlockStop":
            index = as_count(data.get("contentBlockIndex"))
            self._calls.close(index)
            self._reasoning.close(index)
        elif kind == "messageStop":
            self.end.set_finish(finish_in(data["stopReason"]))
            self._fields.add(data, OF_RESPONSE)
            self.end.mark_end()
        elif kind == "metadata":
            self._usage, self._has_metadata = usage_in(data.get("usage")) or self._usage, True
            self._described = described_by(data)
            self._fields.add(data, OF_RESPONSE)
            self._fields.add(object_at(data, "trace"), OF_TRACE)
        return None

    def _begin(self, index: Any, call: Mapping[str, Any] | None) -> StreamDelta | None:
        """Begin a block. Calls of tools that Bedrock runs itself are ignored."""
        if call is None:
            return None
        if call.get("type") is not None:
            self._server_tools.add(_index(index))
            return None
        self._server_tools.discard(_index(index))
        return self._calls.delta(CallPiece(_index(index), as_id(call.get("toolUseId")), as_text(call["name"])))

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> StreamDelta | None:
        if (call := delta.get("toolUse")) is not None:
            if _index(index) in self._server_tools:
                return None
            return self._calls.delta(CallPiece(_index(index), arguments=as_text(call.get("input") or "")))
        if "reasoningContent" in delta:
            self._reasoning.add(as_count(index), object_at(delta, "reasoningContent"))
        if "citation" in delta:
            self._fields.add({"citations": [delta["citation"]]}, OF_CONTENT, joins_lists=True)
        text = text_in(delta.get("text"))
        reasoning = reasoning_of(delta.get("reasoningContent"))
        return StreamDelta(content=text, reasoning_content=reasoning) if text or reasoning else None


def _index(index: Any) -> int:
    """Return the index of a block. Raises TypeError if it is not a whole number."""
    number = as_count(index)
    if number is None or isinstance(index, str):
        raise TypeError("not an index")
    return number


def _error(frame: Frame) -> RequestError:
    """Return an error within the stream: an exception of Bedrock, or an unmodeled error of AWS event streams."""
    kind = frame.header(":exception-type") or frame.header(":error-code")
    error = read_error(frame.payload)
    message = frame.header(":error-message") or error.message
    error = error._replace(text=message.lower(), codes=error.codes | {kind.lower()})
    return api_error(_STATUS.get(kind), f"the stream broke off: {message}{f' ({kind})' if kind else ''}", error)
