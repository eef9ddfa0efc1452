"""Anthropic's messages as they are streamed: named server-sent events.

Written after "Streaming messages" and anthropic-python 2.13, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from asyncinfer.dialects.anthropic_messages import error_in, finish_reason, usage_in, use
from asyncinfer.dialects.fields import as_text, group
from asyncinfer.dialects.http import broken_off, garbled
from asyncinfer.dialects.sse import Event
from asyncinfer.types.results import FinishReason, StreamDelta

Json = dict[str, Any]


@dataclass(slots=True)
class StreamDecoder:
    """Turns a stream's events into deltas, until it is `done`. Tool calls come whole, with the last delta, as do
    usage and reason. Events of other kinds, such as pings, say nothing.
    """

    _calls: dict[int, Json] = field(default_factory=dict[int, Json])
    _finish: FinishReason | None = None
    _usage: Json = field(default_factory=dict[str, Any])
    done: bool = False

    def feed(self, event: Event) -> Iterator[StreamDelta]:
        """The deltas that `event` brings.

        Raises:
            RequestError: it tells of an error, or cannot be read.
        """
        try:
            data: Json = from_json(event.data)
            kind = data["type"]
            delta = self._read(kind, data)
        except (ValueError, AttributeError, KeyError, TypeError):
            if event.name == "error":
                raise error_in({}, event.data.encode()) from None
            raise garbled(f"holds an event that cannot be read: {event.data[:200]}") from None
        if kind == "error" or event.name == "error":
            raise error_in(data, event.data.encode())
        if delta is not None and (delta.content or delta.reasoning_content):
            yield delta

    def finish(self) -> StreamDelta:
        """The last delta, when the stream has ended.

        Raises:
            RequestError: it ended before its end.
        """
        if self._finish is None and not self.done:
            raise broken_off()
        try:
            calls = [use(call, call["arguments"] or to_json(call["input"]).decode()) for call in self._calls.values()]
        except ValueError:
            raise garbled("holds a tool call that cannot be read") from None
        return StreamDelta.last(calls, self._finish or FinishReason.UNKNOWN, usage_in(self._usage))

    def _read(self, kind: str, data: Json) -> StreamDelta | None:
        match kind:
            case "message_start":
                self._count(group(data["message"], "usage"))
            case "content_block_start":
                return self._begin(data["index"], data["content_block"])
            case "content_block_delta":
                return self._go_on(data["index"], data["delta"])
            case "message_delta":
                self._count(group(data, "usage"))
                if (reason := data["delta"].get("stop_reason")) is not None:
                    self._finish = finish_reason(reason)
            case "message_stop":
                self.done = True
            case _:
                pass
        return None

    def _begin(self, index: int, block: Json) -> StreamDelta | None:
        if block["type"] == "tool_use":
            self._calls[index] = {"id": block.get("id"), "name": block.get("name"), "input": block.get("input") or {}}
            self._calls[index]["arguments"] = ""
        return _said(block)

    def _go_on(self, index: int, delta: Json) -> StreamDelta | None:
        # The tools that run at Anthropic have arguments too, which are not ours to answer.
        if delta["type"] == "input_json_delta" and (call := self._calls.get(index)) is not None:
            call["arguments"] += delta["partial_json"]
        return _said(delta)

    def _count(self, usage: Any) -> None:
        """Counts are of all that came so far; what is not told again stays as it was."""
        self._usage |= {name: count for name, count in usage.items() if count is not None}


def _said(part: Json) -> StreamDelta | None:
    """What a block, or a piece of one, says; signatures and quotations say nothing."""
    match part["type"]:
        case "text" | "text_delta":
            return StreamDelta(as_text(part["text"]))
        case "thinking" | "thinking_delta":
            return StreamDelta(reasoning_content=as_text(part["thinking"]))
        case _:
            return None
