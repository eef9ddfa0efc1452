"""Reads one response, or one event of a stream, of Gemini's own API. `response.py` names the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.answer_text import json_of_unread, text_in
from asyncinfer.dialects.fields import as_count, as_list, as_object, count_at, counted, members_of, object_at
from asyncinfer.dialects.finish_reasons import Finish, finish_in
from asyncinfer.dialects.google.logprobs import logprobs_of
from asyncinfer.dialects.google.thoughts import signed
from asyncinfer.dialects.response_metadata import description
from asyncinfer.dialects.tools import read_calls, tool_call
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


# What is kept besides the answer: fields of `Candidate` and of `GenerateContentResponse`, and parts that are no text.
_OF_CANDIDATE = frozenset(
    {"avgLogprobs", "citationMetadata", "finishMessage", "groundingMetadata", "safetyRatings", "urlContextMetadata"}
)
_OF_RESPONSE = frozenset({"promptFeedback"})
OF_PARTS = frozenset({"parts"})
_UNREAD_MEMBERS = _OTHER_MEMBERS - {"thoughtSignature"}
# Fields, and the names of those that are kept.
_Kept = tuple[Mapping[str, Any], frozenset[str]]


class Piece(NamedTuple):
    """The content of one response, or of one event of a stream.

    Attributes:
        blocked: The reason why the API refused the prompt.
        answered: Whether there is a candidate with content or a finish reason.
        described: What the response says about itself.
        kept: What it says besides its answer.
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
    kept: tuple[_Kept, ...] = ()


def candidates_in(given: Any) -> list[Any]:
    """Return the candidates that are not null. A single one may come without a list."""
    return [one for one in (_list([given] if isinstance(given, dict) else given)) if one is not None]


def is_first(candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate is the answer, if there are several."""
    return as_count(candidate.get("index")) in (0, None)


def read_piece(data: Mapping[str, Any], *, is_whole: bool = False) -> Piece:
    """Read one response or event. Raises ValueError, TypeError, KeyError or AttributeError if it is not one."""
    candidates = candidates_in(data.get("candidates"))
    usage = _usage(data.get("usageMetadata"))
    blocked = object_at(data, "promptFeedback").get("blockReason")
    blocked = blocked if isinstance(blocked, str) else None
    kept = _picked(data, _OF_RESPONSE) if object_at(data, "promptFeedback").get("safetyRatings") else ()
    piece = Piece(usage=usage, blocked=blocked, described=_described_by(data), kept=kept)
    # If there are several candidates, the first one is the answer.
    for candidate in candidates:
        if (is_whole and len(candidates) == 1) or is_first(candidate):
            return read_candidate(candidate, piece, is_whole=is_whole)
    return piece


def read_candidate(candidate: Mapping[str, Any], piece: Piece, *, is_whole: bool) -> Piece:
    """Return `piece` with the content of a candidate. `is_whole`: it is a whole answer. Raises as `read_piece` does."""
    content, finish = candidate.get("content"), finish_in(candidate.get("finishReason"))
    parts = _parts_of(content)
    texts = [(text_in(part.get("text")), part.get("thought") is True) for part in parts]
    calls = [part for part in parts if _is_call(part)]
    if not calls and not any(text for text, _ in texts) and not any(map(_OTHER_MEMBERS.intersection, parts)):
        if any("functionCall" in part for part in parts):
            raise ValueError("an empty call")
        if is_whole:
            texts.append((json_of_unread([part for part in parts if part.get("thought") is not True]), False))
    unread = [part for part in parts if not _UNREAD_MEMBERS.isdisjoint(part)]
    others = (({"parts": unread}, OF_PARTS),) if unread else ()
    signatures = [part.get("thoughtSignature") for part in parts if not _is_call(part)]
    return piece._replace(
        text="".join(text for text, thought in texts if not thought),
        reasoning="".join(text for text, thought in texts if thought),
        calls=tuple(read_calls(_call, calls)),
        signature=next((one for one in reversed(signatures) if isinstance(one, str)), None),
        logprobs=logprobs_of(candidate.get("logprobsResult")),
        finish=finish,
        answered=content is not None or candidate.get("finishReason") is not None,
        kept=(*piece.kept, *_picked(candidate, _OF_CANDIDATE), *others),
    )


def last_usage(pieces: Sequence[Piece]) -> Usage | None:
    """Return the latest usage. Each event has the totals so far."""
    return next((piece.usage for piece in reversed(pieces) if piece.usage is not None), None)


def _picked(data: Mapping[str, Any], names: frozenset[str]) -> tuple[_Kept, ...]:
    """Return those of the fields that are kept besides the answer."""
    return () if names.isdisjoint(data) else (({name: data[name] for name in names & data.keys()}, names),)


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
        details=counted(
            cache_audio_read_tokens=_of_modality(counts, "cacheTokensDetails", "AUDIO"),
            input_audio_tokens=_of_modality(counts, "promptTokensDetails", "AUDIO"),
            input_video_tokens=_of_modality(counts, "promptTokensDetails", "VIDEO"),
            output_audio_tokens=_of_modality(counts, "candidatesTokensDetails", "AUDIO"),
            output_image_tokens=_of_modality(counts, "candidatesTokensDetails", "IMAGE"),
        ),
    )


def _of_modality(counts: Mapping[str, Any], name: str, modality: str) -> int | None:
    """Return the tokens of one modality: `ModalityTokenCount` of google-genai 3.6."""
    listed = (as_object(one) for one in as_list(counts.get(name)))
    return next((count_at(one, "tokenCount") for one in listed if one.get("modality") == modality), None)


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a response reports, whether it has an answer or not."""
    return _usage(data.get("usageMetadata"))
