"""Reduces a JSON schema that llguidance cannot compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from asyncinfer.engines.local.structured.bounds import NUMBERS, BoundedSchema, rewritten

# Keywords of strings and numbers. A grammar may not be able to express their values.
_LEAVES = ("pattern", "format", "multipleOf", "minLength", "maxLength", *NUMBERS)
# Keywords that llguidance merges if several schemas apply to one value, such as in `allOf`.
_MERGED = ("pattern", "format", "multipleOf", "minProperties", "maxProperties")


def without_failing(schema: Any, fails: Callable[[Any], bool]) -> BoundedSchema:
    """The schema without those keywords of strings and numbers, and those `patternProperties`, that do not compile.

    Args:
        fails: Whether a schema fails to compile.
    """
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        lost = [*_failing_leaves(node, fails), *_failing_names(node, fails)]
        dropped.extend(f"{path}: {keyword}" for keyword in lost)
        return {key: value for key, value in node.items() if key not in lost}

    return BoundedSchema(rewritten(schema, bound), tuple(dropped))


def without_merged(schema: Any) -> BoundedSchema:
    """The schema without the keywords that compile alone, but not always merged with those of other schemas."""
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        dropped.extend(f"{path}: {key}" for key in _MERGED if key in node)
        return {key: value for key, value in node.items() if key not in _MERGED}

    return BoundedSchema(rewritten(schema, bound), tuple(dropped))


def _failing_leaves(node: dict[str, Any], fails: Callable[[Any], bool]) -> list[str]:
    leaves = {key: node[key] for key in _LEAVES if key in node}
    kinds = {"type": node["type"]} if "type" in node else {}
    if not leaves or not fails(kinds | leaves):
        return []
    alone = [key for key, value in leaves.items() if fails(kinds | {key: value})]
    rest = {key: value for key, value in leaves.items() if key not in alone}
    # Each keyword compiles alone, but not all together: `pattern` with a length, or `multipleOf` with a range.
    together = [key for key in ("pattern", "multipleOf", "format") if key in rest]
    return [*alone, *together] if rest and fails(kinds | rest) else alone


def _failing_names(node: dict[str, Any], fails: Callable[[Any], bool]) -> list[str]:
    patterns = node.get("patternProperties")
    if not isinstance(patterns, dict):
        return []
    names = dict.fromkeys(cast(dict[str, Any], patterns), True)
    if not fails({"type": "object", "patternProperties": names}):
        return []
    return [key for key in ("patternProperties", "additionalProperties") if key in node]
