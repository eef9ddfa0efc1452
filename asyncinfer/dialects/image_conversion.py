"""Converts images for APIs that accept fewer formats. Uses Pillow, an optional package. Takes CPU time."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import Any

from asyncinfer.dialects.pillow import open_image, why
from asyncinfer.errors import MissingDependencyError, RequestError, invalid_request
from asyncinfer.types.media_types import HEIC, ICON

# Photographs become JPEG images, because they are many times larger as PNG.
_HEIF = frozenset({HEIC, "image/heif"})
_PHOTOGRAPHS = _HEIF | {"image/avif", "image/jp2"}
# The types that Pillow can read, HEIC and HEIF with the help of another package.
CONVERTIBLE = (
    _PHOTOGRAPHS
    | {"image/bmp", "image/gif", "image/qoi", "image/tiff", "image/webp"}
    | {*("image/sgi", "image/vnd-ms.dds", "image/x-pcx", "image/x-portable-anymap", "image/x-xbitmap", ICON)}
)
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
# Decoding takes up to four bytes per pixel.
_MAX_PIXELS = 64_000_000
_QUALITY = 95


def converted(data: bytes, kind: str) -> tuple[str, bytes]:
    """Return the media type and the bytes of an image that is converted to PNG or JPEG. Only its first frame is kept.

    Raises:
        RequestError: Pillow is not installed, or cannot read the image, or the image has more than 64 million pixels.
    """
    try:
        return _encoded(_icon(data) if kind == ICON else _upright(data), as_jpeg=kind in _PHOTOGRAPHS)
    except ImportError:
        raise _missing(kind, MissingDependencyError("pillow", "images")) from None
    except RequestError:
        raise
    except Exception as error:
        if kind in _HEIF and type(error).__name__ == "UnidentifiedImageError":
            raise _missing(kind, MissingDependencyError("pillow-heif", "images")) from None
        raise invalid_request(f"an image of type {kind!r} cannot be converted: {why(error)}") from None


def _upright(data: bytes) -> Any:
    """Return the image as its orientation tag says. The tag is lost by the conversion."""
    image = open_image(data)
    _check_pixels(image.width * image.height)
    operations: Any = import_module("PIL.ImageOps")
    return operations.exif_transpose(image)


def _icon(data: bytes) -> Any:
    """Return the largest image of an icon. Its images may be larger than its directory says."""
    count = int.from_bytes(data[4:6], "little")
    starts = [int.from_bytes(data[18 + 16 * place : 22 + 16 * place], "little") for place in range(count)]
    _check_pixels(max((_pixels_in_icon(data[start : start + 24]) for start in starts), default=0))
    image = open_image(data, ("ICO",))
    image.load()
    return image


def _pixels_in_icon(header: bytes) -> int:
    """Return the number of pixels of an image within an icon, which is a PNG image or a bitmap."""
    if header.startswith(b"\x89PNG"):
        width, height = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    else:
        width, height = (int.from_bytes(header[at : at + 4], "little", signed=True) for at in (4, 8))
    return abs(width * height)


def _check_pixels(pixels: int) -> None:
    if pixels > _MAX_PIXELS:
        raise invalid_request(f"an image has {pixels:,} pixels; at most {_MAX_PIXELS:,} can be converted")


def _encoded(image: Any, *, as_jpeg: bool) -> tuple[str, bytes]:
    buffer = BytesIO()
    if as_jpeg and not image.has_transparency_data:
        image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY)
        return "image/jpeg", buffer.getvalue()
    image = image if image.mode in _PNG_MODES else image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.save(buffer, "PNG")
    return "image/png", buffer.getvalue()


def _missing(kind: str, package: MissingDependencyError) -> RequestError:
    return invalid_request(f"this API does not accept {kind!r}, and the image cannot be converted: {package}")
