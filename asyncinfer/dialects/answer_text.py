"""Reads the text and the reasoning of an answer, in any form that servers give them in OpenAI's format.

Forms, November 2026: a text; a list of parts (`ThinkChunk`, `TextChunk` and `ReferenceChunk` of Mistral's SDKs,
OpenAI's `text` and `refusal` parts, LiteLLM's `thinking_blocks`); `reasoning_details` (openrouter 1.3); the parsed
object or list of a JSON answer. Content that is not made of known parts becomes its JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import to_json

from asyncinfer.dialects.fields import as_object, object_at

# The fields with the reasoning of a message, or of a piece of one, in the order of preference. All but the first two
# are rare.
_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
_RARE_REASONING = frozenset(_REASONING[2:])
_REASONING_KINDS = ("thinking", "reasoning", "redacted")
# The fields with the text of a part, and those with the text of a thought.
_TEXTS = ("text", "refusal", "output_text", "content", "value", "transcript")
_THOUGHTS = ("thinking", "reasoning", "text", "summary", "content")
_IMAGE, _REFUSAL = "image_url", "refusal"
# Types of parts with a text end with one of the first; types of parts without a text begin with one of the second.
_TEXT_KINDS = ("text", "text_delta", "refusal", "message")
_TEXTLESS_KINDS = (*_REASONING_KINDS, "reference", "citation", "image", "audio", "document", "file", "signature")
# The fields of a part without a type.
_UNTYPED = frozenset({"text", "refusal", "output_text", "annotations", "citations", "index", "logprobs"})
# The fields that say nothing about the content of a part.
_ENVELOPE = frozenset({"type", "id", "index", "role", "status"})
_MOST_LEVELS = 8


def text_of(content: Any) -> str:
    """Return the text of the content of an answer: of its parts, or its JSON text if it is not made of parts."""
    if isinstance(content, str):
        return content
    parts = _parts(content)
    if not parts:
        return ""
    return "".join(map(_text, parts)) if _are_parts(parts) else to_json(content).decode()


def json_of_unread(content: Any) -> str:
    """Return the JSON text of content that has no readable text; an empty text if the content is empty."""
    return to_json(content).decode() if _holds_value(content) else ""


def is_typed_text(part: Mapping[str, Any]) -> bool:
    """Whether the type of a part says that it has a text, or says nothing."""
    kind = part.get("type")
    return not isinstance(kind, str) or kind.endswith(_TEXT_KINDS)


def text_in(value: Any) -> str:
    """Return the text of a field: a text, a list of texts, or an object with a text. Other values become JSON text."""
    if isinstance(value, str | None):
        return value or ""
    if isinstance(value, list):
        return "".join(map(_text, cast(list[Any], value)))
    fields = as_object(value)
    inner = next((fields[name] for name in ("value", "text") if isinstance(fields.get(name), str)), None)
    return inner if inner is not None else json_of_unread(value)


def transcript_in(message: Mapping[str, Any]) -> str:
    """Return the transcript of a spoken answer."""
    return text_in(object_at(message, "audio").get("transcript")) if "audio" in message else ""


def thoughts_of(content: Any) -> str:
    """Return the reasoning within the content of an answer."""
    if isinstance(content, str | None):
        return ""
    return "".join(reasoning_of(part) for part in _parts(content) if _is_thought(part))


def refusal_in(content: Any, refusal: Any = None) -> str:
    """Return the refusal to answer in the content of an answer; an empty text if it has another text too.

    Args:
        refusal: The field for refusals beside the content.
    """
    parts = [part for part in _parts(content) if _text(part)]
    if any(as_object(part).get("type") != _REFUSAL for part in parts):
        return ""
    return "".join(map(_text, parts)) or text_of(refusal)


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
    """Return the reasoning outside the content of a message, or of a piece of one."""
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
    """Return the parts of content that are not empty. A single part may come without a list."""
    parts = cast(list[Any], content) if isinstance(content, list) else [content]
    return [part for part in parts if part or _is_number(part)]


def _are_parts(parts: list[Any]) -> bool:
    """Whether these are texts, or parts of which at least one is known."""
    objects = [as_object(part) for part in parts if isinstance(part, dict)]
    return any(map(_is_known, objects)) if objects else all(isinstance(part, str) for part in parts)


def _is_known(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    if isinstance(kind, str):
        return kind.endswith(_TEXT_KINDS) or kind.startswith(_TEXTLESS_KINDS)
    return _UNTYPED.issuperset(part.keys() - {"type"})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _holds_value(value: Any) -> bool:
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value)
        if isinstance(text := fields.get("text"), str):
            return bool(text)  # The text of a part; other fields describe it.
        return any(_holds_value(inner) for name, inner in fields.items() if name not in _ENVELOPE)
    if isinstance(value, list):
        return any(map(_holds_value, cast(list[Any], value)))
    return bool(value) or _is_number(value)


def _is_thought(part: Any) -> bool:
    kind = as_object(part).get("type")
    return isinstance(kind, str) and kind.startswith(_REASONING_KINDS)


def _text(part: Any) -> str:
    """Return the text of a part; an empty text for a thought, an image or a reference."""
    if not isinstance(part, dict):
        return text_in(part)
    fields = as_object(part)
    if _is_thought(part) or not (_is_known(fields) or isinstance(fields.get("text"), str)):
        return ""
    return next((text for name in _TEXTS if (text := text_in(fields.get(name)))), "")
