"""Images in a column: paths, URLs, bytes, and the images of Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, cast

from asyncinfer.errors import InputError
from asyncinfer.types.content import ContentItem, Type

_URLS = ("http://", "https://", "data:")


def image_items(value: object) -> list[ContentItem]:
    """Return the images of one row. A null and an empty text or list mean that it has none.

    Args:
        value: A path or a URL, bytes, a dict with `bytes` or `path` (as `datasets` stores images), or a list of these.

    Raises:
        InputError: The value is of another type.
    """
    if isinstance(value, list | tuple):
        return [item for one in cast(list[object], value) for item in image_items(one)]
    if isinstance(value, Mapping):
        stored = cast(Mapping[str, Any], value)
        return image_items(stored.get("bytes") or stored.get("path"))
    if isinstance(value, PathLike):
        value = fspath(cast(PathLike[str], value))
    match value:
        case None | "" | b"":
            return []
        case str() if value.lower().startswith(_URLS):
            return [ContentItem(type=Type.IMAGE_URL, content=value)]
        case str():
            return [ContentItem(type=Type.IMAGE_PATH, content=value)]
        case bytes():
            return [ContentItem(type=Type.IMAGE_BINARY, binary=value)]
        case _:
            kind = type(value).__name__
            raise InputError(f"input.images: an image should be a path, a URL or bytes (found a value of type {kind})")
