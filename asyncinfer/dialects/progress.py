"""Tell the events of a stream that bring a part of an answer from those that only keep the connection open.

Kept open in this way, as of November 2026: OpenRouter and others by comments, Anthropic by `ping` events, OpenAI's
format by chunks without a choice or with an empty delta, Bedrock by deltas without text.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import from_json

# What a server repeats in every event, whether it has something to say or not.
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
    """Whether an event's data hold more than the event's own description."""
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
