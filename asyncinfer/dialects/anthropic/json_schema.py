"""Transforms JSON schemas for Anthropic's structured outputs.

Sources: "Structured outputs: JSON schema limitations", and the schemas that anthropic-python 2.14 makes from pydantic
models, November 2026.
"""

from __future__ import annotations

from typing import Any, cast

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
# Keywords whose values are schemas or lists of schemas, and keywords whose values are schemas by name.
_SCHEMAS = frozenset({"items", "anyOf", "allOf", "oneOf", "additionalProperties", "not", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})
# Keywords that combine schemas, and the keyword that replaces each. The first one present is used.
_CHOICES = (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf"))


def forbid_extra(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `schema` with `additionalProperties: false` in every object that does not set this keyword.

    The API refuses objects without it.
    """
    return _forbid_extra(schema)


def _forbid_extra(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_forbid_extra(one) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    fields = {key: _inner(key, value) for key, value in cast(dict[str, Any], schema).items()}
    kind = fields.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in fields):
        fields.setdefault("additionalProperties", False)
    return fields


def _inner(key: str, value: Any) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _forbid_extra(one) for name, one in cast(dict[str, Any], value).items()}
    return _forbid_extra(value) if key in _SCHEMAS else value


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
    if rest:
        constraints = "{" + ", ".join(f"{key}: {value}" for key, value in rest.items()) + "}"
        result["description"] = f"{result['description']}\n\n{constraints}" if "description" in result else constraints
    return result


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
