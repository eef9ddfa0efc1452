"""Decodes responses and streams of Gemini's own API, `generateContent`.

Sources: Google's "Generate content" reference (`GenerateContentResponse`) and google-genai 3.6, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.answer_text import json_of_unread, text_in
from asyncinfer.dialects.fields import as_count, as_object, count_at, members_of, object_at
from asyncinfer.dialects.finish_reasons import (
    Finish,
    ended_well,
    finish_in,
    lacks_arguments,
    reason_of,
    without_cut_call,
)
from asyncinfer.dialects.google.logprobs import logprobs_of
from asyncinfer.dialects.google.thoughts import signed
from asyncinfer.dialects.http import json_object, missing_answer
from asyncinfer.dialects.json_text import EventJson
from asyncinfer.dialects.openai.response import error_in
from asyncinfer.dialects.response_metadata import description, logprobs_metadata, metadata_of
from asyncinfer.dialects.sse import ServerSentEvent, is_done, object_in, unreadable
from asyncinfer.dialects.stream_end import StreamEnd
from asyncinfer.dialects.tools import read_calls, tool_call
from asyncinfer.types.answer import CHOICES, LOGPROBS, Completion, choice_fields
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.stream import StreamDelta, ToolCallDelta, deltas_of_calls
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage

_NOTHING: Mapping[str, Any] = {}
# The members of parts without a text.
_OTHER_MEMBERS = frozenset(
    [
        *("thoughtSignature", "inlineData", "fileData", "executableCode", "codeExecutionResult", "functionResponse"),
        *("toolCall", "toolResponse"),
    ]
)


class _Piece(NamedTuple):
    """The content of one response, or of one event of a stream.

    Attributes:
        blocked: The reason why the API refused the prompt.
        answered: Whether there is a candidate with content or a finish reason.
        described: What the response says about itself.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    signature: str | None = None
    logprobs: tuple[dict[str, Any], ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
    blocked: str | None = None
    answered: bool = False
    described: Mapping[str, Any] = _NOTHING


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response. For a blocked prompt, the answer is empty.

    Raises:
        RequestError: The response has no answer.
    """
    data = json_object(response)
    if data.get("error") and not data.get("candidates"):
        raise error_in(data["error"], response.body)
    try:
        piece = _piece(data, is_whole=True)
        if data.get("error") and not ended_well(piece.finish):
            raise error_in(data["error"], response.body)
        if not piece.answered and piece.blocked is None:
            raise ValueError("neither a candidate nor a reason why there is none")
        completion = _completion([piece], piece.finish)
        candidates = _candidates(data.get("candidates"))
        others = [one for one in candidates if not _is_first(one)]
        if others and len(candidates) > 1:
            pieces = [(as_count(one["index"]) or 0, [_read(one, _Piece(), is_whole=True)]) for one in others]
            completion.metadata = {**(completion.metadata or {}), CHOICES: _choices(pieces)}
            return _with_first_choice(completion)
        return completion
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None


@dataclass(slots=True)
class GeminiEventDecoder:
    """Turns the events of a stream into deltas.

    The last delta contains the complete tool calls, the usage and the finish reason. The stream has no end mark; the
    end of the connection ends it.
    """

    end: StreamEnd = field(default_factory=StreamEnd)
    _pieces: list[_Piece] = field(default_factory=list[_Piece])
    _calls: list[ToolCall] = field(default_factory=list[ToolCall])
    _passed_on: int = 0  # The number of calls that earlier deltas have.
    _json: EventJson = field(default_factory=EventJson)
    done: bool = False
    _others: dict[int, list[_Piece]] = field(default_factory=dict[int, list[_Piece]])  # Of the other candidates.

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
            error, piece = data.get("error"), _piece(data)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise unreadable(event, problem) from None
        if error:
            self.end.report_error(error_in(error, event.data.encode()))
        self._add_others(data)
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
        completion = _completion(self._pieces, finish)
        if self._others:
            completion.metadata = {**(completion.metadata or {}), CHOICES: _choices(sorted(self._others.items()))}
        last = completion.last_delta(self._json.rest())
        return replace(last, tool_call_deltas=last.tool_call_deltas[self._passed_on :])

    def _add_others(self, data: Mapping[str, Any]) -> None:
        for candidate in _candidates(data.get("candidates")):
            if not _is_first(candidate):
                index = as_count(candidate["index"]) or 0
                self._others.setdefault(index, []).append(_read(candidate, _Piece(), is_whole=False))

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


def _is_first(candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate is the answer, if there are several."""
    return as_count(candidate.get("index")) in (0, None)


def _choices(others: Iterable[tuple[int, list[_Piece]]]) -> list[dict[str, Any]]:
    """Return the other candidates as `metadata["choices"]` has them."""
    return [_choice(index, pieces) for index, pieces in others]


def _choice(index: int, pieces: list[_Piece]) -> dict[str, Any]:
    finish = next((piece.finish for piece in reversed(pieces) if piece.finish is not None), None)
    answer = _completion(pieces, finish)
    return choice_fields(index, answer.message, answer.finish_reason, (answer.metadata or {}).get(LOGPROBS, ()))


def _with_first_choice(completion: Completion) -> Completion:
    metadata = completion.metadata or {}
    first = choice_fields(0, completion.message, completion.finish_reason, metadata.get(LOGPROBS, ()))
    return replace(completion, metadata={**metadata, CHOICES: [first, *metadata[CHOICES]]})


def _completion(pieces: list[_Piece], finish: Finish | None) -> Completion:
    """Combine the pieces into an answer."""
    calls = without_cut_call(finish, [call for piece in pieces for call in piece.calls])
    text, reasoning = "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)
    signatures = [piece.signature for piece in pieces if piece.signature]
    message = Message(
        role=Role.ASSISTANT,
        content=text if text or not calls else None,
        tool_calls=calls or None,
        reasoning_content=reasoning or None,
        **(signed(signatures[-1]) if signatures else {}),
    )
    usage = next((piece.usage for piece in reversed(pieces) if piece.usage is not None), None)
    blocked = next((piece.blocked for piece in pieces if piece.blocked is not None), None)
    is_blocked = finish is None and blocked is not None
    reason = FinishReason.CONTENT_FILTER if is_blocked else reason_of(finish, calls)
    described = {name: value for piece in pieces for name, value in piece.described.items()}
    if blocked is not None:
        described["block_reason"] = blocked
    described |= logprobs_metadata([entry for piece in pieces for entry in piece.logprobs])
    return Completion(message, reason, usage, metadata_of(finish, reason, described))


def _piece(data: Mapping[str, Any], *, is_whole: bool = False) -> _Piece:
    """Read one response or event. Raises ValueError, TypeError, KeyError or AttributeError if it is not one."""
    candidates = _candidates(data.get("candidates"))
    usage = _usage(data.get("usageMetadata"))
    blocked = object_at(data, "promptFeedback").get("blockReason")
    piece = _Piece(usage=usage, blocked=blocked if isinstance(blocked, str) else None, described=_described_by(data))
    # If there are several candidates, the first one is the answer.
    for candidate in candidates:
        if (is_whole and len(candidates) == 1) or _is_first(candidate):
            return _read(candidate, piece, is_whole=is_whole)
    return piece


def _read(candidate: Mapping[str, Any], piece: _Piece, *, is_whole: bool) -> _Piece:
    content, finish = candidate.get("content"), finish_in(candidate.get("finishReason"))
    parts = _parts_of(content)
    texts = [(text_in(part.get("text")), part.get("thought") is True) for part in parts]
    calls = [part for part in parts if _is_call(part)]
    if not calls and not any(text for text, _ in texts) and not any(map(_OTHER_MEMBERS.intersection, parts)):
        if any("functionCall" in part for part in parts):
            raise ValueError("an empty call")
        if is_whole:
            texts.append((json_of_unread([part for part in parts if part.get("thought") is not True]), False))
    signatures = [part.get("thoughtSignature") for part in parts if not _is_call(part)]
    return piece._replace(
        text="".join(text for text, thought in texts if not thought),
        reasoning="".join(text for text, thought in texts if thought),
        calls=tuple(read_calls(_call, calls)),
        signature=next((one for one in reversed(signatures) if isinstance(one, str)), None),
        logprobs=logprobs_of(candidate.get("logprobsResult")),
        finish=finish,
        answered=content is not None or candidate.get("finishReason") is not None,
    )


def _parts_of(content: Any) -> list[Mapping[str, Any]]:
    """Return the parts of a candidate's content. A single part may come without a list."""
    parts: Any = as_object(content).get("parts") if "parts" in as_object(content) else content
    return [_part(part) for part in members_of(parts)]


def _part(part: Any) -> Mapping[str, Any]:
    """Return a part. It may be only a text. Vertex's older clients write its members in snake case."""
    if isinstance(part, str):
        return {"text": part}
    return {**part, "functionCall": part["function_call"]} if "function_call" in part else part


def _is_call(part: Mapping[str, Any]) -> bool:
    """Whether a part is a tool call. A part has one of several members; gateways send the others as null or empty."""
    return bool(part.get("functionCall"))


def _candidates(given: Any) -> list[Any]:
    """Return the candidates that are not null. A single one may come without a list."""
    return [one for one in (_list([given] if isinstance(given, dict) else given)) if one is not None]


def _described_by(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response, or an event, says about itself."""
    named = description(data, {"responseId": "response_id", "modelVersion": "response_model"})
    return named | description(object_at(data, "usageMetadata"), {"serviceTier": "service_tier"})


def _list(value: Any) -> list[Any]:
    """Return a list; an empty one for None. Raises TypeError for other values."""
    if not isinstance(value, list | None):
        raise TypeError("not a list")
    return cast(list[Any], value or [])


def _call(part: Mapping[str, Any]) -> ToolCall:
    """Return a tool call. It gets a new id if Gemini sent none."""
    call, signature = part["functionCall"], part.get("thoughtSignature")
    function: dict[str, Any] = {"name": call.get("name"), "arguments": call.get("args") or {}}
    passthrough = signed(signature) if isinstance(signature, str) else {}
    return tool_call({"id": call.get("id"), "function": function, **passthrough})


def _usage(usage: Any) -> Usage | None:
    """Return the tokens that a response reports. Gemini counts thoughts and the input from its own tools separately."""
    if not isinstance(usage, dict) or not usage:
        return None
    counts = cast(Mapping[str, Any], usage)
    thoughts = count_at(counts, "thoughtsTokenCount")
    prompt = (count_at(counts, "promptTokenCount") or 0) + (count_at(counts, "toolUsePromptTokenCount") or 0)
    completion = (count_at(counts, "candidatesTokenCount") or 0) + (thoughts or 0)
    return Usage(
        prompt,
        completion,
        count_at(counts, "totalTokenCount") or prompt + completion,
        cached_tokens=count_at(counts, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )
