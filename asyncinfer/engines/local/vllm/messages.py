"""Converts a conversation to the messages that vLLM's renderers expect: OpenAI's messages, with Pillow images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncinfer.engines.local.chat_prompt import content_parts, text_content
from asyncinfer.engines.local.images import decode_image
from asyncinfer.engines.local.request import Request
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.merging import merged_messages
from asyncinfer.types.message import Message


def messages_of(conversation: Conversation, *, takes_images: bool) -> list[dict[str, Any]]:
    """The messages. Adjacent messages of one role are one message. The images must be loaded (see `images`).

    Raises:
        RequestError: The model does not support the content of a message.
    """
    return [_message(message, _content(message, takes_images)) for message in _merged(conversation)]


def text_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages without their images."""
    return [_message(message, message.compute_flattened_text_content()) for message in _merged(conversation)]


def with_merged_messages(request: Request) -> Request:
    """The request with adjacent messages of one role as one message, as for an answer."""
    messages = list(_merged(request.conversation))
    return request._replace(conversation=request.conversation.model_copy(update={"messages": messages}))


def _merged(conversation: Conversation) -> Sequence[Message]:
    return merged_messages(conversation.messages, as_text=True)


def _content(message: Message, takes_images: bool) -> Any:
    has_images = takes_images and not all(item.is_text() for item in message.content_items)
    return content_parts(message, _image_part) if has_images else text_content(message)


def _message(message: Message, content: Any) -> dict[str, Any]:
    result: dict[str, Any] = {"role": message.role.value, "content": content}
    if message.tool_calls:
        result["tool_calls"] = [call.model_dump(mode="json", exclude_none=True) for call in message.tool_calls]
    optional = {"name": message.name, "tool_call_id": message.tool_call_id, "reasoning": message.reasoning_content}
    return result | {name: value for name, value in optional.items() if value is not None}


def _image_part(image: ContentItem) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": decode_image(image.binary or b"")}
