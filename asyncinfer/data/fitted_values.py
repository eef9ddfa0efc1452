"""Fits the values of typed answers to the types of their columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, cast

from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType, is_int64
from asyncinfer.data.json_values import as_json, as_text

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHORTEST_TIME = len("2026-01-02T03:04")
_NANOSECONDS = re.compile(r"[.,][0-9]{6}0*[1-9]")


def fitting(fields: Mapping[str, ColumnType], value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the values of the columns, and whether they are all that `value` has.

    A value that does not fit becomes null as a whole: an integer outside 64 bits, an integer that no double represents
    in a column of numbers, a time with nanoseconds, or a list with one item that does not fit. `3.0` fits INTEGER, and
    every value fits TEXT.

    Args:
        value: As in JSON. Dates and times are ISO 8601.
    """
    found = {name: _column_value(kind, value.get(name)) for name, kind in fields.items()}
    is_lossless = fields.keys() >= value.keys() and all(
        found[name] is not None for name, given in value.items() if given is not None
    )
    return found, is_lossless


def _column_value(kind: ColumnType, value: Any) -> Any:
    if value is None or kind is Kind.TEXT:
        return value
    try:
        return _fitted(kind, value)
    except (ValueError, OverflowError):
        return None


def _fitted(kind: ColumnType, value: Any) -> Any:
    """Return the Python object for a value. Raises ValueError or OverflowError if it does not fit."""
    if value is None:
        return None
    match kind:
        case ListType():
            return [_fitted(kind.items, item) for item in _require_type(value, list)]
        case StructType():
            return {name: _fitted(kind.fields[name], item) for name, item in _struct_items(kind, value).items()}
        case Kind.TEXT:
            return as_text(as_json(value))
        case Kind.INTEGER | Kind.NUMBER:
            return _number(kind, value)
        case Kind.DATE:
            if not _DATE.fullmatch(_require_type(value, str)):
                raise ValueError
            return date.fromisoformat(value)
        case Kind.TIME | Kind.LOCAL_TIME | Kind.ANY_TIME:
            return _time(kind, _require_type(value, str))
        case _:
            return _require_type(value, bool)


def _require_type(value: Any, expected: type[Any]) -> Any:
    if not isinstance(value, expected):
        raise ValueError
    return value


def _struct_items(kind: StructType, value: Any) -> Mapping[str, Any]:
    found = cast(dict[str, Any], _require_type(value, dict))
    if not kind.fields.keys() >= found.keys():
        raise ValueError
    return found


def _number(kind: Kind, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if kind is Kind.NUMBER:
        number = float(value)
        if isinstance(value, int) and int(number) != value:
            raise ValueError
        return number
    whole = int(value)
    if whole != value or not is_int64(whole):
        raise ValueError
    return whole


def _time(kind: Kind, text: str) -> datetime:
    """A time in UTC, or a time without an offset."""
    if len(text) < _SHORTEST_TIME or _NANOSECONDS.search(text):
        raise ValueError
    time = datetime.fromisoformat(text.upper())
    if kind is (Kind.TIME if time.tzinfo is None else Kind.LOCAL_TIME):
        raise ValueError
    return time if time.tzinfo is None else time.astimezone(UTC)
