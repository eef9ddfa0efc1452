"""Reads fields of responses and requests. A field may be missing or have any type."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, cast

# No answer has more tokens, choices or calls than this. A larger number is an error of the server, and Python cannot
# convert very large integers to text.
_LARGEST_COUNT = 10**9
_LONGEST_COUNT = len(str(_LARGEST_COUNT))
# Parts of an answer are saved a few levels deeper in the conversation, and pydantic's JSON parser refuses 200 levels.
_DEEPEST = 100


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list; otherwise an empty one."""
    return cast(list[Any], value) if isinstance(value, list) else []


def members_of(value: Any) -> list[Any]:
    """Return the members of a list that are not null. A single value may come without a list."""
    given = cast(list[Any], value) if isinstance(value, list) else [value]
    return [one for one in given if one is not None]


def object_at(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object under `key`; an empty one if there is no object."""
    return as_object(data.get(key))


def as_object(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is an object; otherwise an empty one."""
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def given_fields(data: Mapping[str, Any] | None, names: Container[str]) -> dict[str, Any]:
    """Return the fields with these names that are not null."""
    return {name: value for name, value in (data or {}).items() if name in names and value is not None}


def count_at(data: Mapping[str, Any], key: str) -> int | None:
    """Return the count under `key`, read by `as_count`, or None."""
    return as_count(data.get(key))


def counted(**counts: int | None) -> dict[str, int] | None:
    """Return the counts that are neither null nor 0; None if there are none."""
    return {name: count for name, count in counts.items() if count} or None


def as_count(value: Any) -> int | None:
    """Read 12, 12.0 or "12" as a whole number from 0 to a billion. None for anything else, booleans included."""
    if type(value) is int:
        return value if 0 <= value <= _LARGEST_COUNT else None
    if isinstance(value, str):
        text = value.strip()
        return as_count(int(text)) if len(text) <= _LONGEST_COUNT and text.isascii() and text.isdigit() else None
    return as_count(int(value)) if isinstance(value, float) and value.is_integer() else None


def as_text(value: Any) -> str:
    """Return `value` if it is text.

    Raises:
        TypeError: `value` is not text.
    """
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def as_id(value: Any) -> str:
    """Read an id, which may be a whole number. Returns an empty text if the value is not an id.

    Raises:
        TypeError: `value` is neither text nor a whole number.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else as_text(value or "")


def checked_depth(value: Any) -> Any:
    """Return `value` unchanged if it can be saved within a conversation and read back.

    Raises:
        ValueError: `value` is nested too deeply.
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
