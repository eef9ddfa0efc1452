"""Resolves references within JSON schemas."""

from __future__ import annotations

from typing import Any, cast


def resolve_ref(root: dict[str, Any], ref: str) -> dict[str, Any] | None:
    """Return the schema that a reference such as `#/$defs/Name` names in `root`; None if there is no such schema."""
    if not ref.startswith("#/"):
        return None
    value: Any = root
    for part in ref.removeprefix("#/").split("/"):
        value = cast(dict[str, Any], value).get(part) if isinstance(value, dict) else None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def with_target(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any] | None:
    """Return the target of the reference in `schema`, with the other keywords of `schema`. None without a target."""
    ref = schema.get("$ref")
    target = resolve_ref(root, ref) if isinstance(ref, str) else None
    return None if target is None else {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
