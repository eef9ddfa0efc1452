"""Schemas with `anyOf` alone accept each value that the schemas with `oneOf` and `allOf` accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asyncinfer.dialects.json_schema.unions import unions_as_any_of

Json = dict[str, Any]

CAT: Json = {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]}
DOG: Json = {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}
NODE: Json = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Base": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "Node": {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"next": {"allOf": [{"$ref": "#/$defs/Node"}]}}}]},
    },
}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"oneOf": [CAT, DOG], "discriminator": {"propertyName": "kind"}}, {"anyOf": [CAT, DOG]}),
        ({"items": {"oneOf": [CAT]}}, {"items": {"anyOf": [CAT]}}),
        ({"anyOf": [{"minLength": 1}], "oneOf": [{"maxLength": 2}]}, {"anyOf": [{"minLength": 1, "maxLength": 2}]}),
        ({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": CAT}}, {**CAT, "$defs": {"A": CAT}}),
        ({"items": {"allOf": [{"$ref": "#/$defs/A"}]}}, {"items": {"$ref": "#/$defs/A"}}),
        ({"allOf": [{"type": ["integer", "number"]}, {"type": "number"}]}, {"type": ["integer", "number"]}),
        ({"allOf": [{"enum": ["integer", 1]}, {"enum": ["number", 1]}]}, {"enum": [1]}),
        ({"allOf": [{"$ref": ["a"]}, {"minimum": 1}]}, {"minimum": 1, "allOf": [{"$ref": ["a"]}]}),
        (
            {"allOf": [{"type": "integer", "minimum": 1}, {"type": "number", "minimum": 2}]},
            {"type": "integer", "minimum": 2},
        ),
        ({"allOf": [{"maximum": 1}, {"maximum": 2}, {"enum": [1, 2]}, {"enum": [2, 3]}]}, {"maximum": 1, "enum": [2]}),
        ({"type": ["string", "null"], "allOf": [{"type": "string"}]}, {"type": "string"}),
        ({"allOf": [{"allOf": [{"title": "T"}]}, {"title": "U"}]}, {"title": "T"}),
        ({"const": {"oneOf": [1]}, "default": {"allOf": []}}, {"const": {"oneOf": [1]}, "default": {"allOf": []}}),
        ({"properties": {"oneOf": {"oneOf": [CAT]}}}, {"properties": {"oneOf": {"anyOf": [CAT]}}}),
        ({"allOf": "nothing", "oneOf": "nothing"}, {"allOf": "nothing", "anyOf": "nothing"}),
    ],
)
def test_combination_is_written_with_any_of(schema: Json, made: Json) -> None:
    before = json.dumps(schema)
    assert unions_as_any_of(schema) == made
    assert json.dumps(schema) == before


def test_members_are_merged_property_by_property() -> None:
    schema = {
        "allOf": [
            {"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 1}, "c": {}}, "required": ["a", "c"], "additionalProperties": False},
        ]
    }
    assert unions_as_any_of(schema) == {
        "properties": {"a": {"type": "integer", "minimum": 1}, "b": {}, "c": {}},
        "required": ["a", "c"],
        "additionalProperties": False,
    }


def test_base_that_two_members_share_is_merged_once_for_each() -> None:
    base = {"type": "object", "properties": {"n": {"type": "integer"}}}
    of_base = {"allOf": [{"$ref": "#/$defs/Base"}, {"description": "D"}]}
    schema = {
        "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
        "$defs": {"Base": base, "A": of_base, "B": of_base},
    }
    made = unions_as_any_of(schema)
    assert {key: value for key, value in made.items() if key != "$defs"} == {**base, "description": "D"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"oneOf": [CAT, DOG]}, {"kind": "dog"}),
        (NODE, {"n": 1, "next": {"n": 2, "next": {"n": 3}}}),
        ({"type": ["integer", "string"], "allOf": [{"type": ["number", "null"]}]}, 1),
    ],
)
def test_accepted_value_stays_accepted(schema: Json, value: Any) -> None:
    made = unions_as_any_of(schema)
    assert Draft202012Validator(made).is_valid(value)
    assert not {"oneOf", "discriminator"} & made.keys()


def test_member_that_contains_itself_is_kept() -> None:
    node = {"allOf": [{"$ref": "#/$defs/A"}, {"type": "string"}]}
    made = unions_as_any_of({"$ref": "#/$defs/A", "$defs": {"A": node}})
    assert made["$defs"]["A"] == {"allOf": [{"$ref": "#/$defs/A"}], "type": "string"}
