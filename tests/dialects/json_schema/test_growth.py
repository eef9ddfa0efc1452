"""Transformed schemas have a bounded size, whatever references and combinations the schema has."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from asyncinfer.dialects.anthropic.json_schema import supported_schema as for_anthropic
from asyncinfer.dialects.google.schemas import supported_schema as for_google
from asyncinfer.dialects.json_schema.growth import SchemaTooLargeError, remembered
from asyncinfer.dialects.json_schema.inline_refs import can_inline, inline_refs
from asyncinfer.dialects.json_schema.strict import to_openai_strict, to_strict
from asyncinfer.dialects.json_schema.tool_schema import object_schema
from asyncinfer.dialects.json_schema.unions import unions_as_any_of
from tests.work import counted_calls

Json = dict[str, Any]
Change = Callable[[Json], Json | None]

CHANGES: list[Change] = [to_openai_strict, to_strict, for_anthropic, for_google, object_schema, inline_refs]
_LARGEST = 1_000_000
_MOST_CALLS = 1_000_000


def member(schema: Json) -> Json:
    return {"type": "object", "properties": schema, "required": list(schema)}


def chain(levels: int, reference: Callable[[str, str], Json]) -> Json:
    """A schema in which each definition refers twice to the next one."""
    definitions = {
        f"D{k}": member({"x": reference(f"#/$defs/D{k + 1}", "left"), "y": reference(f"#/$defs/D{k + 1}", "right")})
        for k in range(levels)
    }
    return {"$ref": "#/$defs/D0", "$defs": {**definitions, f"D{levels}": member({"z": {"type": "string"}})}}


REFERENCES: dict[str, Callable[[str, str], Json]] = {
    "sibling": lambda ref, text: {"$ref": ref, "description": text},
    "all-of-with-sibling": lambda ref, text: {"allOf": [{"$ref": ref}], "description": text},
    "two-members": lambda ref, text: {"allOf": [{"$ref": ref}, {"description": text}]},
}


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
@pytest.mark.parametrize("change", [to_openai_strict, for_anthropic, for_google])
def test_size_is_linear_in_the_number_of_definitions(change: Change, reference: Callable[[str, str], Json]) -> None:
    sizes = [len(json.dumps(change(chain(levels, reference)))) for levels in (20, 40, 80)]
    assert sizes[2] - sizes[1] < 3 * (sizes[1] - sizes[0])
    assert sizes[2] < 400_000


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
@pytest.mark.parametrize("change", [to_openai_strict, for_anthropic])
def test_instance_of_shared_definitions_stays_valid(change: Change, reference: Callable[[str, str], Json]) -> None:
    value: Json = {"z": "text"}
    for _ in range(7):
        value = {"x": value, "y": value}
    schema = chain(7, reference)
    made = change(schema)
    assert made is not None
    assert Draft202012Validator(schema).is_valid(value)
    assert Draft202012Validator(made).is_valid(value)
    assert not Draft202012Validator(made).is_valid({**value, "x": {}})


def test_description_beside_a_reference_is_kept_in_a_shared_definition() -> None:
    text = json.dumps(to_openai_strict(chain(12, REFERENCES["sibling"])))
    assert text.count('"left"') > 11


def test_shared_definition_does_not_replace_a_definition_of_the_same_name() -> None:
    schema = chain(12, REFERENCES["sibling"])
    schema["$defs"]["shared_1"] = {"type": "null"}
    assert to_openai_strict(schema)["$defs"]["shared_1"] == {"type": "null"}


PRODUCT: Json = {
    "type": "object",
    "allOf": [{"anyOf": [member({f"a{k}": {"type": "string"}}), member({f"b{k}": {}})]} for k in range(18)],
}


@pytest.mark.parametrize("change", [to_openai_strict, for_anthropic, for_google, object_schema])
def test_too_many_pairs_of_members_are_refused_with_little_work(change: Change) -> None:
    with counted_calls() as calls, pytest.raises(SchemaTooLargeError, match="grows by more than"):
        change(PRODUCT)
    assert calls.count < _MOST_CALLS


def test_inlined_schema_has_a_largest_size() -> None:
    with counted_calls() as calls, pytest.raises(SchemaTooLargeError):
        inline_refs(chain(60, REFERENCES["sibling"]))
    assert calls.count < _MOST_CALLS
    assert not can_inline(chain(60, REFERENCES["sibling"]))
    assert can_inline(chain(5, REFERENCES["sibling"]))


def test_deeply_nested_schema_is_refused() -> None:
    schema: Json = {"type": "string"}
    for _ in range(400):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaTooLargeError, match="nested too deeply"):
        to_openai_strict(schema)


def test_endless_reference_is_refused_whatever_the_recursion_limit() -> None:
    endless: Json = {"type": "object", "properties": {"q": {}}, "anyOf": [{"$ref": "#/$defs/A"}]}
    schema: Json = {**endless, "$defs": {"A": endless}}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with counted_calls() as calls, pytest.raises(SchemaTooLargeError, match="nested too deeply"):
            to_openai_strict(schema)
    finally:
        sys.setrecursionlimit(limit)
    assert calls.count < 100_000


def test_schema_is_transformed_once() -> None:
    calls: list[Json] = []

    @remembered
    def change(schema: Json) -> Json:
        calls.append(schema)
        raise SchemaTooLargeError("too large")

    for _ in range(3):
        with pytest.raises(SchemaTooLargeError, match="too large"):
            change({"type": "object"})
    assert len(calls) == 1


def references() -> st.SearchStrategy[Json]:
    names = st.sampled_from([f"#/$defs/{name}" for name in "ABCD"])
    return st.builds(lambda ref, text: {"$ref": ref, **text}, names, st.sampled_from([{}, {"description": "d"}]))


def schemas() -> st.SearchStrategy[Json]:
    leaves = st.sampled_from([{"type": "string"}, {"type": "integer", "minimum": 1}, {}]) | references()

    def larger(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
        members = st.lists(inner, min_size=1, max_size=3)
        objects = st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(
            lambda properties: {"type": "object", "properties": properties}
        )
        combined = st.builds(lambda key, some: {key: some}, st.sampled_from(["allOf", "anyOf", "oneOf"]), members)
        both = st.builds(lambda one, other: {**one, **other}, objects, combined)
        return objects | combined | both | inner.map(lambda one: {"type": "array", "items": one})

    return st.recursive(leaves, larger, max_leaves=12)


def bounded(examples: int) -> None:
    definitions = st.fixed_dictionaries(dict.fromkeys("ABCD", schemas()))

    @settings(max_examples=examples)
    @given(st.builds(lambda root, defs: {**root, "$defs": defs}, schemas(), definitions))
    def run(schema: Json) -> None:
        before = json.dumps(schema)
        for change in CHANGES:
            made: Json | None = None
            with counted_calls() as calls, suppress(SchemaTooLargeError):
                made = change(schema)
            assert calls.count < _MOST_CALLS
            assert len(json.dumps(made)) < _LARGEST
        assert json.dumps(schema) == before

    run()


def test_every_schema_has_a_result_of_bounded_size_or_is_refused() -> None:
    bounded(50)


@pytest.mark.slow
def test_every_schema_of_many_has_a_result_of_bounded_size_or_is_refused() -> None:
    bounded(150)


PARTS: list[Json] = [member({name: {"type": "integer"}}) for name in "abcd"]


@given(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_instance_of_combined_unions_stays_valid(groups: list[list[Json]], data: st.DataObject) -> None:
    schema: Json = {"allOf": [{"oneOf": members} for members in groups]}
    chosen = [data.draw(st.sampled_from(members)) for members in groups]
    value = {name: 1 for one in chosen for name in one["properties"]}
    for made in (unions_as_any_of(schema), for_anthropic(schema), to_openai_strict(schema)):
        assert Draft202012Validator(made).is_valid(value)


def test_result_none_is_remembered_too() -> None:
    calls: list[Json] = []

    @remembered
    def change(schema: Json) -> None:
        calls.append(schema)

    assert change({"a": 1}) is None
    assert change({"a": 1}) is None
    assert len(calls) == 1


def test_schema_that_is_used_again_is_remembered_longest() -> None:
    calls: list[Any] = []

    @remembered
    def change(schema: Json) -> int:
        calls.append(schema["n"])
        return 1

    for n in range(40):
        change({"n": n})
        change({"n": 0})
    assert calls.count(0) == 1


@pytest.mark.parametrize("change", [for_google, inline_refs])
def test_schema_that_is_nested_too_deeply_is_refused(change: Change) -> None:
    schema: Json = {"oneOf": [], "$ref": "#/$defs/A"}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(SchemaTooLargeError, match="nested too deeply"):
        change(schema)
