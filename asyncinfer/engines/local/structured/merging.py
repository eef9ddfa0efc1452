"""Limits for a JSON schema as a whole. llguidance 1.9 merges all schemas that apply to a value into one, wherever they
are. Keywords that are small in each subschema may be large in the merged one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard, cast

from asyncinfer.engines.local.structured.divisors import too_large
from asyncinfer.engines.local.structured.objects import MAX_COUNTED, property_names

MAX_PATTERNS = 50
"""The most patterns for names of one object. llguidance compares all pairs, which takes minutes for hundreds."""

# Keywords that apply further schemas to the same value.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "$ref"})
# Keywords that llguidance merges with the schemas of `_IN_PLACE`.
_CONSTRAINTS = _IN_PLACE | {
    *("const", "enum", "type", "items", "additionalItems", "prefixItems", "minItems", "maxItems"),
    *("properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties"),
    *("minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class SchemaLimits(NamedTuple):
    """What subschemas may contain, given the schema as a whole.

    Args:
        dropped_divisors: The values of `multipleOf` that must be dropped.
        allows_counts: Whether an object may limit the number of its properties.
        allows_patterns: Whether an object may have `patternProperties`.
    """

    dropped_divisors: frozenset[float]
    allows_counts: bool
    allows_patterns: bool


def limits_of(nodes: Sequence[dict[str, Any]]) -> SchemaLimits:
    """The limits of a schema.

    Args:
        nodes: All subschemas.
    """
    divisors = too_large(value for node in nodes if is_number(value := node.get("multipleOf")))
    if not any(map(_merges, nodes)):
        return SchemaLimits(divisors, allows_counts=True, allows_patterns=True)
    names = {name for node in nodes for name in property_names(node)}
    patterns = {pattern for node in nodes for pattern in patterns_of(node)}
    return SchemaLimits(divisors, len(names) <= MAX_COUNTED, len(patterns) <= MAX_PATTERNS)


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
