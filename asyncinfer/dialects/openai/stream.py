"""Decodes streams of OpenAI's chat completions: `chat.completion.chunk` objects in server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.call_pieces import piece_in
from asyncinfer.dialects.fields import as_count, as_text, object_at
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.google.thoughts import END_OF_THOUGHT, THOUGHT, of_google
from asyncinfer.dialects.openai.response import error_event, error_of, usage_in
from asyncinfer.dialects.sse import DONE, ServerSentEvent, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.types.results import StreamDelta, Usage


@dataclass(slots=True)
class OpenAIEventDecoder:
    """Turns the events of a stream into deltas.

    The last delta contains all tool calls, the usage and the finish reason.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _calls: CallAssembler = field(default_factory=CallAssembler)
    _usage: Usage | None = None
    _thinking: bool = False

    @property
    def done(self) -> bool:
        return self.end.marked

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if event.name == "error":
            raise error_event(event.data)
        if event.data.strip() == DONE:
            self.end.mark_end()
            return
        try:
            data: Any = from_json(event.data)
            error = error_of(data, event.data.encode())
            self._usage = usage_in(data.get("usage")) or self._usage
            # If there are several choices, the first one is the answer.
            deltas = [
                delta for choice in data.get("choices") or () if _is_first(choice) for delta in self._choice(choice)
            ]
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            raise unreadable(event, problem) from None
        yield from deltas
        if error is not None:
            raise error

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        return self.end.last_delta(self._calls, self._usage)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[StreamDelta]:
        delta = object_at(choice, "delta")
        text = as_text(delta.get("content") or delta.get("refusal") or "")
        reasoning = as_text(delta.get("reasoning_content") or delta.get("reasoning") or "")
        if of_google(delta).get("thought") is True:
            text, reasoning, self._thinking = "", text.removeprefix(THOUGHT), True
        elif self._thinking and text:
            text, self._thinking = text.removeprefix(END_OF_THOUGHT), False
        if parts := delta.get("tool_calls"):
            self._add(parts)
        finish = finish_in(choice.get("finish_reason"))
        if text or reasoning or parts:
            self.end.add_part(finish)
        else:
            self.end.set_finish(finish)
        if text or reasoning:
            yield StreamDelta(content=text, reasoning_content=reasoning)

    def _add(self, parts: Iterable[Mapping[str, Any]]) -> None:
        """Add the pieces of tool calls in one event."""
        self._calls.next_event()
        for part in parts:
            # The signature of the thought behind a call, from Google.
            extra = object_at(part, "extra_content")
            self._calls.add(piece_in(part), {"extra_content": extra} if extra else None)


def _is_first(choice: Mapping[str, Any]) -> bool:
    index = choice.get("index")
    return not index or as_count(index) == 0
