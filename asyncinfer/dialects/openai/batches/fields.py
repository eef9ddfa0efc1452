"""Reads fields of jobs and files. A field may be missing or have any type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asyncinfer.dialects.fields import as_count, as_list, as_object
from asyncinfer.types.http import malformed_response
from asyncinfer.types.times import parse_date, parse_number

# Years from 2001 to 2286. Other numbers are no times of a job.
_EARLIEST, _LATEST = 1e9, 1e10


def required_id(data: Mapping[str, Any], *keys: str) -> str:
    """Return the first id under one of the keys.

    Raises:
        RequestError: There is no id.
    """
    if (found := first_text(data, *keys)) is None:
        raise malformed_response(f"has no {keys[0]}")
    return found


def first_text(data: Mapping[str, Any], *keys: str) -> str | None:
    """Return the first text under one of the keys that is not empty. A whole number counts as text."""
    for key in keys:
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def first_time(data: Mapping[str, Any], *keys: str) -> datetime | None:
    """Return the first time under one of the keys: seconds since the epoch, or an ISO 8601 text."""
    return next((time for key in keys if (time := as_time(data.get(key))) is not None), None)


def as_time(value: Any) -> datetime | None:
    """Read seconds since the epoch, as a number or a text, or an ISO 8601 text."""
    if isinstance(value, str):
        value = parse_number(value) or parse_date(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _EARLIEST <= value < _LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)


def first_count(data: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first count under one of the keys."""
    return next((count for key in keys if (count := as_count(data.get(key))) is not None), None)


def listed_in(page: Any, *keys: str) -> list[Mapping[str, Any]]:
    """Return the objects of a page, which is a list or has it under one of the keys."""
    fields = as_object(page)
    lists = (as_list(page), *(as_list(fields.get(key)) for key in keys))
    return [as_object(one) for listed in lists for one in listed if as_object(one)]
