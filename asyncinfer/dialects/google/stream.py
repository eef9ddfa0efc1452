"""Decodes streams of Gemini's own API, `streamGenerateContent`. `response.py` names the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asyncinfer.dialects.fields import as_count
from asyncinfer.dialects.finish_reasons import lacks_arguments
from asyncinfer.dialects.google.pieces import (
    Piece,
    candidates_in,
    is_first,
    last_usage,
    read_candidate,
    read_piece,
)
from asyncinfer.dialects.google.response import choices_of, completion_of
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.openai.response import error_in
from asyncinfer.dialects.sse import ServerSentEvent, is_done, object_in, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.types.answer import CHOICES
from asyncinfer.types.stream import StreamDelta, ToolCallDelta, deltas_of_calls
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage


@dataclass(slots=True)
class GeminiEventDecoder:
    """Turns the events of a stream into deltas.

    The last delta contains the complete tool calls, the usage and the finish reason. The stream has no end mark; the
    end of the connection ends it.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _pieces: list[Piece] = field(default_factory=list[Piece])
    _calls: list[ToolCall] = field(default_factory=list[ToolCall])
    _passed_on: int = 0  # The number of calls that earlier deltas have.
    _json: EventJson = field(default_factory=EventJson)
    done: bool = False
    _others: dict[int, list[Piece]] = field(default_factory=dict[int, list[Piece]])  # Of the other candidates.

    @property
    def usage(self) -> Usage | None:
        return last_usage(self._pieces)

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if is_done(event):
            return
        if (data := object_in(event, self._json, self.end)) is None:
            return
        try:
            error, piece = data.get("error"), read_piece(data)
            self._add_others(data)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise unreadable(event, problem) from None
        if error:
            self.end.report_error(error_in(error, event.data.encode()))
        if piece.text or piece.reasoning or piece.calls:
            self.end.add_part(piece.finish)
        else:
            self.end.set_finish(piece.finish)
        self._pieces.append(piece._replace(text="", reasoning="", logprobs=()))
        call_deltas = self._pass_on(piece.calls) if piece.calls else ()
        if piece.text or piece.reasoning or call_deltas or piece.logprobs:
            yield StreamDelta(piece.text, piece.reasoning, tool_call_deltas=call_deltas, logprobs=piece.logprobs)

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        blocked = any(piece.blocked is not None for piece in self._pieces)
        finish = None if blocked and self.end.finish is None else self.end.require_finish(has_mark=False)
        completion = completion_of(self._pieces, finish)
        if self._others:
            completion.metadata = {**(completion.metadata or {}), CHOICES: choices_of(sorted(self._others.items()))}
        last = completion.last_delta(self._json.rest())
        return replace(last, tool_call_deltas=last.tool_call_deltas[self._passed_on :])

    def _add_others(self, data: Mapping[str, Any]) -> None:
        for candidate in candidates_in(data.get("candidates")):
            if not is_first(candidate):
                index = as_count(candidate["index"]) or 0
                self._others.setdefault(index, []).append(read_candidate(candidate, Piece(), is_whole=False))

    def _pass_on(self, calls: Sequence[ToolCall]) -> tuple[ToolCallDelta, ...]:
        """Return the pieces of the calls up to the last one with arguments.

        A call without arguments waits for the next call or the end: at the end of an answer that was cut off, it is
        left out.
        """
        first = self._passed_on
        for call in calls:
            self._calls.append(call)
            self._passed_on = self._passed_on if lacks_arguments(call) else len(self._calls)
        return deltas_of_calls(self._calls[first : self._passed_on], first)
