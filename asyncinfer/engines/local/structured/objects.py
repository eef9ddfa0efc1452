"""How many properties an object of a JSON schema may have, as far as llguidance 1.9 can count them.

It counts those that the schema does not list, and knows two forms for those that it lists: at least one of them, and
at most one, in an object without others.
"""

from __future__ import annotations

from typing import Any, cast

MAX_COUNTED = 50
"""Optional properties of an object of which one must, or at most one may, be there. The grammar's size is the square
of their number.
"""

_BOUNDS = ("minProperties", "maxProperties")
# Keywords that allow properties besides those listed in `properties`.
_OF_OTHERS = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}
)


def closes(node: dict[str, Any]) -> bool:
    """Whether a subschema lists its properties and does not speak of others."""
    return "properties" in node and not node.keys() & _OF_OTHERS


def listed(node: dict[str, Any]) -> set[str]:
    properties = node.get("properties")
    return set(cast(dict[str, Any], properties)) if isinstance(properties, dict) else set()


def optional(node: dict[str, Any]) -> int:
    """The number of properties that a subschema lists and does not require."""
    return len(listed(node) - _required(node))


def bounds_of_count(node: dict[str, Any]) -> list[str]:
    """Which of `minProperties` and `maxProperties` a subschema has, but for a minimum that it requires by name."""
    bounds = [key for key in _BOUNDS if isinstance(node.get(key), int)]
    is_idle = bounds == ["minProperties"] and node["minProperties"] <= len(_required(node))
    return [] if is_idle else bounds


def uncounted(node: dict[str, Any]) -> list[str]:
    """As `bounds_of_count`, those that a grammar cannot express."""
    bounds, count = bounds_of_count(node), optional(node)
    return [] if count == 0 or (count <= MAX_COUNTED and _is_one(node, bounds)) else bounds


def _is_one(node: dict[str, Any], bounds: list[str]) -> bool:
    least, most = (node[key] - len(_required(node)) if key in bounds else None for key in _BOUNDS)
    is_closed = node.get("additionalProperties") is False or closes(node)
    return (least or 0) <= 1 and most in (None, 1) and is_closed and not node.get("patternProperties")


def _required(node: dict[str, Any]) -> set[str]:
    required = node.get("required")
    return {str(one) for one in cast(list[Any], required)} if isinstance(required, list) else set()
