"""The memory of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_OBJECT = 64  # About the bytes of a small object.


def value_size(value: Any) -> int:
    """About how many bytes of memory a value of a column needs, with all of its parts.

    The elements of a list count like its first one if that is a number.
    """
    if isinstance(value, str | bytes | bytearray):
        return _OBJECT + len(value)
    if isinstance(value, Mapping):
        return _OBJECT + sum(map(value_size, cast(Mapping[str, Any], value).values()))
    if isinstance(value, list | tuple):
        parts = cast(list[Any], value)
        if parts and isinstance(parts[0], int | float):
            return _OBJECT * (1 + len(parts))
        return _OBJECT + sum(map(value_size, parts))
    return _OBJECT + int(getattr(value, "nbytes", 0))  # Arrays of numpy.
