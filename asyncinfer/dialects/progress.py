"""Distinguishes events that bring a part of an answer from events that only keep the connection open.

Keep-alives as of November 2026: comments (OpenRouter and others), `ping` events (Anthropic), chunks without a choice or
with an empty delta (OpenAI's format), deltas without text (Bedrock).
"""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import from_json

# Fields that a server may repeat in every event, even if it brings no part of the answer.
_ENVELOPE = frozenset(
    {
        "contentBlockIndex",
        "created",
        "createTime",
        "id",
        "index",
        "model",
        "modelVersion",
        "object",
        "obfuscation",
        "p",  # Bedrock's padding
        "provider",
        "responseId",
        "role",
        "service_tier",
        "system_fingerprint",
        "type",
        "usage",
    }
)


def is_part(data: str | bytes) -> bool:
    """Whether an event has a value outside the fields in `_ENVELOPE`."""
    try:
        return _holds_value(from_json(data))
    except ValueError:
        return bool(data.strip())


def _holds_value(value: Any) -> bool:
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return any(name not in _ENVELOPE and _holds_value(inner) for name, inner in items)
    if isinstance(value, list):
        return any(map(_holds_value, cast(list[Any], value)))
    return bool(value)
