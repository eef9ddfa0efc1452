"""Makes the schemas of tools that APIs accept. Their top describes an object, without a union.

Sources: the errors of OpenAI ("schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the
top level") and Anthropic ("input_schema does not support oneOf, allOf, or anyOf at the top level"), November 2026.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.dialects.fields import as_list, object_at
from asyncinfer.dialects.json_schema.conjunction import both
from asyncinfer.dialects.json_schema.growth import Growth, remembered
from asyncinfer.dialects.json_schema.refs import without_top_ref
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import DEFINITIONS, Schema, schemas_in

_REFUSED = frozenset({"allOf", "anyOf", "const", "enum", "not", "oneOf"})


def object_schema(schema: Schema) -> Schema:
    """Return the schema of a tool's arguments with `type: object`, and without references and unions at its top.

    The properties of all members of a union are allowed, and those required that all members require.

    Raises:
        SchemaTooLargeError: The schema is too large in this form, or nested too deeply.
    """
    if "type" in schema and not schema.keys() & _REFUSED and "$ref" not in schema:
        return schema
    return _object_schema(schema)


@remembered
def _object_schema(schema: Schema) -> Schema:
    growth = Growth()
    plain = unions_as_any_of(_target(schema, schema, growth))
    plain = _without_union(plain, plain, growth)
    kept = {key: value for key, value in plain.items() if key not in _REFUSED}
    return {**kept, "type": "object", "properties": kept.get("properties") or {}}


def _target(schema: Schema, root: Schema, growth: Growth) -> Schema:
    """Follow the references at the top of a schema. The definitions of `root` are kept."""
    target = without_top_ref(schema, root, growth)
    return schema if target is schema else {**target, **{key: root[key] for key in DEFINITIONS if key in root}}


def _without_union(schema: Schema, root: Schema, growth: Growth) -> Schema:
    """Return `schema` with the properties of all members of its `anyOf`."""
    members = [_target(member, root, growth) for member in schemas_in(schema.get("anyOf"))]
    if not members:
        return schema
    merged = both(schema, {"properties": _properties_of_any(members)}, growth)
    required = [name for name in _required(members[0]) if all(name in _required(member) for member in members)]
    required = list(dict.fromkeys([*_required(schema), *required]))
    return {**merged, "required": required} if required else merged


def _properties_of_any(members: list[Schema]) -> Schema:
    """Return the properties of all members. If members describe a property differently, it is their `anyOf`."""
    found: dict[str, list[Any]] = {}
    for member in members:
        for name, schema in object_at(member, "properties").items():
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    return {name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for name, schemas in found.items()}


def _required(schema: Schema) -> list[Any]:
    return as_list(schema.get("required"))
