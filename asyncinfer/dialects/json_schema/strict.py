"""Transforms JSON schemas for OpenAI's strict mode.

Sources: OpenAI's "Structured model outputs: supported schemas", its errors about other keywords, and the schemas that
openai-python 3.57 makes from pydantic models, November 2026.
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.constraints import describe_unsupported
from asyncinfer.dialects.json_schema.growth import remembered
from asyncinfer.dialects.json_schema.open_parents import parents_in_members
from asyncinfer.dialects.json_schema.ref_siblings import without_ref_siblings
from asyncinfer.dialects.json_schema.tuples import with_prefix_items
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import Schema, describes_object, is_object, map_subschemas

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_UNSUPPORTED = frozenset(
    {
        *("allOf", "contains", "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "maxLength"),
        *("maxProperties", "minContains", "minLength", "minProperties", "not", "patternProperties", "propertyNames"),
        *("then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
    }
)


def to_openai_strict(schema: Schema) -> Schema:
    """Return a copy of `schema` with the keywords that OpenAI accepts in strict mode, and as `to_strict` makes it.

    Constraints that OpenAI refuses are in the descriptions. A tuple is a list with items of any of its types.

    Raises:
        SchemaTooLargeError: The schema is too large in these keywords, or nested too deeply.
    """
    return _openai_strict(schema)


def to_strict(schema: Schema) -> Schema:
    """Return a copy of `schema` for strict mode.

    Every object requires all of its properties and allows no others. No default is null. A reference has no other
    keywords next to it: they are merged with the target of the reference, or left out if the target contains the same
    reference.

    Raises:
        SchemaTooLargeError: The schema is too large in this form, or nested too deeply.
    """
    return _strict(schema)


@remembered
def _openai_strict(schema: Schema) -> Schema:
    plain = parents_in_members(unions_as_any_of(_with_type(with_prefix_items(schema))))
    return _forbid_extra(describe_unsupported(_without_tuples(plain), _is_supported))


@remembered
def _strict(schema: Schema) -> Schema:
    return _forbid_extra(parents_in_members(schema))


def _with_type(schema: Schema) -> Schema:
    """Return a copy of `schema` in which schemas with properties have the type of objects if they have no type."""
    fields = map_subschemas(schema, _with_type)
    return {"type": "object", **fields} if describes_object(fields) else fields


def _forbid_extra(schema: Schema) -> Schema:
    return without_ref_siblings(schema, lambda one: len(one) == 1, _forbid_extra_in)


def _forbid_extra_in(fields: Schema) -> Schema:
    properties = fields.get("properties")
    if is_object(fields) and (properties or "additionalProperties" not in fields):
        fields["additionalProperties"] = False
    if isinstance(properties, dict):
        fields["required"] = list(cast(Schema, properties))
    if "default" in fields and fields["default"] is None:
        del fields["default"]
    return fields


def _is_supported(key: str, value: Any) -> bool:
    return key not in _UNSUPPORTED and (key != "format" or value in _FORMATS)


def _without_tuples(schema: Schema) -> Schema:
    """Return a copy of `schema` with `items` in place of `prefixItems`, which strict mode does not accept."""
    fields = map_subschemas(schema, _without_tuples)
    if (members := fields.pop("prefixItems", None)) is None:
        return fields
    rest = fields.get("items")
    distinct = [one for place, one in enumerate(members) if one not in members[:place]]
    distinct += [rest] if isinstance(rest, dict) and rest not in distinct else []
    return {**fields, "items": distinct[0] if len(distinct) == 1 else {"anyOf": distinct}}
