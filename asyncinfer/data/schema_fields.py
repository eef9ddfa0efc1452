"""The columns that the properties of a JSON schema make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.data.column_types import Kind, kind_of

_KINDS = {"string": Kind.TEXT, "integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}
_REFERENCE = "#/$defs/"
_INT64 = 1 << 63


def fields_of(schema: Mapping[str, Any] | None) -> dict[str, Kind]:
    """Return the properties of the schema of an object, with what their values are; nothing for other schemas.

    Properties that have several types, lists and objects become JSON text.
    """
    root = schema or {}
    definitions = _mapping(root.get("$defs"))
    properties = _mapping(_target(root, definitions).get("properties"))
    return {name: _kind(_mapping(field), definitions) for name, field in properties.items()}


def fitting(fields: Mapping[str, Kind], value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the values of the columns, and whether they are all that `value` has.

    What does not fit the type of its column is null. An integer may be written as 3.0, and has at most 64 bits.
    """
    found = {name: _fitted(kind, value.get(name)) for name, kind in fields.items()}
    is_whole = fields.keys() >= value.keys() and all(
        found[name] is not None for name, given in value.items() if given is not None
    )
    return found, is_whole


def _fitted(kind: Kind, value: Any) -> Any:
    if value is None or kind is Kind.TEXT:
        return value
    if kind is Kind.BOOLEAN or isinstance(value, bool) or not isinstance(value, int | float):
        return value if kind_of(value) is kind else None
    if kind is Kind.INTEGER:
        whole = int(value) if isinstance(value, int) or value.is_integer() else None
        return whole if whole is not None and -_INT64 <= whole < _INT64 else None
    try:
        return float(value)
    except OverflowError:
        return None


def _kind(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Kind:
    if (target := _target(field, definitions)) is not field:
        return _kind(target, {})
    kind: object = field.get("type")
    options = cast(list[Any], field.get("anyOf") or []) or [{"type": one} for one in _listed(kind)]
    others = [option for option in options if _mapping(option).get("type") != "null"]
    if len(others) == 1:
        return _kind(_mapping(others[0]), definitions)
    return _KINDS.get(str(kind), Kind.TEXT)


def _target(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition that a schema refers to; the schema itself if it refers to none."""
    reference = str(schema.get("$ref", ""))
    if not reference.startswith(_REFERENCE):
        return schema
    return _mapping(definitions.get(reference.removeprefix(_REFERENCE)))


def _listed(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
