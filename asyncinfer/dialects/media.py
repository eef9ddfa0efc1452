"""Images and PDF documents as APIs receive them: by URL, or as base64 with a media type.

The media type is read from the bytes. The label of a data URL counts only for
documents whose bytes are of an unknown format.
Data URLs: RFC 2397.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote

from asyncinfer.dialects.image_conversion import CONVERTIBLE, converted
from asyncinfer.errors import invalid_request
from asyncinfer.types.content import FILE_PATHS, ContentItem
from asyncinfer.types.media_types import HEIC, PDF, sniffed_type, standard_type

# The images that OpenAI, Anthropic and Bedrock document, and those that Google documents, in November 2026.
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
GOOGLE_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", HEIC, "image/heif"})
# Both alphabets of base64, the second one for URLs.
_ONE_ALPHABET = str.maketrans("-_", "+/")


class InlineFile(NamedTuple):
    """A file within a request: its media type, and its bytes as base64."""

    media_type: str
    base64: str

    @property
    def data_url(self) -> str:
        return f"data:{self.media_type};base64,{self.base64}"


def file_of(item: ContentItem, images: frozenset[str] = IMAGES) -> InlineFile | str:
    """Return an image or a document as a request contains it: with its bytes, or by its URL.

    An image of a type that the API does not accept is converted.

    Args:
        images: The media types of images that the API accepts.

    Raises:
        RequestError: The file at a path has not been read, a data URL is not valid, the format does not match the type
            of the item, or the API does not accept it and it cannot be converted.
    """
    if item.binary is None:
        if item.type in FILE_PATHS:
            raise invalid_request(f"the file {item.content!r} was not read")
        url = item.content or ""
        return _in_data_url(item, url, images) if is_data_url(url) else url
    return _accepted(item, InlineFile(media_type(item.binary), ""), item.binary, images)


def _in_data_url(item: ContentItem, url: str, images: frozenset[str]) -> InlineFile:
    label, text, data = _of_data_url(url)
    kind = sniffed_type(data)
    if kind is None and item.is_image() and label in images | CONVERTIBLE:
        raise invalid_request(f"a data URL is labelled {label!r}, but its bytes are not of a known format of images")
    return _accepted(item, InlineFile(kind or label, text), data, images)


def _accepted(item: ContentItem, file: InlineFile, data: bytes, images: frozenset[str]) -> InlineFile:
    """Return the file with its base64 text, converted if the API does not accept its type."""
    if file.media_type in ({PDF} if item.is_document() else images):
        return file if file.base64 else InlineFile(file.media_type, to_base64(data))
    if item.is_document() or file.media_type not in CONVERTIBLE:
        raise invalid_request(f"an item of type {item.type} holds {file.media_type!r}, which this API does not accept")
    kind, data = converted(data, file.media_type)
    return InlineFile(kind, to_base64(data))


def media_type(data: bytes) -> str:
    """Return the media type of an image or a document, from its first bytes.

    Raises:
        RequestError: The format is unknown.
    """
    if (kind := sniffed_type(data)) is None:
        raise invalid_request("the format of a file is unknown: it is neither a known kind of image nor a PDF document")
    return kind


def split_data_url(url: str) -> tuple[str, str]:
    """Return the media type and the base64 text of a data URL.

    Raises:
        RequestError: The data is not in base64.
    """
    head, _, data = url.partition(",")
    kind, *parameters = (part.strip().lower() for part in head[5:].split(";"))
    if "base64" not in parameters or not data:
        raise invalid_request(f"a data URL has no base64 data: it begins with {head[:40]!r}")
    return kind, data


def from_data_url(url: str) -> bytes:
    """Return the bytes of a data URL.

    Raises:
        RequestError: The data is not in base64.
    """
    return _of_data_url(url)[-1]


def is_data_url(url: str) -> bool:
    """Whether this is a data URL. Upper and lower case do not matter."""
    return url[:5].lower() == "data:"


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _of_data_url(url: str) -> tuple[str, str, bytes]:
    """Return the media type that a data URL gives, its base64 text, and its bytes.

    The base64 text is empty if it must be written again.
    """
    label, text = split_data_url(url)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        text, data = "", _from_loose_base64(text)
    return standard_type(label), text, data


def _from_loose_base64(text: str) -> bytes:
    """Decode base64 that is percent-encoded, has white space or no padding, or uses the alphabet for URLs."""
    plain = "".join(unquote(text).split()).translate(_ONE_ALPHABET).rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise invalid_request(f"a data URL is not base64: {error}") from None
