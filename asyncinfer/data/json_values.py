"""Values of columns as JSON and as text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

_PLAIN = (str, int, float, bool, type(None))


def as_json(value: Any) -> Any:
    """Return a value that JSON can represent: dates in ISO 8601, bytes in base64, decimals as text, a
    missing value of pandas or numpy as null.

    Half of a surrogate pair, which UTF-8 cannot represent, becomes a question mark, also in the keys of objects.
    """
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {valid_text(as_text(key)): as_json(part) for key, part in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in cast(list[Any], value)]
    if is_missing(value):
        return None
    if isinstance(value, datetime | timedelta) and type(value) not in (datetime, timedelta):
        return cast(Any, value).isoformat()  # Those of pandas have nanoseconds.
    if callable(getattr(value, "tolist", None)):  # Numbers and arrays of numpy.
        return as_json(_numpy_values(value))
    try:
        return as_json(to_jsonable_python(value, fallback=str))
    except (PydanticSerializationError, UnicodeError):  # A part of an object has no JSON, or is no valid text.
        return valid_text(str(value))


def is_missing(value: Any) -> bool:
    """Whether a value is None, NA or NaT, as pandas and numpy write a missing value."""
    if value is None or isinstance(value, _PLAIN):
        return value is None
    return type(value).__name__ in ("NAType", "NaTType") or (_is_numpy_time(value) and str(value) == "NaT")


def valid_text(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def json_text(value: Any) -> bytes:
    """Return a value as JSON without line breaks."""
    return to_json(as_json(value), inf_nan_mode="constants")


def as_text(value: Any) -> str:
    """Return a value as the text of a CSV field. A null is empty; lists and dicts are JSON."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple() | dict():
            return json_text(cast(Any, value)).decode()
        case _:
            return as_text(as_json(value))


def _numpy_values(value: Any) -> Any:
    """The Python objects for a number or an array of numpy. Times are text, because their objects may be integers."""
    if not _is_numpy_time(value):
        return value.tolist()
    if not value.ndim:
        return str(value)
    texts = value.astype(str).astype(object)
    texts[value != value] = None  # NaT is the only value that differs from itself.
    return texts.tolist()


def _is_numpy_time(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m")
