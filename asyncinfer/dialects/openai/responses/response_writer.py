"""Writes answers as a server of the Responses API: whole responses, and the events of streams.

Sources: OpenAI's API reference ("Responses", "Streaming events"), and `Response` and `ResponseStreamEvent` of
openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from asyncinfer.dialects.openai.responses.output_writer import (
    COMPLETED,
    answer_fields,
    message_item,
    new_id,
    text_part,
)
from asyncinfer.types.answer import Completion, StreamDelta, ToolCallDelta

Json = dict[str, Any]
_RUNNING = "in_progress"


@dataclass(slots=True)
class _OpenItem:
    """An output item that grows. `kind`: the prefix of its id. `call`: its index among the tool calls."""

    kind: str
    id: str
    place: int
    call: int | None = None
    name: str = ""
    call_id: str = ""
    text: list[str] = field(default_factory=list[str])
    logprobs: list[Json] = field(default_factory=list[Json])

    def fields(self, status: str = COMPLETED) -> Json:
        """Return the item as it is now."""
        text = "".join(self.text)
        match self.kind:
            case "rs":
                content = [{"type": "reasoning_text", "text": text}] if text else []
                return {"type": "reasoning", "id": self.id, "summary": [], "content": content, "status": status}
            case "msg":
                parts = [text_part(text, logprobs=self.logprobs)] if status != _RUNNING else []
                return message_item(self.id, parts, status=status)
            case _:
                call = {"call_id": self.call_id, "name": self.name, "arguments": text}
                return {"type": "function_call", "id": self.id, **call, "status": status}


class ResponseWriter:
    """Writes the response to one request.

    Args:
        id: The id of the response.
        created: Unix time, in seconds.
        model: The name of the model, as the client knows it.
        echoed: The fields of the request that the response repeats.
    """

    def __init__(self, id: str, created: int, model: str, echoed: Mapping[str, Any]) -> None:
        self._head: Json = {
            "id": id,
            "object": "response",
            "created_at": created,
            "model": model,
            "error": None,
            "incomplete_details": None,
            "store": False,
            "previous_response_id": None,
            **echoed,
        }
        self._sequence = 0
        self._items: list[_OpenItem] = []
        self._open: _OpenItem | None = None
        self._deltas: list[StreamDelta] = []

    def whole(self, answer: Completion) -> bytes:
        """Return the response that is not streamed."""
        return to_json({**self._head, **answer_fields(answer)})

    def begin(self) -> bytes:
        """Return the first events of a stream."""
        response: Json = {**self._head, "status": _RUNNING, "output": [], "usage": None}
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def delta(self, delta: StreamDelta) -> bytes:
        """Return the events of one delta."""
        self._deltas.append(delta)
        events = b""
        if delta.reasoning_content:
            events += self._grow("rs", delta.reasoning_content, "response.reasoning_text.delta", content_index=0)
        if delta.content:
            events += self._grow_text(delta)
        for piece in delta.tool_call_deltas:
            events += self._grow_call(piece)
        return events

    def end(self) -> bytes:
        """Return the last events of a stream, which has the whole response."""
        answer = Completion.from_deltas(self._deltas)
        ids = _Ids(self._items)
        response = {**self._head, **answer_fields(answer, ids)}
        return self._close() + self._event(f"response.{response['status']}", response=response)

    def failed(self, code: str, message: str) -> bytes:
        """Return the last event of a stream that an error has ended."""
        error = {"code": code, "message": message}
        output = [item.fields("incomplete") for item in self._items]
        response = {**self._head, "status": "failed", "error": error, "output": output, "usage": None}
        return self._event("response.failed", response=response)

    def _grow_text(self, delta: StreamDelta) -> bytes:
        logprobs = list(delta.logprobs)
        events = self._grow("msg", delta.content, "response.output_text.delta", content_index=0, logprobs=logprobs)
        self._items[-1].logprobs += logprobs
        return events

    def _grow_call(self, piece: ToolCallDelta) -> bytes:
        events = self._ensure("fc", piece)
        item = next(item for item in self._items if item.kind == "fc" and item.call == piece.index)
        if not piece.arguments:
            return events
        item.text.append(piece.arguments)
        place = {"item_id": item.id, "output_index": item.place}
        return events + self._event("response.function_call_arguments.delta", delta=piece.arguments, **place)

    def _grow(self, kind: str, text: str, name: str, **fields: Any) -> bytes:
        events = self._ensure(kind)
        item = self._items[-1]
        item.text.append(text)
        return events + self._event(name, item_id=item.id, output_index=item.place, delta=text, **fields)

    def _ensure(self, kind: str, piece: ToolCallDelta | None = None) -> bytes:
        """Open the item that grows next, if another one is open, and return the events of both."""
        call = piece.index if piece is not None else None
        if self._open is not None and (self._open.kind, self._open.call) == (kind, call):
            return b""
        if call is not None and any(item.call == call for item in self._items):
            return b""  # The pieces of several calls may alternate.
        events = self._close()
        item = _OpenItem(kind, new_id(kind), len(self._items))
        if piece is not None:
            item.call, item.name, item.call_id = piece.index, piece.name, piece.id
        self._items.append(item)
        self._open = item
        events += self._event("response.output_item.added", output_index=item.place, item=item.fields(_RUNNING))
        if kind in _PARTS:
            events += self._part_event("added", item, "")
        return events

    def _close(self) -> bytes:
        """Return the events that end the open item."""
        item, self._open = self._open, None
        if item is None:
            return b""
        text, place = "".join(item.text), {"item_id": item.id, "output_index": item.place}
        match item.kind:
            case "rs":
                events = self._event("response.reasoning_text.done", content_index=0, text=text, **place)
            case "msg":
                done = {"content_index": 0, "text": text, "logprobs": item.logprobs}
                events = self._event("response.output_text.done", **done, **place)
            case _:
                done = {"name": item.name, "arguments": text}
                events = self._event("response.function_call_arguments.done", **done, **place)
        if item.kind in _PARTS:
            events += self._part_event("done", item, text)
        return events + self._event("response.output_item.done", output_index=item.place, item=item.fields())

    def _part_event(self, what: str, item: _OpenItem, text: str) -> bytes:
        part = text_part(text) if item.kind == "msg" else {"type": "reasoning_text", "text": text}
        place = {"item_id": item.id, "output_index": item.place, "content_index": 0}
        return self._event(f"response.content_part.{what}", part=part, **place)

    def _event(self, event: str, /, **fields: Any) -> bytes:
        fields = {"type": event, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + event.encode() + b"\ndata: " + to_json(fields) + b"\n\n"


_PARTS = frozenset({"rs", "msg"})


class _Ids:
    """Gives the items of the whole answer the ids that they had in the stream."""

    def __init__(self, items: Iterable[_OpenItem]) -> None:
        self._ids: dict[str, list[str]] = {}
        for item in items:
            self._ids.setdefault(item.kind, []).append(item.id)

    def __call__(self, prefix: str) -> str:
        left = self._ids.get(prefix)
        return left.pop(0) if left else new_id(prefix)
