"""The columns that the properties of a JSON schema make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from asyncinfer.data.column_types import Kind, kind_of

_KINDS = {"string": Kind.TEXT, "integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}
_REFERENCE = "#/$defs/"


def fields_of(schema: Mapping[str, Any] | None) -> dict[str, Kind]:
    """Return the properties of the schema of an object, with what their values are; nothing for other schemas.

    Properties that have several types, lists and objects become JSON text.
    """
    root = schema or {}
    definitions = _mapping(root.get("$defs"))
    properties = _mapping(_target(root, definitions).get("properties"))
    return {name: _kind(_mapping(field), definitions) for name, field in properties.items()}


def fitting(fields: Mapping[str, Kind], value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values of the columns, or None if one does not fit, or if `value` has further properties."""
    if value.keys() - fields.keys():
        return None
    found: dict[str, Any] = {}
    for name, kind in fields.items():
        given = value.get(name)
        if not _fits(kind, given):
            return None
        found[name] = float(given) if kind is Kind.NUMBER and given is not None else given
    return found


def _fits(kind: Kind, value: Any) -> bool:
    if value is None or kind is Kind.TEXT:
        return True
    found = kind_of(value)
    return found is kind or (kind is Kind.NUMBER and found is Kind.INTEGER)


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
