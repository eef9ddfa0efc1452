"""Makes JSON schemas without references, for APIs that do not support references."""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.json_schema.refs import resolve_ref

_DEFINITIONS = ("$defs", "definitions")


def inline_refs(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a copy of `schema` with each reference replaced by its target. Keywords beside a reference are kept.

    Returns None if a schema contains itself, because it cannot be written without references.
    """
    try:
        return _inline(schema, schema, frozenset({"#"}))  # A reference to the root contains itself.
    except RecursionError:
        return None


def _inline(value: Any, root: dict[str, Any], within: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_inline(one, root, within) for one in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    ref = fields.get("$ref")
    if isinstance(ref, str) and ref in within:
        raise RecursionError
    if isinstance(ref, str) and (target := resolve_ref(root, ref)) is not None:
        beside = {key: one for key, one in fields.items() if key != "$ref"}
        return _inline({**target, **beside}, root, within | {ref})
    # The definitions are left out, because each reference is replaced by its definition.
    others = ((key, one) for key, one in fields.items() if fields is not root or key not in _DEFINITIONS)
    return {key: _inline(one, root, within) for key, one in others}
