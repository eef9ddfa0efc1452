"""Parsed answers whose model is not known: their JSON, and its schema, by the class of the object.

The columns of a run's output come from the model itself (`run/answer_model.py`), and are the same for a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

_DICT = TypeAdapter(dict[str, Any])


def parsed_json(parsed: object) -> Any:
    """The JSON value of a parsed answer, with the names under which the class writes its fields.

    Raises:
        ValueError: A serializer of the class raised an error.
    """
    try:
        if (adapter := _adapter(type(parsed))) is not None:
            return adapter.dump_python(parsed, mode="json", by_alias=True)
        return to_jsonable_python(parsed, by_alias=True, fallback=str)
    except Exception as error:  # A serializer may raise anything.
        raise ValueError(str(error)) from error


def with_plain_parts(parsed: dict[str, Any]) -> dict[str, Any]:
    """A parsed answer with dicts for the objects in it. Dates and times stay objects."""
    try:
        return _DICT.dump_python(parsed, by_alias=True)
    except Exception:  # A serializer may raise anything.
        return parsed


def class_schema(kind: type) -> Mapping[str, Any] | None:
    """The JSON schema of what `parsed_json` returns for objects of a class; None if the class has none."""
    if (adapter := _adapter(kind)) is not None:
        with suppress(Exception):  # A serializer may have no schema.
            return adapter.json_schema(mode="serialization")
        with suppress(Exception):
            return adapter.json_schema()
    return None


@lru_cache(maxsize=64)
def _adapter(kind: type) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(kind)
    except Exception:  # pydantic does not know the class: a type of the user's made the object.
        return None
