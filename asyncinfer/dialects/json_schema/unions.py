"""Writes combinations of JSON schemas with `anyOf` alone, for APIs without `oneOf`, `discriminator` and `allOf`.

Each answer that the schema accepts is accepted by the result too.
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.refs import resolve_ref
from asyncinfer.dialects.json_schema.walk import Schema, map_subschemas, mentions, schemas_in

_COMBINATIONS = frozenset({"allOf", "discriminator", "oneOf"})
# How two values of a keyword become one, if a value must satisfy both. For other keywords, the first value is kept.
_LARGEST = frozenset({"exclusiveMinimum", "minimum", "minItems", "minLength", "minProperties"})
_SMALLEST = frozenset({"exclusiveMaximum", "maximum", "maxItems", "maxLength", "maxProperties"})
_NAMED = frozenset({"$defs", "definitions", "patternProperties", "properties"})


def unions_as_any_of(schema: Schema) -> Schema:
    """Return `schema` with `anyOf` in place of `oneOf`, without `discriminator`, and with merged `allOf`.

    The result may be `schema` itself, or share parts with it.

    A member of `allOf` that contains itself stays in `allOf`.
    """
    return _rewritten(schema, schema, frozenset()) if mentions(schema, _COMBINATIONS) else schema


def _rewritten(schema: Schema, root: Schema, within: frozenset[str]) -> Schema:
    merged = _Merging(root, within)
    fields = _with_any_of(merged.with_members(schema, within))
    fields = {key: value for key, value in fields.items() if key != "discriminator"}
    return map_subschemas(fields, lambda one: _rewritten(one, root, frozenset(merged.followed)))


class _Merging:
    """Merges a schema with the members of its `allOf`.

    Attributes:
        followed: The references that were replaced by their targets, here and in the schemas around this one.
    """

    def __init__(self, root: Schema, within: frozenset[str]) -> None:
        self._root, self.followed = root, set(within)

    def with_members(self, schema: Schema, within: frozenset[str]) -> Schema:
        """Return the merged schema. Members that contain themselves stay in its `allOf`."""
        members = schemas_in(schema.get("allOf"))
        if not members:
            return schema
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        if not merged and len(members) == 1:
            return members[0]
        left: list[Schema] = []
        for member in members:
            ref = member.get("$ref")
            target = {} if ref is None else resolve_ref(self._root, ref) if isinstance(ref, str) else None
            if target is None or ref in within:
                left.append(member)
                continue
            merged = both(merged, self._member(member, target, within))
        return {**merged, "allOf": left} if left else merged

    def _member(self, member: Schema, target: Schema, within: frozenset[str]) -> Schema:
        """Return a member, merged with the target of its reference and with its own members."""
        if (ref := member.get("$ref")) is not None:
            self.followed.add(ref)
            within = within | {ref}
        return self.with_members(both(target, {key: value for key, value in member.items() if key != "$ref"}), within)


def _with_any_of(schema: Schema) -> Schema:
    """Return `schema` with `anyOf` in place of `oneOf`. If it has both, each pair of members becomes one member."""
    if "oneOf" not in schema:
        return schema
    fields = {key: value for key, value in schema.items() if key != "oneOf"}
    return both(fields, {"anyOf": schema["oneOf"]})


def both(one: Schema, other: Schema) -> Schema:
    """Return a schema that allows what both allow. A keyword whose two values cannot be joined keeps that of `one`."""
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _both_values(key, merged[key], value) if key in merged else value
    return merged


def _both_values(key: str, one: Any, other: Any) -> Any:
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key in _NAMED:
        return one | {name: _both_schemas(one[name], value) if name in one else value for name, value in other.items()}
    if key in ("items", "additionalProperties"):
        return _both_schemas(one, other)
    if key in _LARGEST:
        return max(one, other)
    if key in _SMALLEST:
        return min(one, other)
    if key == "anyOf":
        return [_both_schemas(mine, theirs) for mine in one for theirs in other]
    return _common(one, other) if key in ("type", "enum") else one


def _both_schemas(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return both(cast(Schema, one), cast(Schema, other))
    if one is False or other is False:
        return False
    return cast(Any, one if other is True else other)


def _common(one: Any, other: Any) -> Any:
    """Return the types or values that both have, each a list or a single name. Returns `one` if there are none."""
    mine, theirs = _as_list(one), _as_list(other)
    common = [value for value in mine if value in theirs or (value == "integer" and "number" in theirs)]
    if "number" in mine and "integer" in theirs and "integer" not in common:
        common.append("integer")
    if isinstance(one, list) and isinstance(other, list):
        return common or mine
    return common[0] if common else mine[0]


def _as_list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]
