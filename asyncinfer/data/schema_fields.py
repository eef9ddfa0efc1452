"""The columns that the properties of a JSON schema make, with their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType, kind_of
from asyncinfer.dialects.fields import as_list, as_object
from asyncinfer.dialects.json_schema.refs import resolve_ref

_KINDS = {"integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}
_FORMATS = {"date": Kind.DATE, "date-time": Kind.ANY_TIME}
# A larger type is not built: a schema that refers to itself describes values of any depth.
_MOST_LEVELS, _MOST_NODES = 32, 1000


class _TooLargeError(Exception):
    """The type of a property has too many levels or nodes."""


def fields_of(schema: Mapping[str, Any] | None) -> dict[str, ColumnType]:
    """Return the properties of the schema of an object or null, with the types of their columns; nothing for others.

    TEXT also stands for unions, free-form objects and recursive schemas.
    """
    root = {**(schema or {})}
    properties = as_object(_object_schema(root).get("properties"))
    return {name: _column_type(as_object(field), root) for name, field in properties.items()}


def _object_schema(root: dict[str, Any]) -> Mapping[str, Any]:
    """The schema with the properties of the root, which may refer to it."""
    schema: Mapping[str, Any] = root
    for _ in range(_MOST_LEVELS):
        if "$ref" in schema:
            schema = _target(schema, root)
        elif "properties" not in schema and len(options := _options(schema)) == 1:
            schema = options[0]
        else:
            return schema
    return {}


def _column_type(field: Mapping[str, Any], root: dict[str, Any]) -> ColumnType:
    try:
        return _PropertyType(root).type_of(field) or Kind.TEXT
    except _TooLargeError:
        return Kind.TEXT


class _PropertyType:
    """Finds the type of one property.

    Args:
        root: The whole schema, in which references are resolved.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def type_of(self, schema: Mapping[str, Any], level: int = 0) -> ColumnType | None:
        """Return the type of the values of a schema; None if they may have several.

        Raises:
            _TooLargeError: The type is too large.
        """
        self._nodes += 1
        if level > _MOST_LEVELS or self._nodes > _MOST_NODES:
            raise _TooLargeError
        if "$ref" in schema:
            return self.type_of(_target(schema, self._root), level + 1)
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
        types = [self.type_of(schema, level + 1) for schema in schemas]
        return types[0] if types and all(one == types[0] for one in types) else None

    def _list_type(self, schema: Mapping[str, Any], level: int) -> ListType | None:
        item_schemas = [*as_list(schema.get("prefixItems")), schema.get("items")]  # Those of a tuple come first.
        found = [as_object(one) for one in item_schemas if one not in (None, False)]
        items = self._common_type([one for one in found if not _is_null(one)], level)
        return ListType(items) if items is not None else None

    def _struct_type(self, schema: Mapping[str, Any], level: int) -> StructType | None:
        """The type of an object whose keys are all known.

        A schema without `additionalProperties` allows further keys. It has a struct all the same, because models seldom
        add any. If one does, the answer is kept as text.
        """
        fields = as_object(schema.get("properties"))
        if not fields or schema.get("additionalProperties", False) is not False or schema.get("patternProperties"):
            return None
        types = {name: self.type_of(as_object(field), level + 1) for name, field in fields.items()}
        return StructType({name: kind or Kind.TEXT for name, kind in types.items()})


def _options(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives that are not null: `anyOf`, `oneOf`, a single `allOf`, or a list of types; empty without any."""
    for key in ("anyOf", "oneOf"):
        if options := as_list(schema.get(key)):
            return [option for option in map(as_object, options) if not _is_null(option)]
    combined = as_list(schema.get("allOf"))
    if len(combined) == 1:
        return [as_object(combined[0])]
    return [{**schema, "type": kind} for kind in as_list(schema.get("type")) if kind != "null"]


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null"


def _type_of_values(schema: Mapping[str, Any]) -> Kind | None:
    """The type of the values that a schema lists."""
    values = as_list(schema.get("enum")) or [schema.get("const")]
    types: set[type[object]] = {type(value) for value in values if value is not None}
    kinds = {kind_of(value) for value in values if value is not None}
    return kinds.pop() if len(types) == len(kinds) == 1 and types <= {str, int, float, bool} else None


def _target(schema: Mapping[str, Any], root: dict[str, Any]) -> Mapping[str, Any]:
    """Return the schema that the reference in `schema` names; an empty one if there is none."""
    return resolve_ref(root, str(schema["$ref"])) or {}
