"""Merges two JSON schemas into one that allows what both allow."""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.growth import Growth
from asyncinfer.dialects.json_schema.walk import Schema

# How two values of a keyword become one, if a value must satisfy both. For other keywords, the first value is kept.
_LARGEST = frozenset({"exclusiveMinimum", "minimum", "minItems", "minLength", "minProperties"})
_SMALLEST = frozenset({"exclusiveMaximum", "maximum", "maxItems", "maxLength", "maxProperties"})
_NAMED = frozenset({"$defs", "definitions", "patternProperties", "properties"})
_LISTS = frozenset({"allOf", "anyOf", "required"})


def both(one: Schema, other: Schema, growth: Growth) -> Schema:
    """Return a schema that allows what both allow. A keyword whose two values cannot be joined keeps that of `one`.

    A `oneOf` becomes an `anyOf`, and two of them become one with a member for each pair.

    Raises:
        SchemaTooLargeError: There are too many pairs.
    """
    if "oneOf" in one or "oneOf" in other:
        one, other = with_any_of(one, growth), with_any_of(other, growth)
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _both_values(key, merged[key], value, growth) if key in merged else value
    if "$ref" in one and "$ref" in other and one["$ref"] != other["$ref"]:
        merged = both({key: value for key, value in merged.items() if key != "$ref"}, _with_refs(one, other), growth)
    return merged


def with_any_of(schema: Schema, growth: Growth) -> Schema:
    """Return `schema` with `anyOf` in place of `oneOf`. If it has both, each pair of members becomes one member."""
    if "oneOf" not in schema:
        return schema
    fields = {key: value for key, value in schema.items() if key != "oneOf"}
    return both(fields, {"anyOf": schema["oneOf"]}, growth)


def _with_refs(one: Schema, other: Schema) -> Schema:
    return {"allOf": [{"$ref": one["$ref"]}, {"$ref": other["$ref"]}]}


def _both_values(key: str, one: Any, other: Any, growth: Growth) -> Any:
    if key in _NAMED:
        return _both_named(one, other, growth)
    if key in ("items", "additionalProperties"):
        return _both_schemas(one, other, growth)
    if key in _LARGEST | _SMALLEST:
        return _bound(key, one, other)
    if key in _LISTS:
        return _both_lists(key, one, other, growth)
    if key == "type":
        return _common_types(one, other)
    return _common(one, other) if key == "enum" else one


def _both_named(one: Any, other: Any, growth: Growth) -> Any:
    """Return the schemas of both by their names. A value that is no object is as if it were missing."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return cast(Any, one if isinstance(one, dict) else other)
    merged = dict(cast(Schema, one))
    for name, value in cast(Schema, other).items():
        merged[name] = _both_schemas(merged[name], value, growth) if name in merged else value
    return merged


def _both_lists(key: str, one: Any, other: Any, growth: Growth) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        return cast(Any, one if isinstance(one, list) else other)
    mine, theirs = cast(list[Any], one), cast(list[Any], other)
    if key == "anyOf":
        return _pairs(mine, theirs, growth)
    return [*mine, *(value for value in theirs if value not in mine)]


def _pairs(mine: list[Any], theirs: list[Any], growth: Growth) -> list[Any]:
    pairs: list[Any] = []
    for one in mine:
        for other in theirs:
            pairs.append(_both_schemas(one, other, growth))
            growth.add_copy(pairs[-1])
    return pairs


def _bound(key: str, one: Any, other: Any) -> Any:
    """Return the bound that satisfies both. A value that is no number is as if it were missing."""
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return one if isinstance(one, int | float) else other
    return max(one, other) if key in _LARGEST else min(one, other)


def _both_schemas(one: Any, other: Any, growth: Growth) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return both(cast(Schema, one), cast(Schema, other), growth)
    if one is False or other is False:
        return False
    return cast(Any, one if isinstance(one, dict) else other)


def _common_types(one: Any, other: Any) -> Any:
    """Return the types that both have, each a list or a single name. Returns `one` if there are none.

    An integer is a number too.
    """
    mine, theirs = _as_list(one), _as_list(other)
    common = [name for name in mine if name in theirs or (name == "integer" and "number" in theirs)]
    if "number" in mine and "integer" in theirs and "integer" not in common:
        common.append("integer")
    if isinstance(one, list) and isinstance(other, list):
        return common or mine
    return cast(Any, common[0] if len(common) == 1 else common or one)


def _common(one: Any, other: Any) -> Any:
    """Return the values that both lists have. Returns `one` if there are none."""
    theirs = _as_list(other)
    return [value for value in _as_list(one) if value in theirs] or one


def _as_list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]
