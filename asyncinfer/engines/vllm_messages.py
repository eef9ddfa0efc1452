"""A conversation as vLLM's renderers take it: OpenAI's messages, with images as PIL has them."""

from __future__ import annotations

from typing import Any

from asyncinfer.engines.images import pixels
from asyncinfer.types.conversation import ContentItem, Conversation, Message
from asyncinfer.types.results import unanswerable


def messages_of(conversation: Conversation, *, takes_images: bool) -> list[dict[str, Any]]:
    """The messages. The images were read before (see `images`).

    Raises:
        RequestError: the model cannot take what is in them.
    """
    return [_message(message, takes_images) for message in conversation.messages]


def text_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages without their images, for those who look at the text only."""
    return [_in_text(message) for message in conversation.messages]


def _message(message: Message, takes_images: bool) -> dict[str, Any]:
    plain = _in_text(message)
    if isinstance(message.content, str) or all(item.is_text() for item in message.content_items):
        return plain
    if any(item.is_document() for item in message.content_items):
        raise unanswerable("vLLM reads no documents, and the conversation contains some; give their text or images")
    if not takes_images:
        raise unanswerable("this model reads text only, and the conversation contains images")
    return plain | {"content": [_part(item) for item in message.content_items]}


def _in_text(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role.value, "content": message.compute_flattened_text_content()}
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump(mode="json", exclude_none=True) for call in message.tool_calls]
    others = {"name": message.name, "tool_call_id": message.tool_call_id, "reasoning": message.reasoning_content}
    return plain | {name: value for name, value in others.items() if value is not None}


def _part(item: ContentItem) -> dict[str, Any]:
    if item.is_text():
        return {"type": "text", "text": item.content}
    return {"type": "image_pil", "image_pil": pixels(item.binary or b"")}
