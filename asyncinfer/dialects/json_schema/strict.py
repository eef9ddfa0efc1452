"""JSON schemas as OpenAI's strict mode wants them.

Written after OpenAI's "Structured model outputs: supported schemas" and what openai-python 2.54 makes of a
pydantic model, November 2026.
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.refs import referred

# The keywords whose values are schemas, or lists of them; and those that hold schemas by name.
_SCHEMAS = frozenset({"items", "anyOf", "allOf", "oneOf"})
_NAMED = frozenset({"properties", "$defs", "definitions"})


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy of `schema` in which every object requires all properties that it names and takes no others, no
    default is null, and references stand alone: what stood beside one is merged with what it refers to.

    Beside a reference to what it is itself a part of, nothing can stand; that is left out.
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
        if (target := referred(root, ref)) is not None:
            return _strict({**target, **beside}, root, within | {ref})
    return _closed({key: _inner(key, value, root, within) for key, value in fields.items()})


def _inner(key: str, value: Any, root: dict[str, Any], within: frozenset[str]) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _strict(one, root, within) for name, one in cast(dict[str, Any], value).items()}
    return _strict(value, root, within) if key in _SCHEMAS else value


def _closed(fields: dict[str, Any]) -> dict[str, Any]:
    kind = fields.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        fields.setdefault("additionalProperties", False)
    if isinstance(properties := fields.get("properties"), dict):
        fields["required"] = list(cast(dict[str, Any], properties))
    if "default" in fields and fields["default"] is None:
        del fields["default"]
    return fields
