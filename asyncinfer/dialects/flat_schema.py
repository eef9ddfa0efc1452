"""JSON schemas without references, for APIs that know none."""

from __future__ import annotations

from typing import Any, cast

_DEFINITIONS = ("$defs", "definitions")


def flat(schema: dict[str, Any]) -> dict[str, Any] | None:
    """A copy of `schema` in which what it refers to stands in the reference's place, with what stood beside the
    reference; None where a schema is part of itself, which cannot be written so.
    """
    try:
        return _flat(schema, schema, frozenset())
    except RecursionError:
        return None


def _flat(value: Any, root: dict[str, Any], within: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_flat(one, root, within) for one in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    ref = fields.get("$ref")
    if isinstance(ref, str) and ref in within:
        raise RecursionError
    if isinstance(ref, str) and (target := _target(root, ref)) is not None:
        beside = {key: one for key, one in fields.items() if key != "$ref"}
        return _flat({**target, **beside}, root, within | {ref})
    # The definitions themselves are left out: each stands where it is referred to.
    kept = ((key, one) for key, one in fields.items() if fields is not root or key not in _DEFINITIONS)
    return {key: _flat(one, root, within) for key, one in kept}


def _target(root: dict[str, Any], ref: str) -> dict[str, Any] | None:
    """What `#/$defs/Name` refers to; None where that is no schema of this document."""
    if not ref.startswith("#"):
        return None
    value: Any = root
    for part in ref.removeprefix("#").split("/")[1:]:
        value = cast(dict[str, Any], value).get(part) if isinstance(value, dict) else None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None
