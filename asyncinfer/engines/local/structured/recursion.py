"""Finds the schemas that no finite value matches, because they require themselves again.

llguidance 1.9 compiles them, but then no token is valid where such a schema applies. These are the schemas that are not
in the least fixed point of "has a value if all schemas it needs have one".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

_MAX_ROUNDS = 50
"""One or two rounds are enough for definitions in a usual order. After these, all other schemas count as finite."""


def replace_infinite(nodes: list[Any], root: Any, resolve: Callable[[str], Any]) -> Any:
    """The schema with False in place of each subschema that no finite value matches.

    Args:
        nodes: All subschemas that are reachable from `root`, each before those that are reachable through it first.
        resolve: Returns the schema of a reference.
    """
    schemas = [cast(dict[str, Any], node) for node in nodes if isinstance(node, dict)]
    infinite = _infinite(schemas, resolve)
    return _replaced(root, infinite) if infinite else root


def _infinite(schemas: list[dict[str, Any]], resolve: Callable[[str], Any]) -> set[int]:
    waiting = schemas[::-1]
    unknown = {id(node) for node in waiting}
    for _ in range(_MAX_ROUNDS):
        before = len(waiting)
        for node in waiting:
            if all(id(needed) not in unknown for needed in _needed(node, unknown, resolve)):
                unknown.discard(id(node))
        waiting = [node for node in waiting if id(node) in unknown]
        if len(waiting) == before:
            return unknown
    return set()


def _needed(node: dict[str, Any], unknown: set[int], resolve: Callable[[str], Any]) -> Iterator[Any]:
    """The subschemas that must all have a value, so that `node` has one."""
    if isinstance(ref := node.get("$ref"), str):
        yield resolve(ref)
    yield from _list(node.get("allOf"))
    for key in ("anyOf", "oneOf"):
        options = _list(node.get(key))
        yield from options[:1] if all(id(one) in unknown for one in options) else ()
    if node.get("type") in ("object", ["object"]):
        yield from _required(node)
    if node.get("type") in ("array", ["array"]):
        yield from _items(node)


def _required(node: dict[str, Any]) -> Iterator[Any]:
    properties = node.get("properties")
    if isinstance(properties, dict):
        named = cast(dict[str, Any], properties)
        yield from (named.get(name) for name in _list(node.get("required")) if isinstance(name, str))


def _items(node: dict[str, Any]) -> Iterator[Any]:
    least, items = node.get("minItems", 0), node.get("items")
    if not isinstance(least, int):
        return
    first = _list(node.get("prefixItems")) or _list(items)
    yield from first[:least]
    if least > len(first):
        yield items


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _replaced(value: Any, infinite: set[int]) -> Any:
    if isinstance(value, list):
        return [_replaced(one, infinite) for one in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    if id(cast(Any, value)) in infinite:
        return False
    return {key: _replaced(one, infinite) for key, one in cast(dict[str, Any], value).items()}
