"""Anthropic's Messages API: what one call's requests share, and what a response says.

Written after Anthropic's API reference ("Create a Message", "Errors", "Versions"), "Structured outputs", "Prompt
caching: automatic caching", "Stop reasons and fallback", and anthropic-python 2.13, November 2026.

We ask by version 2023-06-01 of the API and not by 2026-10-21, which that SDK names: the newer one refuses
`temperature` and `top_p` of every model, and what else it changes (documents said by the assistant, citations by the
user) does not concern us. For the same reason the SDK has no such parameters; its users send them as extra fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.anthropic.content import THINKING, system_prompt, tool, turns
from asyncinfer.dialects.anthropic.models import Sampling, held_schema, sampling
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.fields import checked_depth, count, group
from asyncinfer.dialects.finish_reasons import Finish, finish_in, metadata_of, reason_of, without_cut_call
from asyncinfer.dialects.http import (
    HEADERS,
    HttpRequest,
    HttpResponse,
    error_within,
    json_body,
    json_object,
    merged_under,
    no_answer,
)
from asyncinfer.dialects.tools import function_named, read_calls, tool_call
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.types.conversation import Conversation, Message, Role
from asyncinfer.types.results import Completion, Usage
from asyncinfer.types.tools import ToolCall

Json = dict[str, Any]
VERSIONED = {**HEADERS, "anthropic-version": "2023-06-01"}
SUPPORTED = frozenset(
    {
        "extra_body",
        "guided_decoding",
        "max_new_tokens",
        "parallel_tool_calls",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_p",
    }
)
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


class MessagesEncoder:
    """Makes the bodies of requests that differ only in their conversation.

    All that comes before the last message is cached, as is that: `cache_control: null` in `generation.extra_body`
    turns this off. `output_config` there is merged with ours.

    Raises:
        ConfigError: nothing can be asked with these settings.
    """

    def __init__(self, call: EncoderSettings) -> None:
        name, generation = call.model.model_name or "", call.generation
        told, self.dropped = _sampling(name, generation)
        self._url, self._timeout = call.url, call.timeout
        self._shared: Json = {
            "model": name,
            "max_tokens": generation.max_new_tokens,
            "cache_control": {"type": "ephemeral"},
            **told,
            **({"stop_sequences": generation.stop_strings} if generation.stop_strings else {}),
            **({"metadata": {"user_id": call.user_id}} if call.user_id is not None else {}),
            **_guided(generation.guided_decoding, name),
        }
        self._choice = _tool_choice(generation)
        self._extra = merged_under("output_config", self._shared, generation.extra_body)

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: the API cannot be asked this.
        """
        body = {**self._shared, "messages": turns(conversation.messages)}
        if (system := system_prompt(conversation.messages)) is not None:
            body["system"] = system
        if conversation.tools:
            body |= {"tools": [tool(definition) for definition in conversation.tools], **self._choice}
        if stream:
            body["stream"] = True
        return HttpRequest(self._url, VERSIONED, json_body(body, self._extra), timeout=self._timeout)


def decode(response: HttpResponse) -> Completion:
    """The answer in a response.

    Raises:
        RequestError: it holds none.
    """
    data = json_object(response)
    if data.get("type") == "error":
        raise error_in(data, response.body)
    try:
        finish = finish_in(data.get("stop_reason"))
        message = _answer(data["content"], finish)
        reason = reason_of(finish, message.tool_calls)
        return Completion(message, reason, usage_in(data.get("usage")), metadata_of(finish))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise no_answer(response) from None


# Requests


def _sampling(name: str, generation: GenerationParams) -> Sampling:
    thinking = group(generation.extra_body, "thinking")
    thinks = bool(thinking) and thinking.get("type") != "disabled"
    told, dropped = sampling(name, generation, thinks=thinks)
    if told.get("temperature", 0.0) > 1:
        raise ConfigError(f"generation.temperature: this API takes 0 to 1 (found {generation.temperature})")
    return Sampling(told, dropped)


def _guided(guided: GuidedDecodingParams | None, name: str) -> Json:
    schema = held_schema(name, guided)
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}} if schema is not None else {}


def _tool_choice(generation: GenerationParams) -> Json:
    """What is said of the tools where there are any."""
    choice, one = generation.tool_choice, not generation.parallel_tool_calls
    if choice is None and not one:
        return {}
    told = _choice(choice if choice is not None else "auto")
    if one and told["type"] != "none":
        told["disable_parallel_tool_use"] = True
    return {"tool_choice": told}


def _choice(choice: str | Json) -> Json:
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if (name := function_named(choice)) is None:
        known = "auto, required, none, or {type: function, function: {name: ...}}"
        raise ConfigError(f"generation.tool_choice: should be {known} (found {choice!r})")
    return {"type": "tool", "name": name}


# What is answered


def _answer(blocks: list[Json], finish: Finish | None) -> Message:
    """The assistant's message. Its thinking blocks are kept unchanged: they are sent back with their signatures."""
    uses = without_cut_call(finish, read_calls(use, [block for block in blocks if block["type"] == "tool_use"]))
    thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    message: Json = {"role": Role.ASSISTANT, "content": None if uses and not text else text}
    if uses:
        message["tool_calls"] = uses
    if thoughts:
        spoken = "".join(block["thinking"] for block in thoughts if block["type"] == "thinking")
        message |= {"reasoning_content": spoken or None, THINKING: checked_depth(thoughts)}
    return Message.model_validate(message)


def use(block: Mapping[str, Any]) -> ToolCall:
    """The tool call of a block, whose arguments are an object, or its text.

    Raises:
        KeyError, ValueError: the block names no function, or cannot be read.
    """
    arguments = block["input"]
    if not isinstance(arguments, dict | str):
        raise ValueError("the arguments are not an object")
    return tool_call({"id": block.get("id"), "function": {"name": block.get("name"), "arguments": arguments}})


def usage_in(usage: Any) -> Usage | None:
    """The tokens that a response reports. Tokens read from the cache, or written to it, count as prompt tokens."""
    if not isinstance(usage, dict) or not usage:
        return None
    told = cast(Mapping[str, Any], usage)
    cached, created = count(told, "cache_read_input_tokens"), count(told, "cache_creation_input_tokens")
    prompt = (count(told, "input_tokens") or 0) + (cached or 0) + (created or 0)
    completion = count(told, "output_tokens") or 0
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=cached,
        cache_creation_tokens=created,
        reasoning_tokens=count(group(told, "output_tokens_details"), "thinking_tokens"),
    )


_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_in(data: Mapping[str, Any], body: bytes) -> RequestError:
    """An error within a success or a stream, with the status that it has as an HTTP response."""
    kind = group(data, "error").get("type")
    status = _STATUS.get(kind) if isinstance(kind, str) else None
    return error_within(body, status=status)
