"""Decodes streams of OpenAI's chat completions: `chat.completion.chunk` objects in server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from asyncinfer.dialects.answer_text import reasoning_in, refusal_in, text_of, thoughts_of, transcript_in
from asyncinfer.dialects.call_assembler import CallAssembler
from asyncinfer.dialects.call_pieces import piece_in
from asyncinfer.dialects.fields import as_count, as_object, as_text, checked_depth, object_at
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.google.thoughts import END_OF_THOUGHT, THOUGHT, of_google, signed
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.openai.logprobs import logprobs_in
from asyncinfer.dialects.openai.reasoning_details import ReasoningDetails
from asyncinfer.dialects.openai.response import (
    OF_CHOICE,
    OF_MESSAGE,
    OF_RESPONSE,
    calls_in,
    choices_in,
    error_event,
    error_of,
    is_first,
    message_in,
    usage_in,
)
from asyncinfer.dialects.provider_fields import ProviderFields
from asyncinfer.dialects.response_metadata import NAMES, description
from asyncinfer.dialects.sse import ServerSentEvent, is_done, object_in, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.errors import RequestError
from asyncinfer.types.answer import CHOICES, LOGPROBS, REFUSAL, Completion, choice_fields
from asyncinfer.types.http import malformed_response
from asyncinfer.types.stream import StreamDelta, ToolCallDelta, joined, with_first
from asyncinfer.types.usage import Usage

Json = Mapping[str, Any]
_NO_FIELDS: Json = {}
# Of a stream, the pieces of the audio are not kept.
_OF_PIECE = OF_MESSAGE - {"audio"}


@dataclass(slots=True)
class OpenAIEventDecoder:
    """Turns the events of a stream into deltas.

    The last delta contains the complete tool calls, the usage and the finish reason.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _json: EventJson = field(default_factory=EventJson)
    _calls: CallAssembler = field(default_factory=CallAssembler)
    _details: ReasoningDetails = field(default_factory=ReasoningDetails)
    _signature: Any = None  # The signature of the thoughts behind the text, from Google.
    _usage: Usage | None = None
    _thinking: bool = False
    _has_first: bool = False  # A choice with the index 0 has arrived.
    _others: list[Json] = field(default_factory=list[Json])  # The pieces of the other choices.
    _refusal: list[str] = field(default_factory=list[str])
    _is_answered: bool = False  # A text has arrived that is not a refusal.
    _has_text: bool = False  # A piece of the text has arrived.
    _has_reasoning: bool = False  # A piece of the reasoning has arrived.
    _has_calls: bool = False  # A piece of a call has arrived.
    _fields: ProviderFields = field(default_factory=ProviderFields)
    _logprobs: int = 0  # The number of log probabilities so far.
    _whole_text: str = ""  # The text of the whole messages so far.
    _whole_reasoning: str = ""
    # The first and the last event with the id of the response or the name of the model.
    _first: Json = field(default_factory=lambda: _NO_FIELDS)
    _last: Json = field(default_factory=lambda: _NO_FIELDS)

    @property
    def done(self) -> bool:
        return self.end.marked

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def feed(self, event: ServerSentEvent) -> Iterator[StreamDelta]:
        """Yield the deltas that `event` brings.

        Raises:
            RequestError: The event is an error, or cannot be read.
        """
        if event.name == "error":
            self.end.report_error(error_event(event.data))
            return
        if is_done(event):
            self.end.mark_end()
            return
        if (data := object_in(event, self._json, self.end)) is None:
            return
        try:
            error = error_of(data, event.data.encode())
            deltas = self.deltas(data)
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            raise unreadable(event, problem) from None
        yield from deltas
        if error is not None:
            self.end.report_error(error)

    def finish(self) -> StreamDelta:
        """Return the last delta, after the stream has ended.

        Raises:
            RequestError: The stream ended before the answer was complete.
        """
        described = description(self._first, NAMES) | description(self._last, NAMES) | self._fields.metadata()
        other = self._of_other_choice() if self._others and not self._has_first else None
        extra = (signed(self._signature) if self._signature else {}) | self._details.extra()
        if self._refusal and not self._is_answered and not self._has_calls:
            extra[REFUSAL] = "".join(self._refusal)
        last = self.end.last_delta(self._calls, self._usage, described, content=self._json.rest(), extra=extra)
        if self._others and other is None:
            return replace(last, metadata={**(last.metadata or {}), CHOICES: self._other_choices()})
        return with_first(other, last) if other is not None else last

    def _other_choices(self) -> list[dict[str, Any]]:
        """Return the other choices as `metadata["choices"]` has them. The first one was yielded while it arrived."""
        pieces: dict[int, list[Json]] = {}
        for piece in self._others:
            pieces.setdefault(as_count(piece.get("index")) or 0, []).append(piece)
        return [_other_choice(index, pieces[index]) for index in sorted(pieces)]

    def deltas(self, data: Json) -> list[StreamDelta]:
        """Return the deltas of an event. If there are several choices, the first one is the answer."""
        if usage := data.get("usage"):
            self._usage = usage_in(usage) or self._usage
        if data.get("id") or data.get("model"):
            self._first, self._last = self._first or data, data
        self._fields.add(data, OF_RESPONSE)
        choices = choices_in(data) if data.get("choices") else []
        first = [choice for choice in choices if is_first(choice)]
        self._has_first |= bool(first)
        if len(first) < len(choices):
            self._add_others(choice for choice in choices if not is_first(choice))
        return [delta for choice in first for delta in self._choice(choice)]

    def _add_others(self, choices: Iterable[Json]) -> None:
        for choice in choices:
            self._others.append(choice)
            self.end.set_open(choice.get("index"), is_open=finish_in(choice.get("finish_reason")) is None)

    def _of_other_choice(self) -> StreamDelta:
        """Return the whole answer of another choice, for servers whose only choice does not have the index 0.

        Raises:
            RequestError: It cannot be read.
        """
        index = self._others[0].get("index")
        chosen = [choice for choice in self._others if choice.get("index") == index]
        try:
            deltas = [delta for choice in chosen for delta in self._choice(choice)]
        except (ValueError, AttributeError, KeyError, TypeError) as problem:
            raise malformed_response(f"has a choice that cannot be read ({problem})") from None
        return joined(deltas)

    def _choice(self, choice: Json) -> Iterator[StreamDelta]:
        self._fields.add(choice, OF_CHOICE)
        self._fields.add(as_object(choice.get("message")), OF_MESSAGE)
        self._fields.add(as_object(choice.get("delta")), _OF_PIECE, joins_lists=True)
        message = self._message(choice)
        content = message.get("content")
        is_plain = isinstance(content, str) and content != ""  # The usual case.
        is_refusal = not is_plain and bool(refusal_in(content, message.get("refusal")))
        if not content and not isinstance(content, int | float):
            content = message.get("refusal") or transcript_in(message)
        text, reasoning = content, reasoning_in(message)
        if not isinstance(text, str):
            text, reasoning = text_of(content), reasoning or thoughts_of(content)
        google = of_google(message)
        self._signature = checked_depth(google.get("thought_signature")) or self._signature
        if details := message.get("reasoning_details"):
            self._details.add(details)
        if google.get("thought") is True:
            text, reasoning, self._thinking = "", text.removeprefix(THOUGHT), True
        elif self._thinking and text:
            text, self._thinking = text.removeprefix(END_OF_THOUGHT), False
        parts = calls_in(message) if message.get("tool_calls") or message.get("function_call") else None
        call_deltas = self._add(parts) if parts else ()
        if (finish := finish_in(choice.get("finish_reason"))) is not None:
            self._usage = self._usage or usage_in(choice.get("usage"))
        if text or reasoning or parts:
            self._has_calls |= bool(parts)
            self._is_answered |= bool(text) and not is_refusal
            if "message" not in choice:
                self._has_text |= bool(text)
                self._has_reasoning |= bool(reasoning)
            self.end.add_part(finish)
        else:
            self.end.set_finish(finish)
        logprobs = self._new_logprobs(choice, content) if choice.get("logprobs") is not None else ()
        if text or reasoning or call_deltas or logprobs:
            delta = StreamDelta(text, reasoning, tool_call_deltas=call_deltas, logprobs=logprobs)
            yield self._as_refusal(delta) if is_refusal else delta

    def _as_refusal(self, delta: StreamDelta) -> StreamDelta:
        self._refusal.append(delta.content)
        return replace(delta, is_refusal=True)

    def _new_logprobs(self, choice: Json, text: Any) -> tuple[dict[str, Any], ...]:
        """Return the log probabilities in an event. Those of a whole message include all earlier ones."""
        entries = logprobs_in(choice, text)
        new = entries[self._logprobs :] if "message" in choice else entries
        self._logprobs += len(new)
        return new

    def _message(self, choice: Json) -> Json:
        """Return the piece of a message in a choice.

        Some servers send a whole message in one event, or the message so far in each event.

        Raises:
            TypeError: The piece is neither a text nor an object.
        """
        delta: Any = choice.get("delta")
        if isinstance(delta, dict) and delta and (not choice.get("message") or _has_content(cast(Json, delta))):
            return cast(Json, delta)
        if delta and not isinstance(delta, dict):
            return {"content": as_text(delta)}
        if choice.get("message"):
            return self._rest_of(message_in(choice))
        return message_in(choice) if "text" in choice else _NO_FIELDS

    def _rest_of(self, message: Json) -> Json:
        """Return what a whole message adds to the pieces and messages before it.

        Raises:
            ValueError: It contradicts an earlier message.
        """
        content = message.get("content")
        refusal = refusal_in(content, message.get("refusal"))
        text = text_of(content) or refusal or transcript_in(message)
        reasoning = reasoning_in(message) or thoughts_of(content)
        rest: Json = {
            "refusal" if refusal else "content": "" if self._has_text else _added(self._whole_text, text),
            "reasoning": "" if self._has_reasoning else _added(self._whole_reasoning, reasoning),
            "extra_content": message.get("extra_content"),
        }
        if details := message.get("reasoning_details"):
            self._details.replace(details)
        self._whole_text, self._whole_reasoning = text or self._whole_text, reasoning or self._whole_reasoning
        return rest if self._has_calls else {**rest, "tool_calls": calls_in(message)}

    def _add(self, parts: Sequence[Json]) -> tuple[ToolCallDelta, ...]:
        """Add the pieces of tool calls in one event. Return the parts of the calls that can be passed on."""
        self._calls.next_event()
        deltas: list[ToolCallDelta] = []
        for part in parts:
            # The signature of the thought behind a call, from Google.
            extra = object_at(part, "extra_content")
            if delta := self._calls.add(piece_in(part), {"extra_content": extra} if extra else None):
                deltas.append(delta)
        return tuple(deltas)


def _other_choice(index: int, pieces: Sequence[Json]) -> dict[str, Any]:
    """Return one of several choices from its pieces. One that cannot be read, or was cut off, is kept as it came."""
    decoder = OpenAIEventDecoder()
    try:
        deltas = [delta for piece in pieces for delta in decoder.deltas({"choices": [{**piece, "index": 0}]})]
        decoder.end.mark_end()
        answer = Completion.from_deltas([*deltas, decoder.finish()])
    except (RequestError, ValueError, AttributeError, KeyError, TypeError):
        return {"index": index, "unreadable": list(pieces)}
    return choice_fields(index, answer.message, answer.finish_reason, (answer.metadata or {}).get(LOGPROBS, ()))


def _has_content(delta: Json) -> bool:
    """Whether a piece of a message has anything but its role."""
    return any(value for name, value in delta.items() if name != "role")


def _added(before: str, now: str) -> str:
    """Return what a text adds to the text before it. Raises ValueError if it is another text."""
    if before.startswith(now):
        return ""
    if not now.startswith(before):
        raise ValueError("a whole message contradicts an earlier one")
    return now[len(before) :]
