"""Decodes streams of Anthropic's Messages API: named server-sent events.

Sources: "Streaming messages" and anthropic-python 2.14, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from asyncinfer.dialects.answer_text import is_typed_text, reasoning_of, text_in
from asyncinfer.dialects.anthropic.messages import (
    OF_CONTENT,
    OF_MESSAGE,
    described_by,
    error_in,
    is_unread,
    usage_in,
)
from asyncinfer.dialects.anthropic.thinking import ThinkingBlocks
from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.call_pieces import CallPiece
from asyncinfer.dialects.fields import as_count, as_id, as_object, as_text, object_at
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.json_text import EventJson, read_json
from asyncinfer.dialects.provider_fields import ProviderFields
from asyncinfer.dialects.sse import ServerSentEvent, is_done, object_in, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.errors import RequestError
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage

Json = dict[str, Any]


@dataclass(slots=True)
class AnthropicEventDecoder:
    """Turns the events of a stream into deltas. Pings, and events of unknown types or without a type, are ignored.

    The last delta contains the complete tool calls, the usage and the finish reason.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _calls: CallAssembler = field(default_factory=lambda: CallAssembler("{}", counts_all_parts=True))
    _thinking: ThinkingBlocks = field(default_factory=ThinkingBlocks)
    _kinds: dict[int | None, str] = field(default_factory=dict[int | None, str])  # The types of the blocks, by index.
    _open: list[int | None] = field(default_factory=list[int | None])  # The indices of the open blocks.
    _usage: Json = field(default_factory=dict[str, Any])
    _message: Json = field(default_factory=dict[str, Any])
    _json: EventJson = field(default_factory=EventJson)
    _fields: ProviderFields = field(default_factory=ProviderFields)
    # The blocks that are no part of the message, by their index, and the pieces of the arguments of calls among them.
    _unread: dict[int | None, Json] = field(default_factory=dict[int | None, Json])
    _inputs: dict[int | None, str] = field(default_factory=dict[int | None, str])

    @property
    def done(self) -> bool:
        return self.end.marked

    @property
    def usage(self) -> Usage | None:
        return usage_in(self._usage)

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if is_done(event):
            return
        if event.name == "error":
            self.end.report_error(_error(event))
            return
        if (data := object_in(event, self._json, self.end)) is None:
            return
        kind = data.get("type") or (event.name if event.name != "message" else None)
        if kind == "error" or data.get("error"):
            self.end.report_error(error_in(data, event.data.encode()))
            return
        if not isinstance(kind, str):
            self.end.ignore(unreadable(event, TypeError()))
            return
        try:
            delta = self._read(kind, data)
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            raise unreadable(event, problem) from None
        if delta is not None and (delta.content or delta.reasoning_content or delta.tool_call_deltas):
            yield delta

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        unread = [_with_input(self._unread[index], self._inputs.get(index)) for index in self._unread]
        self._fields.add({"blocks": unread}, OF_CONTENT)
        described = described_by(self._message, self._usage) | self._fields.metadata()
        return self.end.last_delta(
            self._calls, self.usage, described, content=self._json.rest(), extra=self._thinking.extra()
        )

    def _read(self, kind: str, data: Json) -> StreamDelta | None:
        match kind:
            case "message_start":
                self._message = {**object_at(data, "message")}
                self._update_usage(object_at(self._message, "usage"))
                self._fields.add(self._message, OF_MESSAGE)
            case "content_block_start":
                self.end.add_part()
                return self._begin_block(as_count(data.get("index")), object_at(data, "content_block"))
            case "content_block_delta":
                self.end.add_part()
                delta = data.get("delta")
                piece = {"text": delta} if isinstance(delta, str) else object_at(data, "delta")
                return self._continue_block(self._index(data), piece)
            case "content_block_stop":
                self._end_block(self._index(data))
            case "message_delta":
                self._update_usage(object_at(data, "usage"))
                self._fields.add(data, OF_MESSAGE)
                self._fields.add(object_at(data, "delta"), OF_MESSAGE)
                self.end.set_finish(finish_in(object_at(data, "delta").get("stop_reason") or data.get("stop_reason")))
            case "message_stop":
                self.end.mark_end()
            case _:
                pass
        return None

    def _begin_block(self, index: int | None, block: Mapping[str, Any]) -> StreamDelta | None:
        kind = block.get("type")
        self._kinds[index] = kind if isinstance(kind, str) else ""
        self._open = [*(one for one in self._open if one != index), index]
        self._thinking.begin(index, block)
        if is_unread(block):
            self._unread[index] = {**block}
        if kind == "tool_use":
            given = block.get("input")
            arguments = to_json(given).decode() if given else ""
            return self._calls.delta(CallPiece(index, as_id(block.get("id")), as_text(block["name"]), arguments))
        return _delta(block)

    def _continue_block(self, index: int | None, delta: Mapping[str, Any]) -> StreamDelta | None:
        kind = delta.get("type")
        if kind == "input_json_delta" and self._kinds[index] == "tool_use":
            return self._calls.delta(CallPiece(index, arguments=_json_piece(delta["partial_json"])))
        if kind == "input_json_delta":  # Tools that Anthropic runs itself have arguments too.
            self._inputs[index] = self._inputs.get(index, "") + _json_piece(delta.get("partial_json"))
        elif kind == "citations_delta" and (citation := delta.get("citation")):
            self._fields.add({"citations": [citation]}, OF_CONTENT, joins_lists=True)
        self._thinking.add(index, delta)
        return _delta(delta)

    def _end_block(self, index: int | None) -> None:
        self._calls.close(index)
        self._open = [one for one in self._open if one != index]

    def _index(self, data: Json) -> int | None:
        """Return the index of a block. A piece without an index belongs to the only open block.

        Raises:
            ValueError: There are several open blocks.
        """
        index = as_count(data.get("index"))
        if index in self._kinds or not self._open or None not in (index, *self._open):
            return index
        if len(self._open) > 1:
            raise ValueError("it does not say to which open block it belongs")
        return self._open[0]

    def _update_usage(self, usage: Any) -> None:
        """Update the usage. Each event gives totals so far; fields that it leaves out keep their values."""
        self._usage |= {name: count for name, count in usage.items() if count is not None}


def _with_input(block: Json, text: str | None) -> Json:
    """Return a block with the arguments that its pieces make."""
    if not text:
        return block
    try:
        return {**block, "input": read_json(text)}
    except ValueError:
        return {**block, "input": text}


def _json_piece(value: Any) -> str:
    """Return a piece of the arguments. Some servers send the parsed arguments, all at once."""
    if isinstance(value, dict):
        return to_json(value).decode()
    return "" if value is None else as_text(value)


def _error(event: ServerSentEvent) -> RequestError:
    """Return the error in an event with this name, whose data may be any text."""
    try:
        return error_in(as_object(read_json(event.data)), event.data.encode())
    except ValueError:
        return error_in({}, event.data.encode())


def _delta(part: Mapping[str, Any]) -> StreamDelta | None:
    """Return the text or thinking in a block or in a piece of one; None for signatures and citations."""
    match part.get("type"):
        case "text" | "text_delta":  # The usual case, first.
            return StreamDelta(text_in(part.get("text")))
        case "thinking" | "thinking_delta":
            return StreamDelta(reasoning_content=reasoning_of(part.get("thinking")))
        case _:
            return StreamDelta(text_in(part.get("text"))) if is_typed_text(part) else None
