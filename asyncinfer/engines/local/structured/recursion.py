"""References of a JSON schema that lead back to themselves, without a value in between.

llguidance 1.9 compiles them, and no token can come where such a schema applies. The schemas without a finite value are
those that are not in the least fixed point of "has a value if the schemas it needs have one".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

_MAX_ROUNDS = 50
"""One or two are enough where definitions come in any usual order. After these, the rest counts as having a value."""


def without_endless(nodes: list[Any], root: Any, referred: Callable[[str], Any]) -> Any:
    """The schema with False in place of each subschema that has no finite value; no answer can hold such a value.

    Args:
        nodes: All subschemas that `root` leads to, each before those that it leads to first.
        referred: What a reference refers to.
    """
    schemas = [cast(dict[str, Any], node) for node in nodes if isinstance(node, dict)]
    endless = _endless(schemas, referred)
    return _replaced(root, endless) if endless else root


def _endless(schemas: list[dict[str, Any]], referred: Callable[[str], Any]) -> set[int]:
    waiting = schemas[::-1]
    unknown = {id(node) for node in waiting}
    for _ in range(_MAX_ROUNDS):
        before = len(waiting)
        for node in waiting:
            if all(id(needed) not in unknown for needed in _needed(node, unknown, referred)):
                unknown.discard(id(node))
        waiting = [node for node in waiting if id(node) in unknown]
        if len(waiting) == before:
            return unknown
    return set()


def _needed(node: dict[str, Any], unknown: set[int], referred: Callable[[str], Any]) -> Iterator[Any]:
    """The subschemas that each must have a value for `node` to have one."""
    if isinstance(ref := node.get("$ref"), str):
        yield referred(ref)
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


def _replaced(value: Any, endless: set[int]) -> Any:
    if isinstance(value, list):
        return [_replaced(one, endless) for one in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    if id(cast(Any, value)) in endless:
        return False
    return {key: _replaced(one, endless) for key, one in cast(dict[str, Any], value).items()}
