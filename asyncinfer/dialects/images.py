"""Images as data URLs (RFC 2397)."""

from __future__ import annotations

import base64

from asyncinfer.errors import RequestError
from asyncinfer.types.results import unanswerable

# The first bytes of each format that chat APIs take.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def media_type(data: bytes) -> str:
    """The type of an image, by its first bytes.

    Raises:
        RequestError: it is none that chat APIs take.
    """
    for signature, kind in _SIGNATURES:
        if data.startswith(signature) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return kind
    raise _unknown(data)


def data_url(data: bytes) -> str:
    """The image as a URL that holds it."""
    return f"data:{media_type(data)};base64,{base64.b64encode(data).decode('ascii')}"


def _unknown(data: bytes) -> RequestError:
    return unanswerable(f"an image is neither PNG, JPEG, GIF nor WebP; it begins with {data[:8]!r}")
