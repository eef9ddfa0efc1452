"""Loads the images of a conversation, for local models."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from asyncinfer.aio.limiters import ROWS
from asyncinfer.config import ModelParams
from asyncinfer.dialects.media import from_data_url, is_data_url
from asyncinfer.dialects.pillow import open_image, why
from asyncinfer.engines.local.image_fetch import ImageFetcher
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import InputError, invalid_request
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.files import with_files
from asyncinfer.types.message import Message

# All images of a conversation are in memory at the same time. Together, they may have this many times the
# pixels of one.
_TOTAL_FACTOR = 4


async def load_images(request: Request) -> Request:
    """The request with the bytes of each image, read from its path or fetched from its URL.

    Raises:
        RequestError: An image cannot be fetched or read, or has more pixels than `model.max_image_pixels` allows.
    """
    conversation = request.conversation
    if not any(message.contains_images() for message in conversation.messages):
        return request
    fetched = await _fetch_all(conversation, request.model)
    read = partial(_read, fetched, request.model.max_image_pixels)
    return request._replace(conversation=await ROWS.run(read, abandon_on_cancel=True))


def image_bytes(conversation: Conversation) -> list[bytes]:
    """The bytes of the images, in order. The images must be loaded."""
    items = [item for message in conversation.messages for item in message.image_content_items]
    return [item.binary for item in items if item.binary is not None]


def decode_image(data: bytes) -> Any:
    """The image as a Pillow image in RGB. Models support neither palettes nor transparency.

    Raises:
        RequestError: The image cannot be read.
    """
    try:
        return open_image(data).convert("RGB")
    except Exception as error:
        raise invalid_request(f"an image cannot be read: {why(error)}") from None


async def _fetch_all(conversation: Conversation, model: ModelParams) -> Conversation:
    async with ImageFetcher(allow_private=model.allow_private_urls) as fetcher:
        messages = [await _fetched(message, fetcher) for message in conversation.messages]
    return conversation.model_copy(update={"messages": messages})


async def _fetched(message: Message, fetcher: ImageFetcher) -> Message:
    if not message.contains_images():
        return message
    items = [await _fetch(item, fetcher) for item in message.content_items]
    return message.model_copy(update={"content": items})


async def _fetch(item: ContentItem, fetcher: ImageFetcher) -> ContentItem:
    url = item.content or ""
    if item.type != Type.IMAGE_URL or item.binary is not None or is_data_url(url):
        return item
    return item.model_copy(update={"binary": await fetcher.fetch(url)})


def _read(conversation: Conversation, limit: int) -> Conversation:
    """The conversation with the bytes of its files and data URLs. Blocks."""
    try:
        read = with_files(conversation)
    except InputError as error:
        raise invalid_request(str(error)) from None
    read = read.model_copy(update={"messages": [_decoded(message) for message in read.messages]})
    _check_sizes(read, limit)
    return read


def _decoded(message: Message) -> Message:
    if not message.contains_images():
        return message
    return message.model_copy(update={"content": [_decode(item) for item in message.content_items]})


def _decode(item: ContentItem) -> ContentItem:
    if item.type != Type.IMAGE_URL or item.binary is not None:
        return item
    return item.model_copy(update={"binary": from_data_url(item.content or "")})


def _check_sizes(conversation: Conversation, limit: int) -> None:
    """Raise a RequestError for images that would take too much memory once they are decoded."""
    total = 0
    for place, message in enumerate(conversation.messages):
        for index, item in enumerate(message.content_items):
            if item.is_image() and item.binary is not None:
                size = _pixel_count(item.binary)
                total += size
                if size > limit:
                    what = f"the image has {size:,} pixels; model.max_image_pixels allows {limit:,}"
                    raise invalid_request(f"messages[{place}].content[{index}]: {what}")
    if total > limit * _TOTAL_FACTOR:
        what = f"the images have {total:,} pixels together; {_TOTAL_FACTOR} times model.max_image_pixels is allowed"
        raise invalid_request(f"{what} ({limit * _TOTAL_FACTOR:,})")


def _pixel_count(data: bytes) -> int:
    """The number of pixels in an image's header; 0 if it is not an image, which `decode_image` reports later."""
    pillow: Any = import_module("PIL.Image")
    try:
        with open_image(data) as image:
            return image.width * image.height
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        return 2 * pillow.MAX_IMAGE_PIXELS
    except Exception:
        return 0
