"""Images that a conversation names by their path."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.errors import InputError
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Type


def read_image(path: str) -> bytes:
    """The bytes of an image file. Blocks.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in it, or the home of nobody
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"the image {path!r} cannot be read: {why}") from None


def with_images(conversation: Conversation) -> Conversation:
    """The conversation, with the bytes of the images that it names by path. Blocks; raises as `read_image` does."""
    messages = [_with_images(message) for message in conversation.messages]
    return conversation.model_copy(update={"messages": messages})


def _with_images(message: Message) -> Message:
    if isinstance(message.content, str) or not message.content:
        return message
    return message.model_copy(update={"content": [_read(item) for item in message.content]})


def _read(item: ContentItem) -> ContentItem:
    if item.type is not Type.IMAGE_PATH or item.binary is not None:
        return item
    return item.model_copy(update={"binary": read_image(item.content or "")})
