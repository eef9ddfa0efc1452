"""Thinking parts: the reasoning of an answer, with the signatures that must be sent back with it.

An answer's message has its reasoning in `reasoning_content`, and signed data in additional keys, whose form differs
between APIs. A thinking part keeps these keys unchanged in `provider_details`, so that no API needs code here. The
parts that pydantic-ai's own `AnthropicModel` makes are read too: a history may move from that model to an engine.
Source: `pydantic_ai.models.anthropic` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pydantic_ai.messages import ThinkingPart, ToolCallPart

from asyncinfer.types.conversation import Message
from asyncinfer.types.tools import ToolCall

# The key of `provider_details` with the additional keys of the message, or of the tool call.
KEPT = "message_fields"
_REDACTED = "redacted_thinking"
_ANTHROPIC = "anthropic"


def thinking_of(message: Message, system: str) -> ThinkingPart | None:
    """Return the thinking part of an answer; None if there is neither reasoning nor signed data."""
    if not message.reasoning_content and not message.model_extra:
        return None
    kept = kept_details(message.model_extra)
    return ThinkingPart(message.reasoning_content or "", provider_name=system, provider_details=kept)


def kept_details(extra: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the `provider_details` that keep additional keys of a message or a tool call."""
    return {KEPT: dict(extra)} if extra else None


def kept_fields(part: ThinkingPart | ToolCallPart) -> dict[str, Any]:
    """Return the additional keys that a part keeps."""
    fields = (part.provider_details or {}).get(KEPT)
    return cast(dict[str, Any], fields) if isinstance(fields, dict) else {}


def fields_to_send(parts: Sequence[ThinkingPart]) -> dict[str, Any]:
    """Return the fields of a message that send thinking back to the API that it came from."""
    reasoning = "".join(part.content for part in parts)
    fields: dict[str, Any] = {"reasoning_content": reasoning} if reasoning else {}
    if blocks := list(_anthropic_blocks(parts)):
        fields["thinking_blocks"] = blocks
    for part in parts:
        fields |= kept_fields(part)
    return fields


def call_to_send(part: ToolCallPart, *, is_own: bool) -> ToolCall:
    """Return a tool call of an earlier answer. `is_own`: the call came from the API that it is sent to."""
    kept = kept_fields(part) if is_own else {}
    function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
    return ToolCall.model_validate({**kept, "id": part.tool_call_id, "function": function})


def _anthropic_blocks(parts: Iterable[ThinkingPart]) -> Iterable[dict[str, Any]]:
    for part in parts:
        if part.signature is None or part.provider_name != _ANTHROPIC:
            continue
        if part.id == _REDACTED:
            yield {"type": _REDACTED, "data": part.signature}
        else:
            yield {"type": "thinking", "thinking": part.content, "signature": part.signature}
