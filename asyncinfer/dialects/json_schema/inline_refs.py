"""JSON schemas without references, for APIs that know none."""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.refs import referred

_DEFINITIONS = ("$defs", "definitions")


def inline_refs(schema: dict[str, Any]) -> dict[str, Any] | None:
    """A copy of `schema` in which what it refers to stands in the reference's place, with what stood beside the
    reference; None where a schema is part of itself, which cannot be written so.
    """
    try:
        return _flat(schema, schema, frozenset({"#"}))  # the root is within itself
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
    if isinstance(ref, str) and (target := referred(root, ref)) is not None:
        beside = {key: one for key, one in fields.items() if key != "$ref"}
        return _flat({**target, **beside}, root, within | {ref})
    # The definitions themselves are left out: each stands where it is referred to.
    passthrough = ((key, one) for key, one in fields.items() if fields is not root or key not in _DEFINITIONS)
    return {key: _flat(one, root, within) for key, one in passthrough}
