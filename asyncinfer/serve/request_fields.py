"""Reads single fields of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.serve.api_errors import bad_request


def string_field(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field that holds a string; None if it is missing.

    Raises:
        ApiError: It holds something else.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request(f"{name}: should be a string.", name)
    return value


def boolean_field(fields: Mapping[str, Any], name: str) -> bool:
    """Return a field that holds a boolean; False if it is missing.

    Raises:
        ApiError: It holds something else.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"{name}: should be true or false.", name)
    return bool(value)


def object_field(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that holds an object; an empty one if it is missing.

    Raises:
        ApiError: It holds something else.
    """
    value: Any = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise bad_request(f"{name}: should be an object.", name)
    return cast(dict[str, Any], value or {})


def list_field(fields: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that holds a list; an empty one if it is missing.

    Raises:
        ApiError: It holds something else.
    """
    value: Any = fields.get(name)
    if value is not None and not isinstance(value, list):
        raise bad_request(f"{name}: should be a list.", name)
    return cast(list[Any], value or [])
