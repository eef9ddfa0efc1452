"""Images and PDF documents: their media types, and as data URLs (RFC 2397)."""

from __future__ import annotations

import base64

from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import FILE_PATHS, ContentItem

PDF = "application/pdf"
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
# The first bytes of each format that chat APIs take.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"%PDF-", PDF),
)


def media_type(data: bytes) -> str:
    """The type of an image or a document, by its first bytes.

    Raises:
        RequestError: chat APIs do not accept this type.
    """
    for signature, kind in _SIGNATURES:
        if data.startswith(signature) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return kind
    raise invalid_request("a file is neither a PNG, JPEG, GIF or WebP image nor a PDF document")


def data_url(data: bytes) -> str:
    """The image, or document, as a URL that holds it."""
    return f"data:{media_type(data)};base64,{in_base64(data)}"


def split_data_url(url: str) -> tuple[str, str]:
    """The media type of what a data URL holds, and that in base64.

    Raises:
        RequestError: it is not in base64.
    """
    head, _, data = url.partition(",")
    kind, *parameters = head.removeprefix("data:").split(";")
    if "base64" not in parameters or not data:
        raise invalid_request(f"a data URL has no base64 data: it begins with {head[:40]!r}")
    return kind.lower(), data


def holds_data(url: str) -> bool:
    """Whether this is a data URL; a scheme may be in any case."""
    return url[:5].lower() == "data:"


def held(file: bytes | str) -> tuple[str, str] | None:
    """The media type of what bytes, or a data URL, hold, and that in base64; None for another URL.

    Raises:
        RequestError: chat APIs do not accept this type, or a data URL is not base64.
    """
    if isinstance(file, bytes):
        return media_type(file), in_base64(file)
    return split_data_url(file) if file.startswith("data:") else None


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def file_of(item: ContentItem) -> bytes | str:
    """The bytes of an image or a document, or else its URL; one that holds it begins with `data:`, in small letters.

    Raises:
        RequestError: it was given by a path, and not read; or it is not of the kind that its type says.
    """
    if item.binary is None:
        if item.type in FILE_PATHS:
            raise invalid_request(f"{item.content!r} was not read")
        url = item.content or ""
        return f"data:{url[5:]}" if holds_data(url) else url
    if (media_type(item.binary) == PDF) != item.is_document():
        raise invalid_request(f"an item of type {item.type} holds {media_type(item.binary)}")
    return item.binary
