"""The number of properties of an object in a JSON schema, as far as llguidance 1.9 can count them.

llguidance counts the properties that the schema does not list. For listed properties it supports only "at least one"
and "at most one", in an object that allows no others.
"""

from __future__ import annotations

from typing import Any, cast

MAX_COUNTED = 50
"""The most optional properties of an object with such a limit. The grammar grows with the square of it."""

_LIMITS = ("minProperties", "maxProperties")
# Keywords that allow properties besides those listed in `properties`.
_ALLOW_OTHERS = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}
)


def lists_all_properties(node: dict[str, Any]) -> bool:
    """Whether a subschema lists properties and has no keyword about others."""
    return "properties" in node and not node.keys() & _ALLOW_OTHERS


def property_names(node: dict[str, Any]) -> set[str]:
    properties = node.get("properties")
    return set(cast(dict[str, Any], properties)) if isinstance(properties, dict) else set()


def optional_count(node: dict[str, Any]) -> int:
    """The number of properties that a subschema lists and does not require."""
    return len(property_names(node) - _required(node))


def count_limits(node: dict[str, Any]) -> list[str]:
    """Which of `minProperties` and `maxProperties` a subschema has. Ignores a minimum that `required` ensures."""
    limits = [key for key in _LIMITS if isinstance(node.get(key), int)]
    is_ensured = limits == ["minProperties"] and node["minProperties"] <= len(_required(node))
    return [] if is_ensured else limits


def inexpressible_limits(node: dict[str, Any]) -> list[str]:
    """The `count_limits` that a grammar cannot express."""
    limits, count = count_limits(node), optional_count(node)
    return [] if count == 0 or (count <= MAX_COUNTED and _is_one_or_none(node, limits)) else limits


def _is_one_or_none(node: dict[str, Any], limits: list[str]) -> bool:
    """Whether the limits mean "at least one" or "at most one" optional property, and no others are allowed."""
    least, most = (node[key] - len(_required(node)) if key in limits else None for key in _LIMITS)
    forbids_others = node.get("additionalProperties") is False or lists_all_properties(node)
    return (least or 0) <= 1 and most in (None, 1) and forbids_others and not node.get("patternProperties")


def _required(node: dict[str, Any]) -> set[str]:
    required = node.get("required")
    return {str(name) for name in cast(list[Any], required)} if isinstance(required, list) else set()
