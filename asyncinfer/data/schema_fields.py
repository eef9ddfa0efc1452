"""The columns that the properties of a JSON schema make, with their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType, kind_of

_KINDS = {"integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}
_FORMATS = {"date": Kind.DATE, "date-time": Kind.ANY_TIME}
_DEFINITIONS = ("$defs", "definitions")
# A larger type is not built: a schema that refers to itself describes values of any depth.
_MOST_LEVELS, _MOST_PARTS = 32, 1000


class _TooLargeError(Exception):
    """The type of a property has too many levels or parts."""


def fields_of(schema: Mapping[str, Any] | None) -> dict[str, ColumnType]:
    """Return the properties of the schema of an object, with the types of their columns; nothing for other schemas.

    TEXT also stands for values of several types, objects with any keys, and values that contain values of the same
    schema.
    """
    root = schema or {}
    definitions = {
        f"#/{key}/{name}": _mapping(one) for key in _DEFINITIONS for name, one in _mapping(root.get(key)).items()
    }
    properties = _mapping(_target(root, definitions).get("properties"))
    return {name: _column_type(_mapping(field), definitions) for name, field in properties.items()}


def _column_type(field: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> ColumnType:
    try:
        return _PropertyType(definitions).type_of(field) or Kind.TEXT
    except _TooLargeError:
        return Kind.TEXT


class _PropertyType:
    """Finds the type of one property.

    Args:
        definitions: The schemas that others refer to, by the reference.
    """

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._parts = 0

    def type_of(self, schema: Mapping[str, Any], level: int = 0) -> ColumnType | None:
        """Return the type of the values of a schema; None if they may have several.

        Raises:
            _TooLargeError: The type is too large.
        """
        self._parts += 1
        if level > _MOST_LEVELS or self._parts > _MOST_PARTS:
            raise _TooLargeError
        if (target := _target(schema, self._definitions)) is not schema:
            return self.type_of(target, level + 1)
        if options := _options(schema):
            return self._common_type(options, level)
        match schema.get("type"):
            case "array":
                return self._list_type(schema, level)
            case "object":
                return self._struct_type(schema, level)
            case "string":
                return _FORMATS.get(str(schema.get("format")), Kind.TEXT)
            case None:
                return _type_of_values(schema)
            case kind:
                return _KINDS.get(str(kind))

    def _common_type(self, schemas: Sequence[Mapping[str, Any]], level: int) -> ColumnType | None:
        """The type that the values of all schemas have, apart from null."""
        types = [self.type_of(schema, level + 1) for schema in schemas if schema.get("type") != "null"]
        return types[0] if types and all(one == types[0] for one in types) else None

    def _list_type(self, schema: Mapping[str, Any], level: int) -> ListType | None:
        places = [*_listed(schema.get("prefixItems")), schema.get("items")]  # Those of a tuple come first.
        items = self._common_type([_mapping(place) for place in places if place not in (None, False)], level)
        return ListType(items) if items is not None else None

    def _struct_type(self, schema: Mapping[str, Any], level: int) -> StructType | None:
        fields = _mapping(schema.get("properties"))
        if not fields or schema.get("additionalProperties") or schema.get("patternProperties"):
            return None
        types = {name: self.type_of(_mapping(field), level + 1) for name, field in fields.items()}
        return StructType({name: kind or Kind.TEXT for name, kind in types.items()})


def _options(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of which one describes a value; nothing if it is the schema itself."""
    for key in ("anyOf", "oneOf"):
        if options := _listed(schema.get(key)):
            return [_mapping(option) for option in options]
    combined = _listed(schema.get("allOf"))
    if len(combined) == 1:
        return [_mapping(combined[0])]
    return [{**schema, "type": kind} for kind in _listed(schema.get("type"))]


def _type_of_values(schema: Mapping[str, Any]) -> Kind | None:
    """The type of the values that a schema lists."""
    values = _listed(schema.get("enum")) or [schema.get("const")]
    types: set[type[object]] = {type(value) for value in values if value is not None}
    kinds = {kind_of(value) for value in values if value is not None}
    return kinds.pop() if len(types) == len(kinds) == 1 and types <= {str, int, float, bool} else None


def _target(schema: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the definition that a schema refers to; the schema itself if it refers to none."""
    return definitions.get(str(schema["$ref"]), {}) if "$ref" in schema else schema


def _listed(value: object) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}
