"""Resolves references within JSON schemas."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import unquote

from asyncinfer.dialects.json_schema.conjunction import both
from asyncinfer.dialects.json_schema.growth import Growth

# A chain of more references probably leads back to its beginning.
_MOST_REFS = 10


def pointed_at(root: Any, ref: str) -> Any:
    """Return what a reference within `root` refers to, such as `#` or `#/$defs/Name`; None if there is no such place.

    The part after `#` is a JSON pointer (RFC 6901, April 2013), with percent signs as in URLs.
    """
    if not ref.startswith("#"):
        return None
    value = root
    for part in unquote(ref[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            items = cast(list[Any], value)
            value = items[int(name)] if name.isdecimal() and int(name) < len(items) else None
        else:
            value = cast(dict[str, Any], value).get(name) if isinstance(value, dict) else None
    return value


def resolve_ref(root: dict[str, Any], ref: str) -> dict[str, Any] | None:
    """Return the schema that a reference such as `#/$defs/Name` names in `root`; None if there is no such schema."""
    if not ref.startswith("#/"):
        return None
    value = pointed_at(root, ref)
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def with_target(schema: dict[str, Any], root: dict[str, Any], growth: Growth) -> dict[str, Any] | None:
    """Return the target of the reference in `schema`, merged with its other keywords. None without a target.

    Raises:
        SchemaTooLargeError: `growth` does not allow the copy.
    """
    ref = schema.get("$ref")
    target = resolve_ref(root, ref) if isinstance(ref, str) else None
    if target is None:
        return None
    growth.add_copy(target)
    return both({key: value for key, value in schema.items() if key != "$ref"}, target, growth)


def without_top_ref(schema: dict[str, Any], root: dict[str, Any], growth: Growth) -> dict[str, Any]:
    """Return `schema` with the reference at its top replaced by its target, which may be a reference too.

    Raises:
        SchemaTooLargeError: `growth` does not allow the copies.
    """
    for _ in range(_MOST_REFS):
        if (target := with_target(schema, root, growth)) is None:
            break
        schema = target
    return schema
