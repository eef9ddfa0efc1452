"""JSON schemas as Anthropic's structured outputs want them.

Written after "Structured outputs: JSON schema limitations" and what anthropic-python 2.13 makes of a pydantic model,
November 2026.
"""

from __future__ import annotations

from typing import Any, cast

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
# The keywords whose values are schemas, or lists of them; and those that hold schemas by name.
_SCHEMAS = frozenset({"items", "anyOf", "allOf", "oneOf", "additionalProperties", "not", "prefixItems"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})
# What is kept as it is, in the order in which the first that is there counts.
_CHOICES = (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf"))


def forbid_extra(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of `schema` in which every object takes only the properties that it names, unless it says otherwise:
    the API refuses an object that does not say.
    """
    return _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    fields = {key: _inner(key, value) for key, value in cast(dict[str, Any], schema).items()}
    kind = fields.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in fields):
        fields.setdefault("additionalProperties", False)
    return fields


def _inner(key: str, value: Any) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _closed(one) for name, one in cast(dict[str, Any], value).items()}
    return _closed(value) if key in _SCHEMAS else value


def adapted(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of a pydantic model's `schema`, closed, in which what the API does not hold answers to (lengths,
    ranges, patterns, defaults) has become part of the descriptions, where the model may read it.
    """
    left = dict(schema)
    made: dict[str, Any] = {}
    if (shared := left.pop("$defs", None)) is not None:
        made["$defs"] = {name: adapted(one) for name, one in shared.items()}
    if (ref := left.pop("$ref", None)) is not None:
        return {**made, "$ref": ref}
    made |= _values(left)
    made |= {key: left.pop(key) for key in ("description", "title") if left.get(key) is not None}
    if made.get("type") == "object":
        made |= _object(left)
    elif made.get("type") == "array":
        made |= _array(left)
    elif made.get("type") == "string" and left.get("format") in _FORMATS:
        made["format"] = left.pop("format")
    if left:
        told = "{" + ", ".join(f"{key}: {value}" for key, value in left.items()) + "}"
        made["description"] = f"{made['description']}\n\n{told}" if "description" in made else told
    return made


def _values(left: dict[str, Any]) -> dict[str, Any]:
    """Which values there may be: those listed, those of other schemas, or those of a type."""
    kind = left.pop("type", None)
    made = {key: left.pop(key) for key in ("enum", "const") if key in left}
    if made:
        return made
    for given, name in _CHOICES:
        if given in left:
            return {name: [adapted(one) for one in left.pop(given)]}
    return {"type": kind} if kind is not None else {}


def _object(left: dict[str, Any]) -> dict[str, Any]:
    properties = {name: adapted(one) for name, one in left.pop("properties", {}).items()}
    left.pop("additionalProperties", None)
    required = {"required": left.pop("required")} if "required" in left else {}
    return {"properties": properties, "additionalProperties": False, **required}


def _array(left: dict[str, Any]) -> dict[str, Any]:
    made = {"items": adapted(left.pop("items"))} if left.get("items") is not None else {}
    if left.get("minItems") in (0, 1):
        made["minItems"] = left.pop("minItems")
    return made
