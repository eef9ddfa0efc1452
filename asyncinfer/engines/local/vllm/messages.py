"""A conversation as vLLM's renderers take it: OpenAI's messages, with images as PIL has them."""

from __future__ import annotations

from typing import Any

from asyncinfer.engines.local.chat_prompt import in_parts, in_text
from asyncinfer.engines.local.images import pixels
from asyncinfer.types.conversation import ContentItem, Conversation, Message


def messages_of(conversation: Conversation, *, takes_images: bool) -> list[dict[str, Any]]:
    """The messages. The images were read before (see `images`).

    Raises:
        RequestError: the model cannot take what is in them.
    """
    return [_message(message, _content(message, takes_images)) for message in conversation.messages]


def text_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages without their images, for those who look at the text only."""
    return [_message(message, message.compute_flattened_text_content()) for message in conversation.messages]


def _content(message: Message, takes_images: bool) -> Any:
    sees = takes_images and not all(item.is_text() for item in message.content_items)
    return in_parts(message, _with_pixels) if sees else in_text(message)


def _message(message: Message, content: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role.value, "content": content}
    if message.tool_calls:
        plain["tool_calls"] = [call.model_dump(mode="json", exclude_none=True) for call in message.tool_calls]
    others = {"name": message.name, "tool_call_id": message.tool_call_id, "reasoning": message.reasoning_content}
    return plain | {name: value for name, value in others.items() if value is not None}


def _with_pixels(image: ContentItem) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": pixels(image.binary or b"")}
