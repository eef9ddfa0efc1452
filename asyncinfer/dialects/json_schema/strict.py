"""Transforms JSON schemas for OpenAI's strict mode.

Sources: OpenAI's "Structured model outputs: supported schemas", its errors about other keywords, and the schemas that
openai-python 3.57 makes from pydantic models, November 2026.
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.constraints import describe_unsupported
from asyncinfer.dialects.json_schema.refs import with_target
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import Schema, is_object, map_subschemas

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
    """
    return to_strict(describe_unsupported(_without_tuples(unions_as_any_of(schema)), _is_supported))


def to_strict(schema: Schema) -> Schema:
    """Return a copy of `schema` for strict mode.

    Every object requires all of its properties and allows no others. No default is null. A reference has no other
    keywords beside it: they are merged with the target of the reference, or left out if the target contains the same
    reference.
    """
    return _strict(schema, schema, frozenset())


def _strict(schema: Schema, root: Schema, within: frozenset[str]) -> Schema:
    ref = schema.get("$ref")
    if isinstance(ref, str) and len(schema) > 1:
        if ref in within:
            return {"$ref": ref}
        if (merged := with_target(schema, root)) is not None:
            return _strict(merged, root, within | {ref})
    return _forbid_extra(map_subschemas(schema, lambda one: _strict(one, root, within)))


def _forbid_extra(fields: Schema) -> Schema:
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
