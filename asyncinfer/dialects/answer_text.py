"""Reads the text and the reasoning of an answer, in any form that servers give them in OpenAI's format.

Forms, November 2026: a text; a list of parts (`ThinkChunk`, `TextChunk` and `ReferenceChunk` of Mistral's SDKs,
OpenAI's `text` and `refusal` parts, LiteLLM's `thinking_blocks`); `reasoning_details` (openrouter 1.3); the parsed
object of a JSON answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import to_json

from asyncinfer.dialects.fields import as_object

# The fields with the reasoning of a message, or of a piece of one, in the order of preference. All but the first two
# are rare.
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
_RARE_REASONING = frozenset(_REASONING[2:])
_REASONING_KINDS = ("thinking", "reasoning", "redacted")
# The fields with the text of a part, and those with the text of a thought.
_TEXTS = ("text", "refusal", "output_text", "content", "value")
_THOUGHTS = ("thinking", "reasoning", "text", "summary", "content")
_IMAGE = "image_url"
_MOST_LEVELS = 8


def text_of(content: Any) -> str:
    """Return the text of the content of an answer.

    Raises:
        TypeError: The content is neither a text, nor parts, nor an object.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, dict) and "type" not in content:
        fields = cast(dict[str, Any], content)
        return _text(fields) or (to_json(fields).decode() if fields else "")
    return "".join(map(_text, _parts(content)))


def thoughts_of(content: Any) -> str:
    """Return the reasoning within the content of an answer."""
    if isinstance(content, str | None):
        return ""
    return "".join(reasoning_of(part) for part in _parts(content) if _is_thought(part))


def images_in(content: Any) -> list[dict[str, Any]]:
    """Return the texts and images in a list of parts, in their order; an empty list if there is no image."""
    items: list[dict[str, Any]] = []
    for part in _parts(content):
        if as_object(part).get("type") == _IMAGE:
            items.append(part)
        elif text := _text(part):
            items.append({"type": "text", "text": text})
    return items if any(item["type"] == _IMAGE for item in items) else []


def reasoning_in(message: Mapping[str, Any]) -> str:
    """Return the reasoning beside the content of a message, or of a piece of one."""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str):
        return reasoning
    if not reasoning and _RARE_REASONING.isdisjoint(message):
        return ""
    return next((text for name in _REASONING if (text := reasoning_of(message.get(name)))), "")


def reasoning_of(value: Any, levels: int = _MOST_LEVELS) -> str:
    """Return the text of a thought: a text, an object with a text, or a list of these.

    Args:
        levels: How deep objects and lists may be nested. Deeper ones have no text.
    """
    if isinstance(value, str) or levels == 0:
        return value if isinstance(value, str) else ""
    if isinstance(value, list):
        return "".join(reasoning_of(one, levels - 1) for one in cast(list[Any], value))
    fields = as_object(value)
    texts = (reasoning_of(fields[name], levels - 1) for name in _THOUGHTS if name in fields)
    return next(filter(None, texts), "")


def _parts(content: Any) -> list[Any]:
    """Return the parts of content. Raises TypeError for other values."""
    parts = cast(list[Any], content) if isinstance(content, list) else [] if content is None else [content]
    if not all(isinstance(part, str | dict | None) for part in parts):
        raise TypeError("content of an unknown kind")
    return parts


def _is_thought(part: Any) -> bool:
    kind = as_object(part).get("type")
    return isinstance(kind, str) and kind.startswith(_REASONING_KINDS)


def _text(part: Any) -> str:
    """Return the text of a part; an empty text for a thought, an image or a reference."""
    if isinstance(part, str):
        return part
    fields = as_object(part)
    if _is_thought(part):
        return ""
    return next((text for name in _TEXTS if (text := _plain(fields.get(name)))), "")


def _plain(value: Any) -> str:
    """Return a text, or the text in an object, as in `{"text": {"value": "..."}}`."""
    text = as_object(value).get("value") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""
