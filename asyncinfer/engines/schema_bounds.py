"""Bounds a JSON schema before native code compiles it.

llguidance (1.9, November 2026) reports an error for most schemas that it cannot compile. This module keeps others from
it: references nested about 800 levels deep overflow its stack; `minProperties` with a thousand optional properties, and
several hundred `patternProperties`, take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from asyncinfer.errors import RequestError
from asyncinfer.types.results import unanswerable

MAX_DEPTH = 100
"""Levels of JSON. The parsers of llguidance and vLLM support only a few more."""
MAX_SCHEMAS = 20_000
MAX_CHAIN = 600
"""The depth of nested schemas, including references."""
MAX_OPTIONAL = 2_000
"""Optional properties of one object. The grammar must consider each of them at every property."""
MAX_REPEATED = 1_000_000
MAX_COUNTED = 50
"""Optional properties of an object with `minProperties` or `maxProperties`, and `patternProperties` of one object."""
MAX_NUMBER, MIN_NUMBER = 1e15, 1e-9
MAX_DIVISOR, MAX_DECIMALS = 10_000, 9

_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_DATA = frozenset({"const", "enum", "default", "examples"})
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# The formats that llguidance supports. Others are annotations, as the JSON Schema specification allows.
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"}
)
# Keywords that llguidance does not support.
_UNSUPPORTED = frozenset(
    {
        *("not", "if", "then", "else", "uniqueItems", "contains", "minContains", "maxContains", "propertyNames"),
        *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems"),
        *("$dynamicRef", "$recursiveRef"),
    }
)
# Keywords of strings and numbers. A grammar may not be able to express their values.
LEAVES = ("pattern", "format", "multipleOf", "minLength", "maxLength", *_NUMBERS)


class Bounded(NamedTuple):
    """A schema that native code can compile, and the keywords that were dropped, as `path: keyword`."""

    schema: Any
    dropped: tuple[str, ...] = ()


def bounded(schema: Any, setting: str) -> Bounded:
    """The schema without the keywords that a grammar cannot express.

    Raises:
        RequestError: the schema is too deep or too large. The message names `setting`.
    """
    if (depth := _depth(schema)) > MAX_DEPTH:
        raise _refused(setting, f"its JSON is nested {depth} levels deep, and at most {MAX_DEPTH} are supported")
    _check_chain(schema, setting)
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        _check_optional(node, path, setting)
        kept, lost = _bounded_node(node)
        dropped.extend(f"{path}: {keyword}" for keyword in lost)
        return kept

    made = rewritten(schema, bound)
    return Bounded(made, tuple(dropped))


def without_failing(schema: Any, fails: Callable[[Any], bool]) -> Bounded:
    """The schema without those keywords of strings and numbers, and those `patternProperties`, that do not compile.

    Args:
        fails: Whether a schema fails to compile.
    """
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        lost = [*_failing_leaves(node, fails), *_failing_names(node, fails)]
        dropped.extend(f"{path}: {keyword}" for keyword in lost)
        return {key: value for key, value in node.items() if key not in lost}

    made = rewritten(schema, bound)
    return Bounded(made, tuple(dropped))


def rewritten(schema: Any, change: Callable[[dict[str, Any], str], dict[str, Any]], path: str = "$") -> Any:
    """A copy of the schema with each subschema replaced by `change(subschema, path)`, from the leaves up."""
    if isinstance(schema, list):
        items = enumerate(cast(list[Any], schema))
        return [rewritten(one, change, f"{path}[{place}]") for place, one in items]
    if not isinstance(schema, dict):
        return schema
    node: dict[str, Any] = {}
    for key, value in cast(dict[str, Any], schema).items():
        if key in _NAMED and isinstance(value, dict):
            named = cast(dict[str, Any], value)
            node[key] = {name: rewritten(one, change, f"{path}.{key}.{name}") for name, one in named.items()}
        else:
            node[key] = value if key in _DATA else rewritten(value, change, f"{path}.{key}")
    return change(node, path)


def _refused(setting: str, why: str) -> RequestError:
    return unanswerable(f"{setting}: the schema is too large: {why}")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [one for value in level for one in _inside(value)]
    return depth


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from cast(dict[str, Any], value).values()
    elif isinstance(value, list):
        yield from cast(list[Any], value)


def _check_chain(root: Any, setting: str) -> None:
    """Check depth and size in the order in which llguidance compiles: depth first, each reference only once."""
    seen, schemas = {"#"}, 0
    stack: list[tuple[Any, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_CHAIN:
            raise _refused(setting, f"schemas and references are nested more than {MAX_CHAIN} levels deep")
        schemas += 1
        if schemas > MAX_SCHEMAS:
            raise _refused(setting, f"it has more than {MAX_SCHEMAS} subschemas")
        stack.extend((one, depth + 1) for one in reversed([*_subschemas(node)]))
        ref: Any = cast(dict[str, Any], node).get("$ref") if isinstance(node, dict) else None
        if isinstance(ref, str) and ref not in seen:
            seen.add(ref)
            stack.append((_referred(root, ref), depth + 1))


def _subschemas(node: Any) -> Iterator[Any]:
    if not isinstance(node, dict):
        yield from _inside(node)
        return
    for key, value in cast(dict[str, Any], node).items():
        if key in ("$defs", "definitions") or key in _DATA or not isinstance(value, dict | list):
            continue
        if key in _NAMED:
            yield from _inside(value)
        else:
            yield value


def _referred(root: Any, ref: str) -> Any:
    """The schema at a JSON pointer such as `#/$defs/Name`; None if there is none."""
    found = root
    for part in unquote(ref).removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = cast(dict[str, Any], found).get(name) if isinstance(found, dict) else None
    return found


def _optional(node: dict[str, Any]) -> int:
    properties, required = node.get("properties"), node.get("required")
    names = cast(dict[str, Any], properties).keys() if isinstance(properties, dict) else set[str]()
    return len(names - {str(one) for one in cast(list[Any], required)} if isinstance(required, list) else names)


def _check_optional(node: dict[str, Any], path: str, setting: str) -> None:
    if (count := _optional(node)) > MAX_OPTIONAL:
        raise _refused(setting, f"{path} has {count} optional properties, and at most {MAX_OPTIONAL} are supported")


def _bounded_node(node: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A subschema without the keywords that a grammar cannot express, and the names of those keywords."""
    kept = {key: _whole(value) if key in _COUNTS else value for key, value in node.items() if not _is_idle(key, value)}
    lost = [key for key in kept if key in _UNSUPPORTED or _is_inexpressible(key, kept[key])]
    if _optional(kept) > MAX_COUNTED:
        lost += [key for key in ("minProperties", "maxProperties") if key in kept]
    opened: dict[str, Any] = {}
    patterns = kept.get("patternProperties")
    if isinstance(patterns, dict) and len(cast(dict[str, Any], patterns)) > MAX_COUNTED:
        lost.append("patternProperties")
        opened["additionalProperties"] = True
    return {key: value for key, value in kept.items() if key not in lost} | opened, list(dict.fromkeys(lost))


def _is_idle(key: str, value: Any) -> bool:
    """Whether a keyword has no effect, such as `uniqueItems: false` and unknown formats, or is an llguidance option."""
    if key == "format":
        return isinstance(value, str) and value not in _FORMATS
    return key == "x-guidance" or (key == "uniqueItems" and value is False)


def _whole(value: Any) -> Any:
    """A whole number as an int: in JSON, 3.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_inexpressible(key: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if key in _COUNTS:
        return value > MAX_REPEATED
    if key in _NUMBERS:
        return value != 0 and not MIN_NUMBER <= abs(value) < MAX_NUMBER
    return key == "multipleOf" and not _is_divisor(value)


def _is_divisor(value: float) -> bool:
    _, digits, exponent = Decimal(str(value)).as_tuple()
    if not isinstance(exponent, int):
        return False
    number = int("".join(map(str, digits)))
    return -MAX_DECIMALS <= exponent <= MAX_DECIMALS and 0 < number * 10 ** max(exponent, 0) <= MAX_DIVISOR


def _failing_leaves(node: dict[str, Any], fails: Callable[[Any], bool]) -> list[str]:
    leaves = {key: node[key] for key in LEAVES if key in node}
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
