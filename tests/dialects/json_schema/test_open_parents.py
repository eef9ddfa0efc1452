"""An object that forbids further properties still allows those of the members of its union."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asyncinfer.dialects.anthropic.json_schema import supported_schema
from asyncinfer.dialects.json_schema.strict import to_openai_strict, to_strict
from asyncinfer.dialects.json_schema.tuples import with_prefix_items

Json = dict[str, Any]

B: Json = {"properties": {"b": {"type": "string"}}, "required": ["b"]}
C: Json = {"type": "object", "properties": {"c": {"type": "string"}}, "required": ["c"]}
PARENT: Json = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
UNIONS: list[Json] = [
    {**PARENT, "oneOf": [B, C]},
    {**PARENT, "anyOf": [B, {"$ref": "#/$defs/C"}]},
    {**PARENT, "anyOf": [{"anyOf": [B]}, {"$ref": "#/$defs/E"}]},
    {**PARENT, "allOf": [{"oneOf": [B, C]}]},
]
OBJECTS: list[Json] = [{"kind": "k", "b": "x"}, {"kind": "k", "c": "x"}]


@pytest.mark.parametrize("change", [to_openai_strict, supported_schema])
@pytest.mark.parametrize("schema", UNIONS)
def test_members_with_further_properties_stay_valid(change: Callable[[Json], Json], schema: Json) -> None:
    definitions = {"C": C, "E": {"$ref": "#/$defs/C"}}
    made = change({"type": "object", "properties": {"p": schema}, "required": ["p"], "$defs": definitions})
    validator = Draft202012Validator(made)
    assert all(validator.is_valid({"p": value}) for value in OBJECTS)
    assert not validator.is_valid({"p": {"kind": "k", "b": "x", "other": 1}})


def test_strict_schema_of_other_servers_has_the_parent_in_each_member() -> None:
    made = to_strict({**PARENT, "anyOf": [B, C]})
    assert [list(member["properties"]) for member in made["anyOf"]] == [["kind", "b"], ["kind", "c"]]
    assert "properties" not in made


def test_members_without_properties_stay_beside_the_parent() -> None:
    schema = {**PARENT, "anyOf": [{"required": ["kind"]}, {"required": []}]}
    assert to_openai_strict(schema)["properties"] == PARENT["properties"]


def test_schema_with_properties_and_no_type_is_closed() -> None:
    made = to_openai_strict({"properties": {"a": {"type": "string"}, "b": {"properties": {"c": {"type": "null"}}}}})
    assert (made["type"], made["additionalProperties"]) == ("object", False)
    assert made["properties"]["b"]["additionalProperties"] is False


@pytest.mark.parametrize("change", [to_openai_strict, supported_schema, with_prefix_items])
def test_tuple_of_draft_7_is_written_as_a_tuple_of_today(change: Callable[[Json], Json]) -> None:
    members = [{"type": "string"}, {"type": "integer"}]
    old = {"type": "array", "items": members, "additionalItems": False}
    assert change(old) == change({"type": "array", "prefixItems": members, "items": False})
    assert change({"type": "array", "items": members}) == change({"type": "array", "prefixItems": members})


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"allOf": [{"minimum": 1}, {"minimum": "2"}]}, {"minimum": 1}),
        ({"allOf": [{"minimum": None}, {"minimum": 2}]}, {"minimum": 2}),
        ({"allOf": [{"required": "a"}, {"required": ["b"]}]}, {"required": ["b"]}),
        ({"allOf": [{"anyOf": "x"}, {"anyOf": [{}]}]}, {"anyOf": [{}]}),
        ({"allOf": [{"enum": 1}, {"type": 5}]}, {"enum": 1, "type": 5}),
    ],
)
def test_value_that_a_keyword_does_not_allow_is_tolerated(schema: Json, made: Json) -> None:
    assert to_openai_strict(schema) == made


def test_properties_that_are_null_are_as_if_missing() -> None:
    made = to_openai_strict({"type": "object", "properties": None, "allOf": [C]})
    assert made["properties"] == C["properties"]
