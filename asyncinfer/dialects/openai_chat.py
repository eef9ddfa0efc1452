"""OpenAI's chat completions, and those of the many servers that speak them with quirks of their own.

Written after OpenAI's API reference ("Create chat completion") and openai-python 3.57, November 2026. Where other
providers differ, see the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import uuid4

from pydantic_core import to_json

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.dialect import Call
from asyncinfer.dialects.flat_schema import flat
from asyncinfer.dialects.http import (
    HEADERS,
    HttpRequest,
    HttpResponse,
    garbled,
    json_body,
    json_object,
    message_in,
    refusal,
)
from asyncinfer.dialects.media import PDF, data_url, file_of
from asyncinfer.dialects.openai_guided import guided_fields
from asyncinfer.dialects.openai_quirks import NO_QUIRKS, Files, Quirks
from asyncinfer.errors import RequestError
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role, Type
from asyncinfer.types.results import Completion, FinishReason, InferenceErrorType, Usage, unanswerable
from asyncinfer.types.tools import ToolCall, ToolDefinition

__all__ = ["NO_QUIRKS", "SUPPORTED", "ChatEncoder", "Quirks", "decode"]

# Our parameters that steer the sampler, those of OpenAI's and those that others take too, and their fields.
_SAMPLING = {
    "temperature": "temperature",
    "logit_bias": "logit_bias",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop_strings": "stop",
    "min_p": "min_p",
    "skip_special_tokens": "skip_special_tokens",
    "stop_token_ids": "stop_token_ids",
}
_OPENAI_SAMPLING = frozenset(_SAMPLING) - {"min_p", "skip_special_tokens", "stop_token_ids"}
SUPPORTED = _OPENAI_SAMPLING | {
    "extra_body",
    "guided_decoding",
    "max_new_tokens",
    "parallel_tool_calls",
    "tool_choice",
}
# What a reasoning model refuses, with an error; and what of it one takes that was told not to reason.
_NOT_WHERE_REASONED = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "stop_strings"}
)
_WITHOUT_REASONING = frozenset({"temperature", "top_p"})


class ChatEncoder:
    """Makes the bodies of requests that differ only in their conversation.

    Raises:
        ConfigError: nothing can be asked with these settings.
    """

    def __init__(self, call: Call, quirks: Quirks) -> None:
        model, generation = call.model, call.generation
        refused = _refused(model.model_name, generation, quirks)
        self.dropped = refused & generation.model_fields_set
        self._url, self._timeout, self._quirks = call.url, call.timeout, quirks
        self._shared: dict[str, Any] = {
            "model": model.model_name,
            quirks.token_limit: generation.max_new_tokens,
            **_sampling(generation, (_OPENAI_SAMPLING | quirks.extensions) - quirks.lacks - refused),
            **guided_fields(generation.guided_decoding, quirks),
        }
        if quirks.user is not None and call.user_id is not None:
            self._shared[quirks.user] = call.user_id
        if quirks.adapter is not None and model.adapter_model:
            self._shared[quirks.adapter] = model.adapter_model
        if quirks.template_kwargs and model.chat_template_kwargs:
            self._shared["chat_template_kwargs"] = model.chat_template_kwargs
        self._with_tools, self._extra = _tools(generation, quirks.lacks | refused), generation.extra_body

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: the server cannot be asked this.
        """
        body = {**self._shared, "messages": [_message(message, self._quirks) for message in conversation.messages]}
        if conversation.tools:
            body |= {"tools": [_tool(tool, self._quirks) for tool in conversation.tools]}
            body |= self._with_tools
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return HttpRequest(self._url, HEADERS, json_body(body, self._extra), timeout=self._timeout)


def decode(response: HttpResponse) -> Completion:
    """The answer in a response.

    Raises:
        RequestError: it holds none.
    """
    data = json_object(response)
    if error := error_of(data, response.body):
        raise error
    try:
        [choice, *_] = data["choices"]
        message = _answer(choice["message"])
        reason = ended(finish_reason(choice.get("finish_reason")), message)
        return Completion(message, reason, usage_in(data.get("usage")))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise garbled(f"holds no answer: {message_in(response.body)}") from None


# What is asked


def _message(message: Message, quirks: Quirks) -> dict[str, Any]:
    content = message.content
    if isinstance(content, str):
        plain: dict[str, Any] = {"role": message.role.value, "content": content}
    elif content is None:
        plain = {"role": message.role.value, "content": None}
    else:
        plain = {"role": message.role.value, "content": [_item(item, quirks) for item in content]}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump(mode="json", exclude_none=True) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    return plain | _reasoning(message, quirks) if message.role is Role.ASSISTANT else plain


