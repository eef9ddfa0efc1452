"""Reads fields of a response, each of which may hold anything, or be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

# No answer has more tokens, choices or calls than this. A larger number is an error of the server, and could be too
# large to add up or to write down.
_LARGEST_COUNT = 10**9
_LONGEST_COUNT = len(str(_LARGEST_COUNT))
# What is kept of an answer as it came lies a few levels deeper in the conversation, and JSON readers stop at 200.
_DEEPEST = 100


def group(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where there is none."""
    return as_group(data.get(key))


def as_group(value: Any) -> Mapping[str, Any]:
    """The object that `value` is; an empty one where it is none."""
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def count(data: Mapping[str, Any], key: str) -> int | None:
    """The number of tokens under `key`, as `as_count` reads it; None where there is none."""
    return as_count(data.get(key))


def as_count(value: Any) -> int | None:
    """The whole number from 0 to a billion that `value` is: 12, 12.0 or "12". None for anything else.

    A boolean is not a number.
    """
    if type(value) is int:
        return value if 0 <= value <= _LARGEST_COUNT else None
    if isinstance(value, str):
        text = value.strip()
        return as_count(int(text)) if len(text) <= _LONGEST_COUNT and text.isascii() and text.isdigit() else None
    return as_count(int(value)) if isinstance(value, float) and value.is_integer() else None


def as_text(value: Any) -> str:
    """The text that `value` is.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def as_id(value: Any) -> str:
    """The id that `value` is, which may be a number; an empty text where there is none.

    Raises:
        TypeError: it is something else.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else as_text(value or "")


def checked_depth(value: Any) -> Any:
    """`value`, which can be saved within a conversation and read back.

    Raises:
        ValueError: it is nested too deep.
    """
    _check_depth(value, _DEEPEST)
    return value


def _check_depth(value: Any, left: int) -> None:
    inner = cast(dict[str, Any], value).values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"nested more than {_DEEPEST} levels deep")
        for one in cast(list[Any], inner):
            _check_depth(one, left - 1)
