"""Writes answers as a server of OpenAI's chat completions: whole ones, and the events of streams.

Sources: OpenAI's API reference ("Create chat completion", response and streaming) and the types
`ChatCompletion` and `ChatCompletionChunk` of openai-python 3.57, November 2026. `reasoning_content` is the field of
DeepSeek, vLLM and SGLang; `images` is a field of OpenRouter. Other additional fields of messages and calls are written
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncinfer.dialects.http import as_response_json
from asyncinfer.dialects.media import InlineFile, media_type, to_base64
from asyncinfer.types.answer import LOGPROBS, REFUSAL, Completion
from asyncinfer.types.content import ContentItem
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message
from asyncinfer.types.stream import StreamDelta, ToolCallDelta
from asyncinfer.types.tools import additional_keys
from asyncinfer.types.usage import Usage

DONE = b"data: [DONE]\n\n"
# Metadata of an answer that has a field of the same name in the response.
_TOP_LEVEL = ("system_fingerprint", "service_tier")


def finish_reason(reason: FinishReason | None) -> str | None:
    """Return the name of a finish reason. A reason that the engine does not know is written as `stop`."""
    if reason is None:
        return None
    return FinishReason.STOP.value if reason is FinishReason.UNKNOWN else reason.value


def usage_fields(usages: Iterable[Usage | None]) -> dict[str, Any] | None:
    """Return the usage of one request, whose choices have these usages. All choices have the same prompt.

    Returns:
        The object under `usage`; None if the engine reported no usage.
    """
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    prompt, completion = known[0].prompt_tokens, sum(usage.completion_tokens for usage in known)
    fields: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if known[0].cached_tokens is not None:
        fields["prompt_tokens_details"] = {"cached_tokens": known[0].cached_tokens}
    if any(usage.reasoning_tokens is not None for usage in known):
        reasoning = sum(usage.reasoning_tokens or 0 for usage in known)
        fields["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return fields


class ChatWriter:
    """Writes the answer to one request.

    Args:
        id: The id of the response.
        created: Unix time, in seconds.
        model: The name of the model, as the client knows it.
        logprobs: Whether the client requested log probabilities.
        include_usage: Whether a stream ends with an event that has the usage.
    """

    def __init__(
        self, id: str, created: int, model: str, *, logprobs: bool = False, include_usage: bool = False
    ) -> None:
        self._head = {"id": id, "created": created, "model": model}
        self._has_logprobs, self._has_usage = logprobs, include_usage
        self._begin = b"data: " + as_response_json({"object": "chat.completion.chunk", **self._head})[:-1]
        usage = b',"usage":null' if include_usage else b""
        self._text_end = b'},"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
        self._text_begins: dict[int, bytes] = {}

    def whole(self, answers: Sequence[Completion]) -> bytes:
        """Return the response that is not streamed, with one choice for each answer."""
        body: dict[str, Any] = {"object": "chat.completion", **self._head}
        body["choices"] = [self._choice(index, answer) for index, answer in enumerate(answers)]
        if usage := usage_fields(answer.usage for answer in answers):
            body["usage"] = usage
        return as_response_json(body | _top_level(answers[0].metadata))

    def first(self, index: int) -> bytes:
        """Return the first event of a choice, which has the role."""
        return self._event(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, delta: StreamDelta) -> bytes:
        """Return the events of one delta of a choice."""
        if delta.content and _is_only_text(delta):
            begin = self._text_begins.get(index)
            if begin is None:
                begin = self._begin + b',"choices":[{"index":%d,"delta":{"content":' % index
                self._text_begins[index] = begin
            return begin + as_response_json(delta.content) + self._text_end
        return self._full_delta(index, delta)

    def end(self, usages: Iterable[Usage | None]) -> bytes:
        """Return the end of a stream: the usage, if it was requested, and `[DONE]`."""
        if not self._has_usage or (usage := usage_fields(usages)) is None:
            return DONE
        return self._begin + b',"choices":[],"usage":' + as_response_json(usage) + b"}\n\n" + DONE

    def _full_delta(self, index: int, delta: StreamDelta) -> bytes:
        fields = delta_fields(delta)
        reason, logprobs = finish_reason(delta.finish_reason), self._logprobs(delta.logprobs)
        if not fields and reason is None and logprobs is None:
            return b""
        if reason is None:
            return self._event(index, fields, logprobs)
        # As OpenAI does, the last event of a choice has an empty delta.
        rest = self._event(index, fields, logprobs) if fields or logprobs is not None else b""
        return rest + self._event(index, {}, None, reason, delta.metadata)

    def _event(
        self,
        index: int,
        fields: Mapping[str, Any],
        logprobs: Mapping[str, Any] | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": fields, "logprobs": logprobs, "finish_reason": reason}
        rest = {"choices": [choice], **({"usage": None} if self._has_usage else {}), **_top_level(metadata)}
        return self._begin + b"," + as_response_json(rest)[1:] + b"\n\n"

    def _choice(self, index: int, answer: Completion) -> dict[str, Any]:
        logprobs = (answer.metadata or {}).get(LOGPROBS) or ()
        return {
            "index": index,
            "message": message_fields(answer.message),
            "logprobs": self._logprobs(logprobs),
            "finish_reason": finish_reason(answer.finish_reason),
        }

    def _logprobs(self, tokens: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        return {"content": list(tokens), "refusal": None} if self._has_logprobs and tokens else None


def message_fields(message: Message) -> dict[str, Any]:
    """Return the message of a choice."""
    fields: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
    if isinstance(message.content, list):
        fields["content"] = message.compute_flattened_text_content("") or None
        if images := message.image_content_items:
            fields["images"] = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
    if message.reasoning_content:
        fields["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        fields["tool_calls"] = [call.model_dump(mode="json") for call in message.tool_calls]
    extra = message.model_extra or {}
    return {**fields, **extra, **({"content": None} if extra.get(REFUSAL) else {})}


def delta_fields(delta: StreamDelta) -> dict[str, Any]:
    """Return the delta of a choice in a stream, without its role."""
    fields: dict[str, Any] = {}
    if delta.reasoning_content:
        fields["reasoning_content"] = delta.reasoning_content
    if delta.content:
        fields[REFUSAL if delta.is_refusal else "content"] = delta.content
    if pieces := _call_pieces(delta):
        fields["tool_calls"] = pieces
    return fields | {name: value for name, value in (delta.extra or {}).items() if name != REFUSAL}


def _url(image: ContentItem) -> str:
    if image.binary is None:
        return image.content or ""
    return InlineFile(media_type(image.binary), to_base64(image.binary)).data_url


def _is_only_text(delta: StreamDelta) -> bool:
    return not (
        delta.finish_reason
        or delta.reasoning_content
        or delta.tool_call_deltas
        or delta.logprobs
        or delta.extra
        or delta.metadata
        or delta.is_refusal
    )


def _call_pieces(delta: StreamDelta) -> list[dict[str, Any]]:
    """Return the pieces of calls in a delta. The last delta adds further fields of the calls, such as signatures."""
    pieces = [_call_piece(piece) for piece in delta.tool_call_deltas]
    last_pieces = {piece["index"]: piece for piece in pieces}
    for index, call in enumerate(delta.tool_calls):
        extra = {name: value for name, value in additional_keys(call).items() if value is not None}
        if extra and index not in last_pieces:
            pieces.append({"index": index, "function": {"arguments": ""}, **extra})
        elif extra:
            last_pieces[index].update(extra)
    return pieces


def _call_piece(piece: ToolCallDelta) -> dict[str, Any]:
    fields: dict[str, Any] = {"index": piece.index}
    if piece.id:
        fields |= {"id": piece.id, "type": "function"}
    function = {"name": piece.name} if piece.name else {}
    return {**fields, "function": {**function, "arguments": piece.arguments}}


def _top_level(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: metadata[name] for name in _TOP_LEVEL if metadata and metadata.get(name)}
