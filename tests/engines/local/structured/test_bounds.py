"""JSON schemas are reduced to what native code can compile."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from asyncinfer.engines.local.structured.bounds import (
    MAX_CHAIN,
    MAX_OPTIONAL,
    MAX_SCHEMAS,
    bound_schema,
)
from asyncinfer.engines.local.structured.constraint import forbid_extra
from asyncinfer.engines.local.structured.divisors import too_large
from asyncinfer.engines.local.structured.fallbacks import without_failing, without_merged
from asyncinfer.engines.local.structured.merging import MAX_PATTERNS
from asyncinfer.errors import RequestError

CLOSED = {"additionalProperties": False}


def properties(count: int) -> dict[str, Any]:
    return {f"p{number}": {"type": "string"} for number in range(count)}


def chain(length: int) -> dict[str, Any]:
    """Each definition refers to the next one."""
    names = [f"A{number}" for number in range(length)]
    links = {name: {"properties": {"next": {"$ref": f"#/$defs/{other}"}}} for name, other in pairwise(names)}
    return {"$defs": {**links, names[-1]: {"type": "string"}}, "$ref": "#/$defs/A0"}


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "string", "minLength": 1, "maxLength": 65_536, "pattern": "^a{0,20000}$"},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 20_000},
        {"type": "number", "minimum": -5, "exclusiveMaximum": 1e6, "multipleOf": 0.01},
        {"enum": ['say "yes"', None, 1.5, {"minLength": 10**9}], "default": {"maxLength": 10**9}},
        {"properties": {"maxLength": {"type": "integer"}, "not": True}, "required": ["not"]},
        {"type": "object", "patternProperties": {"^x-": {"type": "string"}}, **CLOSED},
        chain(100),
    ],
)
def test_schema_within_the_bounds_is_unchanged(schema: Any) -> None:
    assert bound_schema(schema, "s") == (schema, ())


@pytest.mark.parametrize(
    ("keywords", "kept"),
    [
        ({"maxLength": 10**9}, {}),
        ({"maxLength": 10.0}, {"maxLength": 10}),
        ({"minItems": 10**30, "maxItems": 5}, {"maxItems": 5}),
        ({"minimum": -(10**40), "maximum": 5}, {"maximum": 5}),
        ({"exclusiveMinimum": 1e-300}, {}),
        ({"maximum": 1e308}, {}),
        ({"multipleOf": 104_729}, {}),
        ({"multipleOf": 1e-300}, {}),
        ({"uniqueItems": True, "not": {"type": "string"}}, {}),
        ({"if": {"type": "string"}, "then": {"minLength": 1}}, {}),
        ({"properties": properties(60), "minProperties": 1}, {"properties": properties(60)}),
        ({"properties": properties(8), "minProperties": 3, "maxProperties": 5}, {"properties": properties(8)}),
        ({"properties": properties(8), "maxProperties": 5}, {"properties": properties(8)}),
        (
            {"properties": properties(2), "additionalProperties": True, "minProperties": 1},
            {"properties": properties(2), "additionalProperties": True},
        ),
    ],
)
def test_keyword_that_no_grammar_expresses_is_dropped_and_reported(
    keywords: dict[str, Any], kept: dict[str, Any]
) -> None:
    schema, dropped = bound_schema({"properties": {"a": keywords}}, "s")
    assert schema == {"properties": {"a": kept}}
    assert dropped == tuple(f"$.properties.a: {name}" for name in keywords if name not in kept)


@pytest.mark.parametrize("keywords", [{"format": "int32"}, {"uniqueItems": False}, {"x-guidance": {"lenient": False}}])
def test_keyword_without_effect_is_dropped_silently(keywords: dict[str, Any]) -> None:
    assert bound_schema(keywords, "s") == ({}, ())


def test_object_with_too_many_pattern_properties_allows_other_properties() -> None:
    patterns = {f"^{number}": True for number in range(MAX_PATTERNS + 1)}
    schema, dropped = bound_schema({"properties": {}, "patternProperties": patterns, **CLOSED}, "s")
    assert schema == {"properties": {}, "additionalProperties": True}
    assert dropped == ("$: patternProperties",)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (nested(200), "nested 202 levels deep"),
        (chain(MAX_CHAIN), f"nested more than {MAX_CHAIN} levels deep"),
        ({"anyOf": [{} for _ in range(MAX_SCHEMAS)]}, f"more than {MAX_SCHEMAS} subschemas"),
        ({"properties": properties(MAX_OPTIONAL + 1)}, f"{MAX_OPTIONAL + 1} optional properties"),
    ],
    ids=["deep", "chain", "many", "optional"],
)
def test_schema_that_is_too_large_is_rejected(schema: Any, why: str) -> None:
    with pytest.raises(RequestError, match=rf"^generation\.x: the schema is too large.*{why}"):
        bound_schema(schema, "generation.x")


@pytest.mark.parametrize("ref", ["#", "#/$defs/none", "#/$defs/a~1b%20c/~0", "other.json", "#anchor"])
def test_unusual_reference_is_left_to_the_compiler(ref: str) -> None:
    schema = {"$defs": {"A": {"$ref": "#/$defs/A"}, "a/b c": {"~": {"$ref": "#"}}}, "properties": {"x": {"$ref": ref}}}
    assert bound_schema(schema, "s") == (schema, ())


REQUIRING_ITSELF: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
        {"allOf": [{"$ref": "#"}]},
        {"type": "object", "allOf": [{"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]},
        REQUIRING_ITSELF,
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 2},
    ],
)
def test_schema_that_requires_itself_is_rejected(schema: Any) -> None:
    with pytest.raises(RequestError, match=r"^generation\.x: no finite value is valid, .* requires itself"):
        bound_schema(schema, "generation.x")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {**REQUIRING_ITSELF, "type": ["object", "null"]},
        {"anyOf": [{"$ref": "#"}, {"type": "integer"}]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "prefixItems": [True, {"$ref": "#"}], "minItems": 1},
    ],
)
def test_recursion_that_can_end_is_unchanged(schema: Any) -> None:
    assert bound_schema(schema, "s") == (schema, ())


def test_property_without_a_finite_value_is_forbidden() -> None:
    schema: dict[str, Any] = {"properties": {"a": {"$ref": "#/properties/a"}, "b": {}}}
    assert bound_schema(schema, "s") == ({"properties": {"a": False, "b": {}}}, ())


@pytest.mark.parametrize(
    ("divisors", "dropped"),
    [
        ((9973, 9967), {9973}),
        ((0.01, 5, 60, 100), set()),
        ((997, 991, 2), {997}),
        ((1e-9, 10_000), {10_000}),
        ((0.07, 97, 101), {101}),
        ((104_729, 3), {104_729}),
        ((0, 3), {0}),
    ],
)
def test_divisors_with_a_large_common_multiple_are_dropped(divisors: tuple[float, ...], dropped: set[float]) -> None:
    assert too_large(divisors) == dropped


MANY_PATTERNS = [{"patternProperties": {f"^{one}{n}": True for n in range(MAX_PATTERNS)}} for one in "ab"]


@pytest.mark.parametrize(
    ("parts", "dropped"),
    [
        ([{"multipleOf": 997}, {"multipleOf": 991}], "$.allOf[0]: multipleOf"),
        ([{"properties": properties(60)}, {"minProperties": 1}], "$.allOf[1]: minProperties"),
        (MANY_PATTERNS, "$.allOf[0]: patternProperties"),
    ],
    ids=["multipleOf", "minProperties", "patternProperties"],
)
def test_keyword_that_is_too_large_after_merging_is_dropped(parts: list[dict[str, Any]], dropped: str) -> None:
    assert dropped in bound_schema({"allOf": parts}, "s").dropped
    assert all(not bound_schema(part, "s").dropped for part in parts)


def test_only_the_keywords_that_fail_are_dropped() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": "(?=a)", "maxLength": 5}, "b": {"pattern": "b"}}}
    kept, dropped = without_failing(schema, lambda part: part.get("pattern") == "(?=a)")
    assert kept == {"properties": {"a": {"type": "string", "maxLength": 5}, "b": {"pattern": "b"}}}
    assert dropped == ("$.properties.a: pattern",)


def test_pattern_that_does_not_compile_with_a_length_is_dropped() -> None:
    kept, dropped = without_failing(
        {"pattern": "b", "minLength": 9}, lambda part: part.keys() >= {"pattern", "minLength"}
    )
    assert (kept, dropped) == ({"minLength": 9}, ("$: pattern",))


def test_keywords_that_llguidance_merges_are_dropped() -> None:
    kept, dropped = without_merged({"allOf": [{"pattern": "b", "minLength": 9}, {"minProperties": 2}]})
    assert kept == {"allOf": [{"minLength": 9}, {}]}
    assert dropped == ("$.allOf[0]: pattern", "$.allOf[1]: minProperties")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, {"type": "string"}),
        ({"type": "object"}, {"type": "object"}),
        ({"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "string"}}, **CLOSED}),
        (
            {"properties": {"a": {}}, "additionalProperties": True},
            {"properties": {"a": {}}, "additionalProperties": True},
        ),
        (
            {"properties": {"properties": {"properties": {}}}},
            {"properties": {"properties": {"properties": {}, **CLOSED}}, **CLOSED},
        ),
        ({"items": [{"properties": {}}]}, {"items": [{"properties": {}, **CLOSED}]}),
        (
            {"$defs": {"x": {"properties": {}}}, "$ref": "#/$defs/x"},
            {"$defs": {"x": {"properties": {}, **CLOSED}}, "$ref": "#/$defs/x"},
        ),
        ({"const": {"properties": {}}}, {"const": {"properties": {}}}),
    ],
)
def test_object_that_lists_properties_forbids_others(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert forbid_extra(schema) == expected
