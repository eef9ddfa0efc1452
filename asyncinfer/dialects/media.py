"""Media types and data URLs (RFC 2397) of images and PDF documents."""

from __future__ import annotations

import base64

from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import FILE_PATHS, ContentItem

PDF = "application/pdf"
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# The first bytes of each format that chat APIs accept.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"%PDF-", PDF),
)


def media_type(data: bytes) -> str:
    """Return the media type of an image or a document, from its first bytes.

    Raises:
        RequestError: Chat APIs do not accept this type.
    """
    for signature, kind in _SIGNATURES:
        if data.startswith(signature) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return kind
    raise invalid_request("a file is neither a PNG, JPEG, GIF or WebP image nor a PDF document")


def data_url(data: bytes) -> str:
    """Return a data URL that contains the image or document."""
    return f"data:{media_type(data)};base64,{to_base64(data)}"


def split_data_url(url: str) -> tuple[str, str]:
    """Return the media type and the base64 text of a data URL.

    Raises:
        RequestError: The data is not in base64.
    """
    head, _, data = url.partition(",")
    kind, *parameters = head.removeprefix("data:").split(";")
    if "base64" not in parameters or not data:
        raise invalid_request(f"a data URL has no base64 data: it begins with {head[:40]!r}")
    return kind.lower(), data


def is_data_url(url: str) -> bool:
    """Whether this is a data URL. Upper and lower case do not matter."""
    return url[:5].lower() == "data:"


def inline_data(file: bytes | str) -> tuple[str, str] | None:
    """Return the media type and the base64 text of bytes or of a data URL; None for any other URL.

    Raises:
        RequestError: Chat APIs do not accept this type, or a data URL is not base64.
    """
    if isinstance(file, bytes):
        return media_type(file), to_base64(file)
    return split_data_url(file) if file.startswith("data:") else None


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def bytes_or_url(item: ContentItem) -> bytes | str:
    """Return the bytes of an image or a document, or its URL. A data URL begins with `data:` in lower case.

    Raises:
        RequestError: The file at a path has not been read, or its format does not match the type of the item.
    """
    if item.binary is None:
        if item.type in FILE_PATHS:
            raise invalid_request(f"the file {item.content!r} was not read")
        url = item.content or ""
        return f"data:{url[5:]}" if is_data_url(url) else url
    if (media_type(item.binary) == PDF) != item.is_document():
        raise invalid_request(f"an item of type {item.type} holds {media_type(item.binary)}")
    return item.binary
