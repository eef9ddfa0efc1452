"""Finds the schemas within a JSON schema. Values of `const` and `default` are not schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from asyncinfer.dialects.fields import as_list, object_at

Schema = dict[str, Any]
# Keywords whose values are schemas or lists of schemas, and keywords whose values are schemas by name.
_SCHEMAS = frozenset(
    {
        *("additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "else", "if", "items", "not"),
        *("oneOf", "prefixItems", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
DEFINITIONS = ("$defs", "definitions")
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})


def map_subschemas(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Return a copy of `schema` whose direct subschemas are replaced by the results of `change`."""
    return {key: _changed(key, value, change) for key, value in schema.items()}


def _changed(key: str, value: Any, change: Callable[[Schema], Schema]) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _one(one, change) for name, one in cast(Schema, value).items()}
    if key in _SCHEMAS and isinstance(value, list):
        return [_one(one, change) for one in cast(list[Any], value)]
    return _one(value, change) if key in _SCHEMAS else value


def _one(value: Any, change: Callable[[Schema], Schema]) -> Any:
    return change(cast(Schema, value)) if isinstance(value, dict) else value


def mentions(value: Any, keywords: frozenset[str]) -> bool:
    """Return whether one of `keywords` is a key anywhere in a schema, even as the name of a property.

    This is much cheaper than a transformation, and most schemas need none.
    """
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if not keywords.isdisjoint(cast(Schema, one)):
                return True
            left += cast(Schema, one).values()
        elif isinstance(one, list):
            left += cast(list[Any], one)
    return False


def schemas_in(value: Any) -> list[Schema]:
    """Return a list of schemas. It is empty if `value` is not one."""
    members = as_list(value)
    return cast(list[Schema], members) if all(isinstance(one, dict) for one in members) else []


def is_object(schema: Schema) -> bool:
    """Whether a schema allows objects, according to its type."""
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def definitions_of(root: Schema) -> list[Any]:
    """Return the schemas that are defined at the top of a schema, for references to them."""
    return [one for key in DEFINITIONS for one in object_at(root, key).values()]


def describes_object(schema: Schema) -> bool:
    """Whether a schema allows objects, according to its type, or to its properties if it has no type."""
    return is_object(schema) or ("type" not in schema and isinstance(schema.get("properties"), dict))
