"""Moves constraints that an API does not accept into the descriptions, which the model reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncinfer.dialects.json_schema.walk import Schema, map_subschemas


def describe_unsupported(schema: Schema, is_supported: Callable[[str, Any], bool]) -> Schema:
    """Return a copy of `schema` without the keywords that an API refuses. They are written into the descriptions.

    Args:
        is_supported: Whether the API accepts a keyword with a value.
    """
    kept = {key: value for key, value in schema.items() if is_supported(key, value)}
    fields = map_subschemas(kept, lambda one: describe_unsupported(one, is_supported))
    if lost := {key: value for key, value in schema.items() if key not in kept}:
        return described_by(fields, lost)
    return fields


def described_by(fields: Schema, lost: Schema) -> Schema:
    """Return `fields` with the constraints in `lost` at the end of the description."""
    text = "{" + ", ".join(f"{key}: {value}" for key, value in lost.items()) + "}"
    given = fields.get("description")
    return {**fields, "description": f"{given}\n\n{text}" if isinstance(given, str) else text}
