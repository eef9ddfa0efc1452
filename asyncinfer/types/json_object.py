"""Reads JSON objects."""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import from_json


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object that a JSON text holds; None if it holds another value, or is not JSON."""
    try:
        value: Any = from_json(text)
    except ValueError:
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None
