"""Transforms JSON schemas for OpenAI's strict mode.

Sources: OpenAI's "Structured model outputs: supported schemas", and the schemas that openai-python 3.57 makes from
pydantic models, November 2026.
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.refs import resolve_ref

# Keywords whose values are schemas or lists of schemas, and keywords whose values are schemas by name.
_SCHEMAS = frozenset({"items", "anyOf", "allOf", "oneOf"})
_NAMED = frozenset({"properties", "$defs", "definitions"})


def to_strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `schema` for strict mode.

    Every object requires all of its properties and allows no others. No default is null. A reference has no other
    keywords beside it: they are merged with the target of the reference, or left out if the target contains the same
    reference.
    """
    return _strict(schema, schema, frozenset())


def _strict(schema: Any, root: dict[str, Any], within: frozenset[str]) -> Any:
    if isinstance(schema, list):
        return [_strict(one, root, within) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast(dict[str, Any], schema)
    ref = fields.get("$ref")
    if isinstance(ref, str) and len(fields) > 1:
        if ref in within:
            return {"$ref": ref}
        beside = {key: value for key, value in fields.items() if key != "$ref"}
        if (target := resolve_ref(root, ref)) is not None:
            return _strict({**target, **beside}, root, within | {ref})
    return _forbid_extra({key: _inner(key, value, root, within) for key, value in fields.items()})


def _inner(key: str, value: Any, root: dict[str, Any], within: frozenset[str]) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _strict(one, root, within) for name, one in cast(dict[str, Any], value).items()}
    return _strict(value, root, within) if key in _SCHEMAS else value


def _forbid_extra(fields: dict[str, Any]) -> dict[str, Any]:
    kind = fields.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        fields.setdefault("additionalProperties", False)
    if isinstance(properties := fields.get("properties"), dict):
        fields["required"] = list(cast(dict[str, Any], properties))
    if "default" in fields and fields["default"] is None:
        del fields["default"]
    return fields
