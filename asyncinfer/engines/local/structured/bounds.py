"""Limits a JSON schema before native code compiles it.

llguidance (1.9, November 2026) reports an error for most schemas that it cannot compile. This module rejects or reduces
the others. References nested about 800 levels deep overflow its stack. Large or many `multipleOf`, `minProperties` and
`patternProperties` take minutes and gigabytes, in one schema or in schemas that it merges, such as the parts of
`allOf`. It also compiles schemas that require themselves, but no answer can match them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.json_schema.refs import pointed_at
from asyncinfer.engines.local.structured.merging import MAX_PATTERNS, SchemaLimits, is_number, limits_of, patterns_of
from asyncinfer.engines.local.structured.objects import count_limits, inexpressible_limits, optional_count
from asyncinfer.engines.local.structured.recursion import replace_infinite
from asyncinfer.errors import RequestError, invalid_request

MAX_DEPTH = 100
"""Levels of JSON. The parsers of llguidance and vLLM support only a few more."""
MAX_SCHEMAS = 20_000
MAX_CHAIN = 600
"""The depth of nested schemas, including references."""
MAX_OPTIONAL = 2_000
"""The most optional properties of one object. The grammar must consider each of them at every property."""
MAX_REPEATED = 1_000_000
MAX_NUMBER, MIN_NUMBER = 1e15, 1e-9

# Keywords that map names to subschemas.
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
# Keywords whose values are data, not schemas.
_DATA = frozenset({"const", "enum", "default", "examples"})
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
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


class BoundedSchema(NamedTuple):
    """A schema that native code can compile, and the keywords that were dropped, as `path: keyword`."""

    schema: Any
    dropped: tuple[str, ...] = ()


def bound_schema(schema: Any, setting: str) -> BoundedSchema:
    """The schema without the keywords that a grammar cannot express.

    Raises:
        RequestError: The schema is too deep or too large. The message names `setting`.
    """
    if (depth := _depth(schema)) > MAX_DEPTH:
        raise _too_large(setting, f"its JSON is nested {depth} levels deep, and at most {MAX_DEPTH} are supported")
    schema = replace_infinite(_reachable(schema, setting), schema, lambda ref: pointed_at(schema, ref))
    if schema is False:
        raise invalid_request(f"{setting}: no finite value is valid, because the schema requires itself again")
    limits = limits_of(_nodes(schema))
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        _check_optional(node, path, setting)
        kept, lost = _bounded_node(node, limits)
        dropped.extend(f"{path}: {keyword}" for keyword in lost)
        return kept

    return BoundedSchema(rewritten(schema, bound), tuple(dropped))


def rewritten(schema: Any, change: Callable[[dict[str, Any], str], dict[str, Any]], path: str = "$") -> Any:
    """A copy of the schema with each subschema replaced by `change(subschema, path)`, innermost first."""
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


def _too_large(setting: str, why: str) -> RequestError:
    return invalid_request(f"{setting}: the schema is too large: {why}")


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


def _reachable(root: Any, setting: str) -> list[Any]:
    """All subschemas, in the order in which llguidance compiles them: depth first, each reference only once.

    Raises:
        RequestError: There are too many, or they are nested too deeply.
    """
    seen: set[str] = {"#"}
    schemas: list[Any] = []
    stack: list[tuple[Any, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_CHAIN:
            raise _too_large(setting, f"schemas and references are nested more than {MAX_CHAIN} levels deep")
        schemas.append(node)
        if len(schemas) > MAX_SCHEMAS:
            raise _too_large(setting, f"it has more than {MAX_SCHEMAS} subschemas")
        stack.extend((one, depth + 1) for one in reversed([*_subschemas(node)]))
        ref: Any = cast(dict[str, Any], node).get("$ref") if isinstance(node, dict) else None
        if isinstance(ref, str) and ref not in seen:
            seen.add(ref)
            stack.append((pointed_at(root, ref), depth + 1))
    return schemas


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


def _nodes(schema: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def collect(node: dict[str, Any], _: str) -> dict[str, Any]:
        found.append(node)
        return node

    rewritten(schema, collect)
    return found


def _check_optional(node: dict[str, Any], path: str, setting: str) -> None:
    if (count := optional_count(node)) > MAX_OPTIONAL:
        raise _too_large(setting, f"{path} has {count} optional properties, and at most {MAX_OPTIONAL} are supported")


def _bounded_node(node: dict[str, Any], limits: SchemaLimits) -> tuple[dict[str, Any], list[str]]:
    """A subschema without the keywords that a grammar cannot express, and the names of those keywords."""
    kept = {
        key: _as_integer(value) if key in _COUNTS else value
        for key, value in node.items()
        if not _has_no_effect(key, value)
    }
    lost = [key for key in kept if key in _UNSUPPORTED or _is_inexpressible(key, kept[key])]
    if is_number(value := kept.get("multipleOf")) and value in limits.dropped_divisors:
        lost.append("multipleOf")
    lost += inexpressible_limits(kept) if limits.allows_counts else count_limits(kept)
    added: dict[str, Any] = {}
    patterns = len(patterns_of(kept))
    if patterns > MAX_PATTERNS or (patterns > 0 and not limits.allows_patterns):
        lost.append("patternProperties")
        added["additionalProperties"] = True
    return {key: value for key, value in kept.items() if key not in lost} | added, list(dict.fromkeys(lost))


def _has_no_effect(key: str, value: Any) -> bool:
    """Whether a keyword has no effect, such as `uniqueItems: false` or an unknown format, or is for llguidance."""
    if key == "format":
        return isinstance(value, str) and value not in _FORMATS
    return key == "x-guidance" or (key == "uniqueItems" and value is False)


def _as_integer(value: Any) -> Any:
    """An integer as an int. In JSON, 3.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_inexpressible(key: str, value: Any) -> bool:
    if not is_number(value):
        return False
    if key in _COUNTS:
        return value > MAX_REPEATED
    return key in NUMBERS and value != 0 and not MIN_NUMBER <= abs(value) < MAX_NUMBER
