"""Opens images with Pillow, an optional package."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any

# Pillow's formats whose header gives the number of pixels. Other formats contain a further image of any size (ICO), or
# are rendered by another program (EPS).
_FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "GIF",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "PPM",
    "QOI",
    "PCX",
    "SGI",
    "DDS",
    "XBM",
)


def open_image(data: bytes, formats: tuple[str, ...] | None = None) -> Any:
    """Return the image as a Pillow image. Reads only its header.

    Args:
        formats: Pillow's formats that are accepted. The default is those whose header gives the number of pixels.

    Raises:
        ImportError: Pillow is not installed.
        Exception: Pillow cannot read the image. See `why`.
    """
    return import_module("PIL.Image").open(BytesIO(data), formats=formats or _formats())


def why(error: Exception) -> str:
    """Return the reason for an error. Messages of Pillow that may quote bytes of the file are replaced."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "Pillow does not support this file format"
    if type(error).__name__.startswith("DecompressionBomb"):
        return "it has too many pixels"
    if isinstance(error, OSError) and "'" not in str(error):
        return str(error)
    return f"its data are not valid ({type(error).__name__})"


@cache
def _formats() -> tuple[str, ...]:
    pillow: Any = import_module("PIL.Image")
    pillow.init()
    with suppress(ImportError):  # The package reads HEIC photographs.
        import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in _FORMATS if name in pillow.OPEN)
