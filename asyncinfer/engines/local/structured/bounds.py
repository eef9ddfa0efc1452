"""Bounds a JSON schema before native code compiles it.

llguidance (1.9, November 2026) reports an error for most schemas that it cannot compile. This module keeps others from
it. References nested about 800 levels deep overflow its stack. Large or many `multipleOf`, `minProperties` and
`patternProperties` take minutes and gigabytes, in one schema or in those that it merges, such as the parts of `allOf`.
It also compiles references that lead back to themselves, but no answer can match them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from asyncinfer.engines.local.structured.merging import MAX_PATTERNS, Whole, is_number, patterns_of, whole_of
from asyncinfer.engines.local.structured.objects import bounds_of_count, optional, uncounted
from asyncinfer.engines.local.structured.recursion import without_endless
from asyncinfer.errors import RequestError, invalid_request

MAX_DEPTH = 100
"""Levels of JSON. The parsers of llguidance and vLLM support only a few more."""
MAX_SCHEMAS = 20_000
MAX_CHAIN = 600
"""The depth of nested schemas, including references."""
MAX_OPTIONAL = 2_000
"""Optional properties of one object. The grammar must consider each of them at every property."""
MAX_REPEATED = 1_000_000
MAX_NUMBER, MIN_NUMBER = 1e15, 1e-9

_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
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
    schema = without_endless(_chain(schema, setting), schema, lambda ref: _referred(schema, ref))
    if schema is False:
        raise invalid_request(f"{setting}: no finite value is valid, as the schema requires itself again without end")
    whole = whole_of(_nodes(schema))
    dropped: list[str] = []

    def bound(node: dict[str, Any], path: str) -> dict[str, Any]:
        _check_optional(node, path, setting)
        kept, lost = _bounded_node(node, whole)
        dropped.extend(f"{path}: {keyword}" for keyword in lost)
        return kept

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


def _chain(root: Any, setting: str) -> list[Any]:
    """All subschemas, in the order in which llguidance compiles them: depth first, each reference only once.

    Raises:
        RequestError: there are too many, or they are nested too deeply.
    """
    seen: set[str] = {"#"}
    schemas: list[Any] = []
    stack: list[tuple[Any, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_CHAIN:
            raise _refused(setting, f"schemas and references are nested more than {MAX_CHAIN} levels deep")
        schemas.append(node)
        if len(schemas) > MAX_SCHEMAS:
            raise _refused(setting, f"it has more than {MAX_SCHEMAS} subschemas")
        stack.extend((one, depth + 1) for one in reversed([*_subschemas(node)]))
        ref: Any = cast(dict[str, Any], node).get("$ref") if isinstance(node, dict) else None
        if isinstance(ref, str) and ref not in seen:
            seen.add(ref)
            stack.append((_referred(root, ref), depth + 1))
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


def _referred(root: Any, ref: str) -> Any:
    """The schema at a JSON pointer such as `#/$defs/Name`; None if there is none."""
    if ref == "#":
        return root
    found = root
    for part in unquote(ref).removeprefix("#/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = cast(dict[str, Any], found).get(name) if isinstance(found, dict) else None
    return found


def _nodes(schema: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def look(node: dict[str, Any], _: str) -> dict[str, Any]:
        found.append(node)
        return node

    rewritten(schema, look)
    return found


def _check_optional(node: dict[str, Any], path: str, setting: str) -> None:
    if (count := optional(node)) > MAX_OPTIONAL:
        raise _refused(setting, f"{path} has {count} optional properties, and at most {MAX_OPTIONAL} are supported")


def _bounded_node(node: dict[str, Any], whole: Whole) -> tuple[dict[str, Any], list[str]]:
    """A subschema without the keywords that a grammar cannot express, and the names of those keywords."""
    kept = {key: _whole(value) if key in _COUNTS else value for key, value in node.items() if not _is_idle(key, value)}
    lost = [key for key in kept if key in _UNSUPPORTED or _is_inexpressible(key, kept[key])]
    if is_number(value := kept.get("multipleOf")) and value in whole.divisors:
        lost.append("multipleOf")
    lost += uncounted(kept) if whole.counts else bounds_of_count(kept)
    opened: dict[str, Any] = {}
    patterns = len(patterns_of(kept))
    if patterns > MAX_PATTERNS or (patterns > 0 and not whole.patterns):
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
    if not is_number(value):
        return False
    if key in _COUNTS:
        return value > MAX_REPEATED
    return key in NUMBERS and value != 0 and not MIN_NUMBER <= abs(value) < MAX_NUMBER