def _reasoning(message: Message, quirks: Quirks) -> dict[str, Any]:
    """What of an earlier answer's reasoning goes back."""
    kept = {key: value for key, value in (message.model_extra or {}).items() if key in quirks.kept and value}
    if kept or quirks.reasoning is None or not message.reasoning_content:
        return kept
    return {quirks.reasoning: message.reasoning_content}


def _item(item: ContentItem, quirks: Quirks) -> dict[str, Any]:
    if item.type is Type.TEXT:
        return {"type": "text", "text": item.content}
    kind, taken = ("images", quirks.images) if item.is_image() else ("documents", quirks.documents)
    file = file_of(item)
    url = file if isinstance(file, str) else data_url(file)
    if quirks.any_media and not item.is_image():
        if url.startswith("data:"):
            return {"type": "image_url", "image_url": {"url": url, **(item.model_extra or {})}}
        return {"type": "input_audio", "input_audio": {"data": url, "format": PDF}}
    if taken is Files.NONE or (taken is Files.INLINE and not url.startswith("data:")):
        raise unanswerable(f"this API takes {kind} {taken.value}")
    extra: dict[str, Any] = item.model_extra or {}
    if item.is_image():
        return {"type": "image_url", "image_url": {"url": url, **extra}}
    return {"type": "file", "file": {"filename": "document.pdf", "file_data": url, **extra}}


def _tool(tool: ToolDefinition, quirks: Quirks) -> dict[str, Any]:
    plain = tool.model_dump(mode="json", exclude_none=True)
    if quirks.flat_schemas and tool.function.parameters is not None:
        parameters = flat(tool.function.parameters)
        if parameters is None:
            raise unanswerable(f"tool {tool.function.name!r}: this API takes no schema that is part of itself")
        plain["function"]["parameters"] = parameters
    return plain


def _refused(model: str, generation: GenerationParams, quirks: Quirks) -> frozenset[str]:
    """The parameters that this very model does not take. A fine-tuned one is named after its base."""
    lacking = (names for beginning, names in quirks.models_lack.items() if model.startswith(beginning))
    refused = frozenset[str]().union(*lacking)
    if not model.removeprefix("ft:").startswith(quirks.reasoning_models):
        return refused
    reasons = generation.extra_body.get("reasoning_effort") != "none"
    return refused | (_NOT_WHERE_REASONED if reasons else _NOT_WHERE_REASONED - _WITHOUT_REASONING)


def _sampling(generation: GenerationParams, told: frozenset[str]) -> dict[str, Any]:
    """What was asked of the sampler; what is at its default is left to the server, but for the temperature."""
    fields: dict[str, Any] = {}
    for name, field in _SAMPLING.items():
        value = getattr(generation, name)
        at_default = value == GenerationParams.model_fields[name].default or value in ([], {})
        if name in told and (name == "temperature" or not at_default):
            fields[field] = value
    return fields


def _tools(generation: GenerationParams, lacking: frozenset[str]) -> dict[str, Any]:
    """What is said of the tools where there are any."""
    fields: dict[str, Any] = {}
    if generation.tool_choice is not None:
        fields["tool_choice"] = generation.tool_choice
    if not generation.parallel_tool_calls and "parallel_tool_calls" not in lacking:
        fields["parallel_tool_calls"] = False
    return fields


# What is answered


# What of an answer is kept as it came, for it is to be sent back: OpenRouter's reasoning in parts, with signatures.
_KEPT = frozenset({"reasoning_details"})


def _answer(message: Mapping[str, Any]) -> Message:
    """The assistant's message. A refusal is its text; reasoning comes under either of two names."""
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not calls:
        content = message.get("refusal") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    google = of_google(message)
    if google.get("thought") is True and isinstance(content, str) and content.startswith(THOUGHT):
        reasoning, _, content = content.removeprefix(THOUGHT).partition(END_OF_THOUGHT)
    # Without its signature Google may not take a message back.
    signature = google.get("thought_signature")
    signed: dict[str, Any] = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    kept = signed | {key: message[key] for key in _KEPT if message.get(key)}
    if not calls and not kept and reasoning is None and isinstance(content, str):
        return Message(role=Role.ASSISTANT, content=content)
    return Message(
        role=Role.ASSISTANT,
        content=content,
        tool_calls=[tool_call(call) for call in calls] if calls else None,
        reasoning_content=reasoning if isinstance(reasoning, str) else None,
        **kept,
    )


