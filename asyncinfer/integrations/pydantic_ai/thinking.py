"""Thinking parts: the reasoning of an answer, with the passthrough data that must be sent back with it.

A part keeps passthrough data unchanged in `provider_details`, so that no API needs code here. The parts that
pydantic-ai's own `AnthropicModel` makes are read too: a history may move from that model to an engine.
Source: `pydantic_ai.models.anthropic` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic_ai.messages import ThinkingPart, ToolCallPart

from asyncinfer.integrations.passthrough import REDACTED, THINKING_BLOCKS, redacted_block, thinking_block
from asyncinfer.types.message import Message
from asyncinfer.types.tools import ToolCall

# The key of `provider_details` with the additional keys of the message, or of the tool call.
_PASSTHROUGH = "passthrough"
_ANTHROPIC = "anthropic"


def thinking_of(message: Message, system: str) -> ThinkingPart | None:
    """Return the thinking part of an answer; None if there is neither reasoning nor passthrough data."""
    if not message.reasoning_content and not message.model_extra:
        return None
    details = passthrough_details(message.model_extra)
    return ThinkingPart(message.reasoning_content or "", provider_name=system, provider_details=details)


def passthrough_details(extra: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the `provider_details` that keep additional keys of a message or a tool call."""
    return {_PASSTHROUGH: dict(extra)} if extra else None


def passthrough_in(part: ThinkingPart | ToolCallPart) -> dict[str, Any]:
    """Return the additional keys that a part keeps."""
    keys = (part.provider_details or {}).get(_PASSTHROUGH)
    return cast(dict[str, Any], keys) if isinstance(keys, dict) else {}


def thinking_fields(parts: Sequence[ThinkingPart]) -> dict[str, Any]:
    """Return the fields of a message that send thinking back to the API that it came from."""
    reasoning = "".join(part.content for part in parts)
    fields: dict[str, Any] = {"reasoning_content": reasoning} if reasoning else {}
    if blocks := list(_anthropic_blocks(parts)):
        fields[THINKING_BLOCKS] = blocks
    for part in parts:
        fields |= passthrough_in(part)
    return fields


def call_of(part: ToolCallPart, *, with_passthrough: bool) -> ToolCall:
    """Return a tool call of an earlier answer. Only the API that the call came from may get its passthrough data."""
    extra = passthrough_in(part) if with_passthrough else {}
    function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
    return ToolCall.model_validate({**extra, "id": part.tool_call_id, "function": function})


def _anthropic_blocks(parts: Iterable[ThinkingPart]) -> Iterable[dict[str, Any]]:
    for part in parts:
        if part.signature is None or part.provider_name != _ANTHROPIC:
            continue
        yield redacted_block(part.signature) if part.id == REDACTED else thinking_block(part.content, part.signature)
