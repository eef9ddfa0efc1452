"""Writes the tuples of draft 7 of JSON Schema with the keywords of draft 2020-12."""

from __future__ import annotations

from asyncinfer.dialects.json_schema.walk import Schema, map_subschemas


def with_prefix_items(schema: Schema) -> Schema:
    """Return a copy of `schema` with `prefixItems` in place of a list in `items`, and `items` for `additionalItems`."""
    fields = map_subschemas(schema, with_prefix_items)
    rest = fields.pop("additionalItems", None)  # Has a meaning only next to a list.
    if not isinstance(fields.get("items"), list):
        return fields
    fields["prefixItems"] = fields.pop("items")
    return fields if rest is None else {**fields, "items": rest}
