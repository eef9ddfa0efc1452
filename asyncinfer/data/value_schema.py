"""The JSON schema of values whose schema is not known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncinfer.data.column_types import Kind, KindScan

_SCHEMAS = {
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.DATE: {"type": "string", "format": "date"},
}


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """Return a schema of JSON values, which may have dates and times; an empty one if they have several types.

    Objects have properties only if all of them have the same keys.
    """
    present = [value for value in values if value is not None]
    if not present:
        return {}
    if all(isinstance(value, dict) for value in present):
        return _object_schema(present)
    if all(isinstance(value, list | tuple | set | frozenset) for value in present):
        return {"type": "array", "items": schema_of([part for value in present for part in value])}
    if all(isinstance(value, datetime) for value in present):
        return {"type": "string", "format": "date-time"}
    if all(isinstance(value, str) for value in present):
        return {"type": "string"}
    scan = KindScan()
    for value in present:
        scan.add(value)
    return _SCHEMAS.get(scan.kind or Kind.TEXT, {})


def _object_schema(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = values[0]
    if any(value.keys() != first.keys() for value in values):
        return {"type": "object"}
    return {"type": "object", "properties": {name: schema_of([value[name] for value in values]) for name in first}}
