"""Transforms JSON schemas for Google's models.

Source: the keywords that Google's "Structured outputs" lists for `responseJsonSchema`, November 2026. Other keywords
are ignored, `const` and `allOf` among them, so the model would not know the tags of a union.
"""

from __future__ import annotations

from asyncinfer.dialects.json_schema.growth import remembered
from asyncinfer.dialects.json_schema.ref_siblings import without_ref_siblings
from asyncinfer.dialects.json_schema.tuples import with_prefix_items
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from asyncinfer.dialects.json_schema.walk import Schema, mentions

_CHANGED = frozenset({"$ref", "additionalItems", "allOf", "const", "discriminator", "items", "oneOf"})


def supported_schema(schema: Schema) -> Schema:
    """Return `schema` with `anyOf` and `enum` in place of keywords that Google ignores.

    Next to `$ref`, Google accepts only keywords that begin with `$`. If there are others, the target replaces the
    reference.
    The result may be `schema` itself.

    Raises:
        SchemaTooLargeError: The schema is too large in these keywords, or nested too deeply.
    """
    return _supported(schema) if mentions(schema, _CHANGED) else schema


@remembered
def _supported(schema: Schema) -> Schema:
    return without_ref_siblings(unions_as_any_of(with_prefix_items(schema)), _has_only_dollar_keys, _with_enum)


def _has_only_dollar_keys(schema: Schema) -> bool:
    return all(key.startswith("$") for key in schema)


def _with_enum(fields: Schema) -> Schema:
    value = fields.get("const")
    if isinstance(value, str | float | int) and not isinstance(value, bool):
        return {**{key: one for key, one in fields.items() if key != "const"}, "enum": [value]}
    return fields
