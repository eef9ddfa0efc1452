"""Transforms JSON schemas for Anthropic's structured outputs.

Sources: "Structured outputs: JSON schema limitations", and the schemas that anthropic-python 2.14 makes from pydantic
models, November 2026.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.dialects.json_schema.constraints import describe_unsupported, described_by
from asyncinfer.dialects.json_schema.growth import remembered
from asyncinfer.dialects.json_schema.open_parents import parents_in_members
from asyncinfer.dialects.json_schema.tuples import with_prefix_items
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import Schema, describes_object, map_subschemas

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
_UNSUPPORTED = frozenset(
    {
        *("contains", "dependentRequired", "dependentSchemas", "else", "exclusiveMaximum", "exclusiveMinimum", "if"),
        *("maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains", "minLength"),
        *("minProperties", "minimum", "multipleOf", "not", "patternProperties", "propertyNames", "then"),
        *("unevaluatedItems", "unevaluatedProperties", "uniqueItems"),
    }
)
# Keywords that combine schemas, and the keyword that replaces each. The first one present is used.
_CHOICES = (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf"))


def supported_schema(schema: Schema) -> Schema:
    """Return a copy of `schema` that the API accepts.

    Unsupported constraints are moved into the descriptions. Every object that does not set `additionalProperties` has
    `additionalProperties: false`, because the API refuses objects without it.

    Raises:
        SchemaTooLargeError: The schema is too large in these keywords, or nested too deeply.
    """
    return _supported(schema)


@remembered
def _supported(schema: Schema) -> Schema:
    plain = parents_in_members(unions_as_any_of(with_prefix_items(schema)))
    return _forbid_extra(describe_unsupported(plain, _is_supported))


def _is_supported(key: str, value: Any) -> bool:
    if key == "minItems":
        return value in (0, 1)
    return key not in _UNSUPPORTED and (key != "format" or value in _FORMATS)


def _forbid_extra(schema: Schema) -> Schema:
    fields = map_subschemas(schema, _forbid_extra)
    if describes_object(fields):
        fields.setdefault("additionalProperties", False)
    return fields


def describe_constraints(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the schema of a pydantic model, with unsupported constraints moved into the descriptions.

    The API does not enforce lengths, ranges, patterns and defaults, but the model can read the descriptions. No object
    allows extra properties.
    """
    rest = dict(schema)
    result: dict[str, Any] = {}
    if (shared := rest.pop("$defs", None)) is not None:
        result["$defs"] = {name: describe_constraints(one) for name, one in shared.items()}
    if (ref := rest.pop("$ref", None)) is not None:
        return {**result, "$ref": ref}
    result |= _values(rest)
    result |= {key: rest.pop(key) for key in ("description", "title") if rest.get(key) is not None}
    if result.get("type") == "object":
        result |= _object(rest)
    elif result.get("type") == "array":
        result |= _array(rest)
    elif result.get("type") == "string" and rest.get("format") in _FORMATS:
        result["format"] = rest.pop("format")
    return described_by(result, rest) if rest else result


def _values(rest: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords for the allowed values: a list of values, other schemas, or a type."""
    kind = rest.pop("type", None)
    result = {key: rest.pop(key) for key in ("enum", "const") if key in rest}
    if result:
        return result
    for given, name in _CHOICES:
        if given in rest:
            return {name: [describe_constraints(one) for one in rest.pop(given)]}
    return {"type": kind} if kind is not None else {}


def _object(rest: dict[str, Any]) -> dict[str, Any]:
    properties = {name: describe_constraints(one) for name, one in rest.pop("properties", {}).items()}
    rest.pop("additionalProperties", None)
    required = {"required": rest.pop("required")} if "required" in rest else {}
    return {"properties": properties, "additionalProperties": False, **required}


def _array(rest: dict[str, Any]) -> dict[str, Any]:
    result = {"items": describe_constraints(rest.pop("items"))} if rest.get("items") is not None else {}
    if rest.get("minItems") in (0, 1):
        result["minItems"] = rest.pop("minItems")
    return result
