"""Turns the answer of an engine into the response of a model: parts, usage and finish reason.

Source: `pydantic_ai.messages` and `pydantic_ai.usage` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic_ai.messages import BinaryContent, FilePart, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.messages import FinishReason as AgentFinishReason
from pydantic_ai.usage import RequestUsage

from asyncinfer.integrations.pydantic_ai.compat import split_content_into_text_and_thinking
from asyncinfer.integrations.pydantic_ai.thinking import passthrough_details, thinking_of
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message
from asyncinfer.types.tools import ToolCall, additional_keys

_FINISH_REASONS: dict[FinishReason, AgentFinishReason] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_call",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.ERROR: "error",
}
# The metadata of an answer that has a field of its own in a response.
_FIELDS = frozenset({"usage", "finish_reason", "response_id", "response_model"})


def parts_of(message: Message, system: str, thinking_tags: tuple[str, str]) -> list[ModelResponsePart]:
    """Return the parts of an answer: its thinking, its texts and files, and its tool calls.

    Args:
        thinking_tags: The tags around thoughts that a model writes into its text.
    """
    thinking = thinking_of(message, system)
    parts: list[ModelResponsePart] = [] if thinking is None else [thinking]
    if isinstance(message.content, str):
        parts.extend(_text_parts(message.content, thinking_tags))
    else:
        parts.extend(_item_part(item) for item in message.content or ())
    parts.extend(_call_part(call, system) for call in message.tool_calls or ())
    return parts


def request_usage(counts: Mapping[str, int] | None) -> RequestUsage:
    """Return the usage of a request.

    Args:
        counts: The counts in the metadata of an answer; None if the API reports none.
    """
    if counts is None:
        return RequestUsage(unmeasured_requests=1)
    reasoning = counts.get("reasoning_tokens", 0)
    return RequestUsage(
        input_tokens=counts.get("prompt_tokens", 0),
        output_tokens=counts.get("completion_tokens", 0),
        cache_read_tokens=counts.get("cached_tokens", 0),
        cache_write_tokens=counts.get("cache_creation_tokens", 0),
        output_reasoning_tokens=reasoning,
        details={"reasoning_tokens": reasoning} if reasoning else {},
    )


def finish_reason_to_agent(reason: FinishReason) -> AgentFinishReason | None:
    """Return the finish reason in pydantic-ai's words; None if it is not known."""
    return _FINISH_REASONS.get(reason)


def provider_details(metadata: Mapping[str, Any], reason: FinishReason) -> dict[str, Any]:
    """Return the `provider_details` of an answer: the API's own finish reason, log probabilities and other metadata."""
    details = {name: value for name, value in metadata.items() if name not in _FIELDS}
    details["finish_reason"] = details.pop("raw_finish_reason", reason.value)
    return details


def _text_parts(text: str, thinking_tags: tuple[str, str]) -> list[ModelResponsePart]:
    if thinking_tags[0] in text:
        return list(split_content_into_text_and_thinking(text, thinking_tags))
    return [TextPart(text)] if text else []


def _item_part(item: ContentItem) -> ModelResponsePart:
    content = item.content or ""
    if item.type is Type.IMAGE_URL and content.startswith("data:"):
        return FilePart(BinaryContent.from_data_uri(content))
    return TextPart(content)


def _call_part(call: ToolCall, system: str) -> ToolCallPart:
    function, details = call.function, passthrough_details(call.model_extra)
    if details is None:
        return ToolCallPart(function.name, function.arguments, call.id)
    return ToolCallPart(function.name, function.arguments, call.id, provider_name=system, provider_details=details)


def call_details(plain: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id and the `provider_details` of a tool call, given as a dict, if it has passthrough data."""
    if details := passthrough_details(additional_keys(plain)):
        yield cast(str, plain["id"]), details
