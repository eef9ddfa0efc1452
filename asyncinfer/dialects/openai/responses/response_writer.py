"""Writes answers as a server of the Responses API: whole responses, and the events of streams.

Sources: OpenAI's API reference ("Responses", "Streaming events"), and `Response` and `ResponseStreamEvent` of
openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from asyncinfer.dialects.http import as_response_json
from asyncinfer.dialects.openai.responses.open_items import OpenCall, OpenItem, OpenMessage, OpenReasoning, OpenRefusal
from asyncinfer.dialects.openai.responses.output_writer import (
    answer_fields,
    carrier_of,
    labelled_output,
    status_of,
)
from asyncinfer.dialects.openai.responses.status import COMPLETED, IN_PROGRESS, INCOMPLETE
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta, ToolCallDelta, deltas_of_calls

Json = dict[str, Any]


class ResponseWriter:
    """Writes the response to one request.

    In a stream, text and reasoning end when something else begins. Function calls end with the stream, because the
    pieces of several calls may alternate.

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
        self._items: list[OpenItem] = []
        self._growing: OpenItem | None = None  # The text or the reasoning that grows.
        self._calls: dict[int, OpenCall] = {}
        self._call_ids: set[str] = set()
        self._deltas: list[StreamDelta] = []

    def whole(self, answer: Completion) -> bytes:
        """Return the response that is not streamed."""
        return as_response_json({**self._head, **answer_fields(answer)})

    def begin(self) -> bytes:
        """Return the first events of a stream."""
        response: Json = {**self._head, "status": IN_PROGRESS, "output": [], "usage": None}
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def delta(self, delta: StreamDelta) -> bytes:
        """Return the events of one delta."""
        self._deltas.append(delta)
        events = b""
        if delta.reasoning_content:
            events += self._grow(OpenReasoning, delta.reasoning_content)
        if delta.content and delta.is_refusal:
            events += self._grow(OpenRefusal, delta.content)
        elif delta.content:
            events += self._grow(OpenMessage, delta.content, delta.logprobs)
        return events + self._grow_calls(delta.tool_call_deltas)

    def end(self) -> bytes:
        """Return the last events of a stream. The very last one has the whole response."""
        answer = Completion.from_deltas(self._deltas)
        events = self._grow_calls(deltas_of_calls(answer.message.tool_calls or ())[len(self._calls) :])
        if not self._items:
            events += self._grow(OpenMessage, "")
        status, _ = status_of(answer.finish_reason)
        events += b"".join([self._done(item, status) for item in self._items if item.status == IN_PROGRESS])
        streamed = [item.fields() for item in self._items]
        carrier = carrier_of(answer.message)
        for item in carrier:
            events += self._event("response.output_item.added", output_index=len(streamed), item=item)
            events += self._event("response.output_item.done", output_index=len(streamed), item=item)
        output = [*labelled_output(streamed, answer.message), *carrier]
        response = {**self._head, **answer_fields(answer, output)}
        return events + self._event(f"response.{status}", response=response)

    def failed(self, code: str, message: str) -> bytes:
        """Return the last event of a stream that an error has ended."""
        for item in self._items:
            item.status = item.status if item.status == COMPLETED else INCOMPLETE
        error, output = {"code": code, "message": message}, [item.fields() for item in self._items]
        response = {**self._head, "status": "failed", "error": error, "output": output, "usage": None}
        return self._event("response.failed", response=response)

    def _grow(
        self, item_type: type[OpenReasoning | OpenRefusal | OpenMessage], text: str, logprobs: tuple[Json, ...] = ()
    ) -> bytes:
        events, item = b"", self._growing
        if not isinstance(item, item_type):
            events = self._end_growing()
            item = self._growing = item_type(len(self._items))
            events += self._added(item)
        fields = item.grow(text)
        if isinstance(item, OpenMessage):
            item.logprobs += logprobs
            fields = {**fields, "logprobs": logprobs}
        return events + self._item_event(item.delta_event, item, delta=text, **fields) if text else events

    def _grow_calls(self, pieces: Iterable[ToolCallDelta]) -> bytes:
        events = b""
        for piece in pieces:
            call = self._calls.get(piece.index)
            if call is None:
                events += self._end_growing()
                call = self._calls[piece.index] = OpenCall(len(self._items), self._with_own_id(piece))
                events += self._added(call)
            if piece.arguments:
                fields = call.grow(piece.arguments)
                events += self._item_event(call.delta_event, call, delta=piece.arguments, **fields)
        return events

    def _with_own_id(self, piece: ToolCallDelta) -> ToolCallDelta:
        """Return the first piece of a call with an id that no earlier call has."""
        id = piece.id if piece.id not in self._call_ids else f"{piece.id}_{piece.index}"
        self._call_ids.add(id)
        return replace(piece, id=id)

    def _added(self, item: OpenItem) -> bytes:
        """Add an item, and return the events that announce it."""
        self._items.append(item)
        events = self._event("response.output_item.added", output_index=item.index, item=item.fields())
        return events + self._part_event("response.content_part.added", item)

    def _end_growing(self) -> bytes:
        item, self._growing = self._growing, None
        return b"" if item is None else self._done(item, COMPLETED)

    def _done(self, item: OpenItem, status: str) -> bytes:
        """Return the events that end an item."""
        item.status = status
        events = self._item_event(item.done_event, item, **item.done_fields())
        events += self._part_event("response.content_part.done", item)
        return events + self._event("response.output_item.done", output_index=item.index, item=item.fields())

    def _part_event(self, event: str, item: OpenItem) -> bytes:
        part = item.part()
        return b"" if part is None else self._item_event(event, item, content_index=0, part=part)

    def _item_event(self, event: str, item: OpenItem, **fields: Any) -> bytes:
        return self._event(event, item_id=item.id, output_index=item.index, **fields)

    def _event(self, event: str, /, **fields: Any) -> bytes:
        fields = {"type": event, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + event.encode() + b"\ndata: " + as_response_json(fields) + b"\n\n"
