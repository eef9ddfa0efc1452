"""The images of a conversation as bytes, for models that run in this process."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from http.client import HTTPException, InvalidURL
from importlib import import_module
from io import BytesIO
from string import punctuation
from typing import Any
from urllib import request as http
from urllib.error import HTTPError
from urllib.parse import quote

from asyncinfer.aio.threads import ROWS
from asyncinfer.dialects.media import split_data_url
from asyncinfer.errors import InputError, RequestError
from asyncinfer.run.request import Request
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Type
from asyncinfer.types.files import MAX_FILE, with_files
from asyncinfer.types.results import InferenceErrorType, unanswerable

SECONDS = 60.0


async def with_images(request: Request) -> Request:
    """The request with the bytes of each image, from where its path or URL says.

    Raises:
        RequestError: one cannot be had.
    """
    conversation = request.conversation
    if not any(message.contains_images() for message in conversation.messages):
        return request
    read = await ROWS.run(partial(_read, conversation), abandon_on_cancel=True)
    return request._replace(conversation=read)


def images_of(conversation: Conversation) -> list[bytes]:
    """The bytes of the images, in their order."""
    items = [item for message in conversation.messages for item in message.image_content_items]
    return [item.binary for item in items if item.binary is not None]


def pixels(data: bytes) -> Any:
    """The image as Pillow has it, in RGB: palettes and transparency are not for models.

    Raises:
        RequestError: it cannot be read.
    """
    pillow: Any = import_module("PIL.Image")
    try:
        return pillow.open(BytesIO(data)).convert("RGB")
    except pillow.UnidentifiedImageError:
        raise unanswerable("an image cannot be read: Pillow knows no such kind of file") from None
    except Exception as error:
        raise unanswerable(f"an image cannot be read: {error}") from error


def _read(conversation: Conversation) -> Conversation:
    try:
        read = with_files(conversation)
    except InputError as error:
        raise unanswerable(str(error)) from error
    return read.model_copy(update={"messages": [_fetched(message) for message in read.messages]})


def _fetched(message: Message) -> Message:
    if not message.contains_images():
        return message
    return message.model_copy(update={"content": [_fetch(item) for item in message.content_items]})


def _fetch(item: ContentItem) -> ContentItem:
    if item.type != Type.IMAGE_URL or item.binary is not None:
        return item
    url = item.content or ""
    return item.model_copy(update={"binary": _inline(url) if url.startswith("data:") else _download(url)})


def _inline(url: str) -> bytes:
    try:
        return base64.b64decode(split_data_url(url)[1], validate=True)
    except binascii.Error as error:
        raise unanswerable(f"a data URL is not base64: {error}") from error


def _download(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise unanswerable(f"an image's URL begins with http://, https:// or data:, not {url[:40]!r}")
    try:
        asked = http.Request(quote(url, safe=punctuation), headers={"User-Agent": "asyncinfer"})
        with http.urlopen(asked, timeout=SECONDS) as answer:
            data: bytes = answer.read(MAX_FILE + 1)
            left: int | None = answer.length
    except HTTPError as error:
        error.close()
        raise _unreachable(url, error, error.code) from error
    except (InvalidURL, ValueError) as error:
        raise unanswerable(f"the image's URL {url!r} is none: {error}") from error
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error
    if len(data) > MAX_FILE:
        raise unanswerable(f"the image at {url!r} is larger than {MAX_FILE >> 20} MiB")
    if left:
        raise _unreachable(url, f"the connection broke off with {left} bytes to come")
    return data


def _unreachable(url: str, error: Exception | str, status: int | None = None) -> RequestError:
    passing = status is None or status == 429 or status >= 500
    return RequestError(
        f"the image at {url!r} cannot be had: {error}",
        error_type=InferenceErrorType.CONNECTION,
        status_code=status,
        is_retryable=passing,
    )
