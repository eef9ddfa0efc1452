"""Decodes streams of Anthropic's Messages API: named server-sent events.

Sources: "Streaming messages" and anthropic-python 2.14, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from asyncinfer.dialects.anthropic.messages import error_in, usage_in
from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.call_pieces import CallPiece
from asyncinfer.dialects.fields import as_count, as_id, as_object, as_text, object_at
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.sse import DONE, ServerSentEvent, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.types.results import StreamDelta

Json = dict[str, Any]


@dataclass(slots=True)
class AnthropicEventDecoder:
    """Turns the events of a stream into deltas. Events of unknown types, and pings, are ignored.

    The last delta contains all tool calls, the usage and the finish reason.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _calls: CallAssembler = field(default_factory=lambda: CallAssembler("{}"))
    _kinds: dict[int | None, str] = field(default_factory=dict[int | None, str])  # The types of the blocks, by index.
    _usage: Json = field(default_factory=dict[str, Any])

    @property
    def done(self) -> bool:
        return self.end.marked

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if event.data.strip() == DONE:
            return
        try:
            data: Json = from_json(event.data)
            kind = "error" if event.name == "error" or data.get("error") else data["type"]
            delta = self._read(kind, data)
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            if event.name == "error":
                raise error_in({}, event.data.encode()) from None
            raise unreadable(event, problem) from None
        if kind == "error":
            raise error_in(as_object(data), event.data.encode())
        if delta is not None and (delta.content or delta.reasoning_content):
            yield delta

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        return self.end.last_delta(self._calls, usage_in(self._usage))

    def _read(self, kind: str, data: Json) -> StreamDelta | None:
        match kind:
            case "message_start":
                self._update_usage(object_at(data["message"], "usage"))
            case "content_block_start":
                self.end.add_part()
                return self._begin_block(as_count(data["index"]), data["content_block"])
            case "content_block_delta":
                self.end.add_part()
                return self._continue_block(as_count(data["index"]), data["delta"])
            case "content_block_stop":
                self._calls.close(as_count(data.get("index")))
            case "message_delta":
                self._update_usage(object_at(data, "usage"))
                self.end.set_finish(finish_in(data["delta"].get("stop_reason")))
            case "message_stop":
                self.end.mark_end()
            case _:
                pass
        return None

    def _begin_block(self, index: int | None, block: Json) -> StreamDelta | None:
        self._kinds[index] = block["type"]
        if block["type"] == "tool_use":
            given = block.get("input")
            arguments = to_json(given).decode() if given else ""
            self._calls.add(CallPiece(index, as_id(block.get("id")), as_text(block["name"]), arguments))
        return _delta(block)

    def _continue_block(self, index: int | None, delta: Json) -> StreamDelta | None:
        # Tools that Anthropic runs itself have arguments too. Their calls are not for the user.
        if delta["type"] == "input_json_delta" and self._kinds[index] == "tool_use":
            self._calls.add(CallPiece(index, arguments=as_text(delta["partial_json"])))
        return _delta(delta)

    def _update_usage(self, usage: Any) -> None:
        """Update the usage. Each event gives totals so far; fields that it leaves out keep their values."""
        self._usage |= {name: count for name, count in usage.items() if count is not None}


def _delta(part: Json) -> StreamDelta | None:
    """Return the text or thinking in a block or in a piece of one; None for signatures and citations."""
    match part["type"]:
        case "text" | "text_delta":
            return StreamDelta(as_text(part["text"]))
        case "thinking" | "thinking_delta":
            return StreamDelta(reasoning_content=as_text(part["thinking"]))
        case _:
            return None