# How Google's servers mark a thought within the text, beside saying so under `extra_content`.
THOUGHT, END_OF_THOUGHT = "<thought>", "</thought>"


def of_google(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Google's servers say beyond OpenAI's fields, of a message, a call, or a part of one."""
    return group(group(message, "extra_content"), "google")


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """A tool call, under an id of its own where the server gave it none.

    Raises:
        ValueError: it names no function, or cannot be read.
    """
    function = group(call, "function")
    if not function.get("name"):
        raise ValueError("a tool call without a name")
    given = {"id": call.get("id") or f"call_{uuid4().hex[:24]}", "type": call.get("type") or "function"}
    arguments = function.get("arguments")
    return ToolCall.model_validate(
        {**call, **given, "function": {**function, "arguments": "" if arguments is None else arguments}}
    )


_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
    # Names that other servers have for the same.
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "abort": FinishReason.ERROR,
}
# DeepSeek cuts an answer off for want of capacity; half an answer is none.
_CUT_OFF = "insufficient_system_resource"


def finish_reason(reason: str | None) -> FinishReason:
    """Why the model stopped.

    Raises:
        RequestError: it was stopped, and may answer when it is asked again.
    """
    if reason == _CUT_OFF:
        raise RequestError(
            f"the API cut the answer off ({_CUT_OFF})",
            error_type=InferenceErrorType.API_STATUS,
            is_retryable=True,
            is_overload=True,
        )
    return _FINISH.get(reason or "", FinishReason.UNKNOWN)


def ended(reason: FinishReason, message: Message) -> FinishReason:
    """Why the model stopped, of a whole answer: OpenAI and vLLM call it `stop`, too, where the call was forced."""
    return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and message.tool_calls else reason


_PLAIN_USAGE = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def usage_in(usage: Any) -> Usage | None:
    """The tokens that a response says it took; what it says in other ways than as numbers is not heeded."""
    if not isinstance(usage, dict) or not usage:
        return None
    told = cast(Mapping[str, Any], usage)
    prompt, completion = _count(told, "prompt_tokens") or 0, _count(told, "completion_tokens") or 0
    total = _count(told, "total_tokens") or prompt + completion
    if total == prompt + completion and told.keys() <= _PLAIN_USAGE:
        return Usage(prompt, completion, total)
    of_prompt, of_completion = group(told, "prompt_tokens_details"), group(told, "completion_tokens_details")
    # Some tell of these beside the counts, not below them: DeepSeek and Together of the cache, SGLang of reasoning.
    cached = (_count(of_prompt, "cached_tokens"), *(_count(told, name) for name in _CACHED))
    reasoned = (_count(of_completion, "reasoning_tokens"), _count(told, "reasoning_tokens"))
    reasoning = next((count for count in reasoned if count is not None), None)
    # Google's servers count thoughts in the total alone.
    if (beyond := total - prompt - completion) > 0 and reasoning in (None, beyond):
        completion, reasoning = completion + beyond, beyond
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=next((count for count in cached if count is not None), None),
        cache_creation_tokens=_count(of_prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning,
    )


_CACHED = ("prompt_cache_hit_tokens", "cached_tokens")


def _count(told: Mapping[str, Any], name: str) -> int | None:
    count = told.get(name)
    return count if isinstance(count, int) and count >= 0 else None


def group(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where there is none."""
    return _object(data.get(key))


def _object(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def error_of(data: Mapping[str, Any], body: bytes) -> RequestError | None:
    """The error that a success tells of: in an answer's place, or beside one that it cut off."""
    told: Any = data.get("choices")
    choices = cast(list[Any], told) if isinstance(told, list) else []
    first = _object(choices[0] if choices else None)
    failed = not told or first.get("finish_reason") == "error"
    error: Any = first.get("error") or (data.get("error") if failed else None)
    return error_in(error, body) if error else None


def error_in(error: Any, body: bytes) -> RequestError:
    """An error that came as a success, as routers send them when the server behind them fails."""
    code = cast(dict[str, Any], error).get("code") if isinstance(error, dict) else None
    said = message_in(to_json({"error": error})) if isinstance(error, dict) else message_in(body)
    return refusal(code if isinstance(code, int) else None, f"the API answered with an error: {said}")
