"""Encodes requests to Anthropic's Messages API, and decodes its responses.

Sources: Anthropic's API reference ("Create a Message", "Errors", "Versions"), "Structured outputs", "Effort", "Prompt
caching: automatic caching", "Stop reasons and fallback", and anthropic-python 2.14, November 2026.

Requests use version 2023-06-01 of the API, not 2026-10-21, which the SDK uses. The newer version refuses `temperature`
and `top_p` for every model. Its other changes (documents from the assistant, citations from the user) do not matter
here. For the same reason, the SDK has no such parameters; its users send them as extra fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.answer_text import is_typed_text, json_of_unread, reasoning_of, text_in
from asyncinfer.dialects.anthropic.content import (
    SENT_KEYS,
    THINKING,
    allows_automatic_caching,
    system_prompt,
    tool,
    turns,
)
from asyncinfer.dialects.anthropic.models import Sampling, default_answer_limit, output_schema, sampling
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.fields import as_object, checked_depth, count_at, counted, members_of, object_at
from asyncinfer.dialects.finish_reasons import Finish, finish_in, reason_of, without_cut_call
from asyncinfer.dialects.http import HEADERS, error_within, json_body, json_object, merged_under, missing_answer
from asyncinfer.dialects.provider_fields import provider_fields
from asyncinfer.dialects.reported_cost import cost_in_usage
from asyncinfer.dialects.response_metadata import NAMES, description, metadata_of
from asyncinfer.dialects.tools import chosen_function, read_calls, tool_call
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage

Json = dict[str, Any]
VERSION_HEADERS = {**HEADERS, "anthropic-version": "2023-06-01"}
SUPPORTED = frozenset(
    {
        "extra_body",
        "guided_decoding",
        "max_new_tokens",
        "parallel_tool_calls",
        "reasoning_effort",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_k",
        "top_p",
    }
)
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


class MessagesEncoder:
    """Makes the requests of one call.

    Requests ask the API to cache the whole conversation, unless its last block or four blocks have cache settings.
    `cache_control: null` in `generation.extra_body` turns this off. `output_config` in `generation.extra_body` is
    merged with the one of the request.

    Raises:
        ConfigError: The API does not support these settings.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        name, generation = settings.model.model_name or "", settings.generation
        sampling_fields, self.dropped = _sampling(name, generation)
        self._url, self._timeout, self._warn = settings.url, settings.timeout, settings.warn
        self._shared: Json = {
            "model": name,
            "max_tokens": generation.max_new_tokens or default_answer_limit(name),
            "cache_control": {"type": "ephemeral"},
            **sampling_fields,
            **({"stop_sequences": generation.stop_strings} if generation.stop_strings else {}),
            **({"metadata": {"user_id": settings.user_id}} if settings.user_id is not None else {}),
            **_output_config(generation, name),
        }
        self._choice = _tool_choice(generation)
        self._extra = merged_under("output_config", self._shared, generation.extra_body)

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The API does not support this request.
        """
        SENT_KEYS.check(conversation, self._warn)
        body = {**self._shared, "messages": turns(conversation.messages)}
        if (system := system_prompt(conversation.messages)) is not None:
            body["system"] = system
        if conversation.tools:
            body |= {"tools": [tool(definition) for definition in conversation.tools], **self._choice}
        if stream:
            body["stream"] = True
        if not allows_automatic_caching(body):
            del body["cache_control"]
        return HttpRequest(self._url, VERSION_HEADERS, json_body(body, self._extra), timeout=self._timeout)


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response.

    Raises:
        RequestError: The response has no answer.
    """
    data = json_object(response)
    if data.get("type") == "error":
        raise error_in(data, response.body)
    try:
        finish = finish_in(data.get("stop_reason"))
        blocks = _blocks_in(data["content"], finish)
        message = _answer(blocks, finish)
        reason = reason_of(finish, message.tool_calls)
        usage = data.get("usage")
        kept = provider_fields((data, OF_MESSAGE), (_content_fields(blocks), OF_CONTENT))
        metadata = metadata_of(finish, reason, described_by(data, usage) | kept)
        return Completion(message, reason, usage_in(usage), metadata)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None


# Requests


def _sampling(name: str, generation: GenerationParams) -> Sampling:
    thinking = object_at(generation.extra_body, "thinking")
    thinks = bool(thinking) and thinking.get("type") != "disabled"
    sent, dropped = sampling(name, generation, thinks=thinks)
    if sent.get("temperature", 0.0) > 1:
        raise ConfigError(f"generation.temperature: this API accepts 0 to 1 (found {generation.temperature})")
    return Sampling(sent, dropped)


def _output_config(generation: GenerationParams, name: str) -> Json:
    """Return the field for a JSON schema and for the effort.

    Raises:
        ConfigError: The model does not support the schema.
    """
    schema, effort = output_schema(name, generation.guided_decoding), generation.reasoning_effort
    fields: Json = {} if schema is None else {"format": {"type": "json_schema", "schema": schema}}
    fields |= {} if effort is None else {"effort": effort}
    return {"output_config": fields} if fields else {}


