"""Reads the fields of earlier answers that a client sends back, such as signed reasoning.

An API reads them in its own format, in which a block may also name a URL or a stored file. So only blocks and fields
that answers contain are accepted. Others are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asyncinfer.dialects.fields import as_object, members_of, object_at
from asyncinfer.dialects.google.thoughts import of_google, signed
from asyncinfer.dialects.openai.reasoning_details import sent_back_details
from asyncinfer.dialects.openai.responses.answer_items import sent_back_item
from asyncinfer.dialects.sent_back import known_block, plain_fields

Json = dict[str, Any]
_THOUGHTS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
_IMAGE_CALL = "image_generation_call"


def kept_fields(message: Mapping[str, Any]) -> Json:
    """Return the fields of an earlier answer that a message of the assistant keeps."""
    found = {name: read(message[name]) for name, read in _READERS.items() if message.get(name) is not None}
    return {name: value for name, value in found.items() if value}


def kept_of_call(call: Mapping[str, Any]) -> Json:
    """Return the further fields of a tool call: the signature of the thought behind it."""
    return _signature(call.get("extra_content"))


def image_count(kept: Mapping[str, Any]) -> int:
    """Return the number of images in the fields of an earlier answer."""
    items = [as_object(item) for name in ("output_items", "reasoning_items") for item in members_of(kept.get(name))]
    return sum(item.get("type") == _IMAGE_CALL for item in items)


def _thinking_blocks(given: Any) -> list[Json]:
    """Return the blocks of Anthropic's API and of Bedrock."""
    blocks = [as_object(block) for block in members_of(given)]
    return [known for block in blocks if (known := known_block(block, _THOUGHTS) or _of_bedrock(block))]


def _of_bedrock(block: Mapping[str, Any]) -> Json | None:
    content = object_at(block, "reasoningContent")
    if text := plain_fields(object_at(content, "reasoningText"), ("text", "signature")):
        return {"reasoningContent": {"reasoningText": text}}
    redacted = plain_fields(content, ("redactedContent",))
    return {"reasoningContent": redacted} if redacted else None


def _items(given: Any) -> list[Json]:
    """Return output items of the Responses API."""
    return [sent for item in members_of(given) if (sent := sent_back_item(as_object(item))) is not None]


def _signature(given: Any) -> Json:
    signature = of_google({"extra_content": given}).get("thought_signature")
    return signed(signature) if isinstance(signature, str) else {}


def _text(given: Any) -> str | None:
    return given if isinstance(given, str) else None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "extra_content": lambda given: _signature(given).get("extra_content"),
    "output_items": _items,
    "phase": _text,
    "reasoning_content": _text,
    "reasoning_details": sent_back_details,
    "reasoning_items": _items,
    "thinking_blocks": _thinking_blocks,
}
