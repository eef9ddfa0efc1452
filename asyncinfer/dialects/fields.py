"""Fields of what a server sent, each of which may hold anything, or be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def group(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where there is none."""
    return as_group(data.get(key))


def as_group(value: Any) -> Mapping[str, Any]:
    """The object that `value` is; an empty one where it is none."""
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def count(data: Mapping[str, Any], key: str) -> int | None:
    """The number of tokens under `key`; None where there is none."""
    value = data.get(key)
    return value if isinstance(value, int) and value >= 0 else None


def as_text(value: Any) -> str:
    """The text that `value` is.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