def _tool_choice(generation: GenerationParams) -> Json:
    """Return the fields about the choice of tools, for requests with tools."""
    choice, one = generation.tool_choice, not generation.parallel_tool_calls
    if choice is None and not one:
        return {}
    field = _choice(choice if choice is not None else "auto")
    if one and field["type"] != "none":
        field["disable_parallel_tool_use"] = True
    return {"tool_choice": field}


def _choice(choice: str | Json) -> Json:
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if (name := chosen_function(choice)) is None:
        known = "auto, required, none, or {type: function, function: {name: ...}}"
        raise ConfigError(f"generation.tool_choice: should be {known} (found {choice!r})")
    return {"type": "tool", "name": name}


# Responses

# What is kept besides the answer: fields of `Message` of anthropic-python 2.14; the citations in the texts, and the
# blocks of tools that Anthropic runs itself.
OF_MESSAGE = frozenset({"container", "context_management", "stop_details", "stop_sequence"})
OF_CONTENT = frozenset({"blocks", "citations"})
_READ_BLOCKS = frozenset({"redacted_thinking", "text", "thinking", "tool_use"})


def _content_fields(blocks: list[Json]) -> Json:
    """Return what the content has besides texts, thoughts and calls."""
    citations = [one for block in blocks if block.get("citations") for one in members_of(block["citations"])]
    return {"citations": citations, "blocks": [block for block in blocks if is_unread(block)]}


def is_unread(block: Mapping[str, Any]) -> bool:
    """Whether the message has nothing of a block."""
    kind = block.get("type")
    return isinstance(kind, str) and kind not in _READ_BLOCKS and len(block) > 1 and not is_typed_text(block)


def described_by(message: Mapping[str, Any], usage: Any) -> Json:
    """Return what a message says about itself. The service tier is among the counts of tokens."""
    return description(message, NAMES) | description(as_object(usage), {"service_tier": "service_tier"})


def _blocks_in(content: Any, finish: Finish | None) -> list[Json]:
    """Return the content blocks of a message that are not null. Gateways send a text, or one block, without a list.

    Raises:
        ValueError: All blocks are null, or there is neither content nor a finish reason.
    """
    if content == [None] or (content is None and finish is None):
        raise ValueError("no content")
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in members_of(content)]


def _answer(blocks: list[Json], finish: Finish | None) -> Message:
    """Return the message of the assistant. Its thinking blocks are kept unchanged, to be sent back with signatures."""
    uses = [block for block in blocks if block.get("type") == "tool_use"]
    calls = without_cut_call(finish, read_calls(tool_use_call, uses))
    thoughts = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    text = "".join(text_in(block.get("text")) for block in blocks if is_typed_text(block))
    if not text and not calls and not thoughts and not any(map(_is_of_server, blocks)):
        text = json_of_unread(blocks)
    message: Json = {"role": Role.ASSISTANT, "content": None if calls and not text else text}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        reasoning = "".join(reasoning_of(block.get("thinking")) for block in thoughts)
        message |= {"reasoning_content": reasoning or None, THINKING: checked_depth(thoughts)}
    return Message.model_validate(message)


def _is_of_server(block: Json) -> bool:
    """Whether a block belongs to a tool that Anthropic runs itself."""
    kind = block.get("type")
    return isinstance(kind, str) and ("tool" in kind or kind == "container_upload")


def tool_use_call(block: Mapping[str, Any]) -> ToolCall:
    """Return the tool call of a `tool_use` block. The arguments are an object, its JSON text, or missing.

    Raises:
        KeyError, ValueError: The block names no function, or cannot be read.
    """
    given = block.get("input")
    arguments: Any = {} if given is None else given
    if not isinstance(arguments, dict | str):
        raise ValueError("the arguments are not an object")
    return tool_call({"id": block.get("id"), "function": {"name": block.get("name"), "arguments": arguments}})


def usage_in(usage: Any) -> Usage | None:
    """Return the tokens that a response reports. Tokens read from or written to the cache count as prompt tokens."""
    if not isinstance(usage, dict) or not usage:
        return None
    counts = cast(Mapping[str, Any], usage)
    cached, created = count_at(counts, "cache_read_input_tokens"), count_at(counts, "cache_creation_input_tokens")
    prompt = (count_at(counts, "input_tokens") or 0) + (cached or 0) + (created or 0)
    completion = count_at(counts, "output_tokens") or 0
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=cached,
        cache_creation_tokens=created,
        reasoning_tokens=count_at(object_at(counts, "output_tokens_details"), "thinking_tokens"),
        cost=cost_in_usage(counts),
        details=counted(
            cache_write_1h_tokens=count_at(object_at(counts, "cache_creation"), "ephemeral_1h_input_tokens"),
            web_searches=count_at(object_at(counts, "server_tool_use"), "web_search_requests"),
        ),
    )


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a response reports, whether it has an answer or not."""
    return usage_in(data.get("usage"))


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
    """Return the error within a successful response or a stream, with the status that it has as an HTTP response."""
    kind = object_at(data, "error").get("type")
    status = _STATUS.get(kind) if isinstance(kind, str) else None
    return error_within(body, status=status)
