"""What a JSON schema holds as a whole. llguidance 1.9 makes one schema of all those that apply to a value, wherever
they are, so that what is small in each subschema may be large in the merged one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard, cast

from asyncinfer.engines.local.structured.divisors import too_large
from asyncinfer.engines.local.structured.objects import MAX_COUNTED, listed

MAX_PATTERNS = 50
"""Patterns of names of one object. llguidance compares each two of them, which takes minutes for some hundred."""

_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "$ref"})
# Keywords that llguidance merges with those in place.
_CONSTRAINTS = _IN_PLACE | {
    *("const", "enum", "type", "items", "additionalItems", "prefixItems", "minItems", "maxItems"),
    *("properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class Whole(NamedTuple):
    """What the whole schema allows of its parts.

    `divisors`: those that have to be dropped; `counts`, `patterns`: whether an object may bound the number of its
    properties, and have patterns of names.
    """

    divisors: frozenset[float]
    counts: bool
    patterns: bool


def whole_of(nodes: Sequence[dict[str, Any]]) -> Whole:
    """
    Args:
        nodes: All subschemas.
    """
    divisors = too_large(value for node in nodes if is_number(value := node.get("multipleOf")))
    if not any(map(_merges, nodes)):
        return Whole(divisors, counts=True, patterns=True)
    names = {name for node in nodes for name in listed(node)}
    patterns = {pattern for node in nodes for pattern in patterns_of(node)}
    return Whole(divisors, counts=len(names) <= MAX_COUNTED, patterns=len(patterns) <= MAX_PATTERNS)


def patterns_of(node: dict[str, Any]) -> set[str]:
    patterns = node.get("patternProperties")
    return set(cast(dict[str, Any], patterns)) if isinstance(patterns, dict) else set()


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _merges(node: dict[str, Any]) -> bool:
    """Whether several schemas apply to one value."""
    options = node.get("allOf")
    several = isinstance(options, list) and len(cast(list[Any], options)) > 1
    return several or bool(node.keys() & _IN_PLACE and len(node.keys() & _CONSTRAINTS) > 1)
