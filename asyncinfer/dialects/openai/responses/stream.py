"""Decodes streams of the Responses API: `response.*` events.

The last event has the whole response. It decides what the answer is; the pieces before it must be its beginning.

Sources: `ResponseStreamEvent` of openai-python 3.57, and the events that vLLM 0.32 sends, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asyncinfer.dialects.fields import as_count, as_object, as_text, members_of, object_at
from asyncinfer.dialects.finish_reasons import reason_of
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.openai.response import error_event, error_of, usage_of
from asyncinfer.dialects.openai.responses.logprobs import logprobs_in, logprobs_of
from asyncinfer.dialects.openai.responses.output_reader import (
    CALL,
    PARAGRAPH,
    answer_message,
    reasoning_parts,
)
from asyncinfer.dialects.openai.responses.status import COMPLETED, INCOMPLETE, finish_of, problem_of
from asyncinfer.dialects.openai.responses.streamed_calls import StreamedCalls
from asyncinfer.dialects.response_metadata import NAMES, description, metadata_of
from asyncinfer.dialects.sse import ServerSentEvent, is_done, object_in, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.types.answer import REFUSAL
from asyncinfer.types.http import malformed_response
from asyncinfer.types.stream import StreamDelta, ToolCallDelta
from asyncinfer.types.usage import Usage

Json = Mapping[str, Any]
_ENDS = {COMPLETED, INCOMPLETE, "failed", "cancelled"}


@dataclass(slots=True)
class ResponsesEventDecoder:
    """Turns the events of a stream into deltas. Events of other types are ignored, such as those of built-in tools."""

    end: StreamEnd = field(default_factory=StreamEnd)
    _json: EventJson = field(default_factory=EventJson)
    _calls: StreamedCalls = field(default_factory=StreamedCalls)
    _response: Json = field(default_factory=dict[str, Any])
    _items: dict[int, Json] = field(default_factory=dict[int, Json])  # The items that are done, by their index.
    _text: list[str] = field(default_factory=list[str])
    _reasoning: list[str] = field(default_factory=list[str])
    _paragraph: tuple[Any, ...] | None = None  # Which part of the reasoning arrived last.
    _has_logprobs: bool = False

    @property
    def done(self) -> bool:
        return self.end.marked

    @property
    def usage(self) -> Usage | None:
        return usage_of(self._response)

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if event.name == "error":
            self.end.report_error(error_event(event.data))
            return
        if is_done(event) or (data := object_in(event, self._json, self.end)) is None:
            return
        kind = data.get("type") or event.name
        if not isinstance(kind, str) or not kind.startswith("response."):
            if error := error_of(data, event.data.encode()):
                self.end.report_error(error)
            return
        try:
            delta = self._read(kind.removeprefix("response."), data, event)
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            raise unreadable(event, problem) from None
        if delta is not None and (delta.content or delta.reasoning_content or delta.tool_call_deltas):
            self.end.add_part()
            yield delta

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete, or its end contradicts its pieces.
        """
        finish = self.end.require_finish()
        try:
            output, pieces = self._output()
            message = answer_message(output, finish)
            calls = message.tool_calls or []
            reason = reason_of(finish, calls)
            last = StreamDelta.last(
                calls,
                reason,
                self.usage,
                self._rest_of_text(message.text),
                metadata_of(finish, reason, description(self._response, NAMES)),
                call_deltas=(*pieces, *self._calls.unsent(len(calls))),
                extra=message.model_extra,
            )
        except (ValueError, TypeError, AttributeError) as problem:
            raise malformed_response(f"has an answer that cannot be read ({problem})") from None
        logprobs = () if self._has_logprobs else logprobs_in(output)
        is_refusal = message.get(REFUSAL) is not None
        rest = self._rest_of_reasoning(output)
        return replace(last, reasoning_content=rest, logprobs=logprobs, is_refusal=is_refusal)

    def _read(self, kind: str, data: Json, event: ServerSentEvent) -> StreamDelta | None:
        """Return the delta in an event. `kind`: its type without `response.`."""
        match kind:
            case "output_text.delta":  # The usual case, first.
                return self._text_delta(data)
            case "refusal.delta":
                return replace(self._text_delta(data), is_refusal=True)
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                return self._reasoning_delta(kind, data)
            case "function_call_arguments.delta":
                piece = as_text(data.get("delta") or "")
                pieces = self._calls.add(data.get("output_index"), data.get("item_id"), piece)
                return StreamDelta(tool_call_deltas=tuple(pieces))
            case "function_call_arguments.done":
                whole = as_text(data.get("arguments") or "")
                pieces = self._calls.complete(data.get("output_index"), data.get("item_id"), whole)
                return StreamDelta(tool_call_deltas=tuple(pieces))
            case "output_item.added" | "output_item.done":
                self._add_item(data, is_done=kind.endswith("done"))
            case "created" | "in_progress" | "queued":
                self._response = object_at(data, "response") or self._response
            case _ if kind in _ENDS:
                self._finish(kind, data, event)
            case _:
                pass
        return None

    def _text_delta(self, data: Json) -> StreamDelta:
        text = as_text(data.get("delta") or "")
        self._text.append(text)
        logprobs = logprobs_of(data)
        self._has_logprobs |= bool(logprobs)
        return StreamDelta(text, logprobs=logprobs)

    def _reasoning_delta(self, kind: str, data: Json) -> StreamDelta:
        """Return a piece of the reasoning. Its parts are paragraphs."""
        text = as_text(data.get("delta") or "")
        names = ("output_index", "item_id", "summary_index", "content_index")
        paragraph = (kind, *(str(data.get(name)) for name in names))
        if text and self._paragraph not in (None, paragraph):
            text = PARAGRAPH + text
        self._paragraph = paragraph if text else self._paragraph
        self._reasoning.append(text)
        return StreamDelta(reasoning_content=text)

    def _add_item(self, data: Json, *, is_done: bool) -> None:
        item, index = object_at(data, "item"), data.get("output_index")
        if item.get("type") == CALL:
            self._calls.begin(index, item)
        if is_done:
            place = as_count(index)
            self._items[len(self._items) if place is None else place] = item

    def _finish(self, kind: str, data: Json, event: ServerSentEvent) -> None:
        response = object_at(data, "response")
        status = response.get("status") if response.get("status") in _ENDS else kind
        self._response = {**self._response, **response}
        if problem := problem_of(response, status, event.data.encode()):
            self.end.report_error(problem)
            return
        self.end.set_finish(finish_of(response, status))
        self.end.mark_end()

    def _output(self) -> tuple[list[Json], list[ToolCallDelta]]:
        """Return the items of the answer, and the missing pieces of its calls.

        They are those of the last event, or those that were done before it, if it has none.
        """
        listed = members_of(self._response.get("output")) or [self._items[place] for place in sorted(self._items)]
        items = [as_object(item) for item in listed]
        given = [item for item in items if item.get("type") == CALL]
        calls, pieces = self._calls.finish(given)
        numbered = iter(calls)
        items = [next(numbered) if item.get("type") == CALL else item for item in items]
        return [*items, *numbered], pieces

    def _rest_of_text(self, whole: str) -> str:
        """Return what the whole text adds to its pieces. White space around the text does not count.

        Raises:
            ValueError: The pieces are not the beginning of the whole.
        """
        before = "".join(self._text)
        if whole.startswith(before):
            return whole[len(before) :]
        if whole and whole.strip() != before.strip():
            raise ValueError("its text contradicts the pieces of the text")
        return ""

    def _rest_of_reasoning(self, output: Sequence[Json]) -> str:
        """Return what the whole reasoning adds to its pieces.

        Unlike a text, reasoning that contradicts its pieces does not fail the attempt: the answer itself is complete,
        and the items that are sent back come from the last event.
        """
        whole, before = PARAGRAPH.join(reasoning_parts(output)), "".join(self._reasoning)
        return whole[len(before) :] if whole.startswith(before) else ""
