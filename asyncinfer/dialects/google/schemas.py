"""Transforms JSON schemas for Google's models.

Source: the keywords that Google's "Structured outputs" lists for `responseJsonSchema`, November 2026. Other keywords
are ignored, `const` and `allOf` among them, so the model would not know the tags of a union.
"""

from __future__ import annotations

from asyncinfer.dialects.json_schema.refs import with_target
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import Schema, map_subschemas, mentions

_CHANGED = frozenset({"$ref", "const"})


def supported_schema(schema: Schema) -> Schema:
    """Return `schema` with `anyOf` and `enum` in place of keywords that Google ignores.

    Beside `$ref`, Google accepts only keywords that begin with `$`. If there are others, the target replaces the
    reference.
    The result may be `schema` itself.
    """
    plain = unions_as_any_of(schema)
    return _supported(plain, plain, frozenset()) if mentions(plain, _CHANGED) else plain


def _supported(schema: Schema, root: Schema, within: frozenset[str]) -> Schema:
    ref = schema.get("$ref")
    if isinstance(ref, str) and not all(key.startswith("$") for key in schema):
        if ref in within:
            return {"$ref": ref}
        if (merged := with_target(schema, root)) is not None:
            return _supported(merged, root, within | {ref})
    return _with_enum(map_subschemas(schema, lambda one: _supported(one, root, within)))


def _with_enum(fields: Schema) -> Schema:
    value = fields.get("const")
    if isinstance(value, str | float | int) and not isinstance(value, bool):
        return {**{key: one for key, one in fields.items() if key != "const"}, "enum": [value]}
    return fields
