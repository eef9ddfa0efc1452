"""The schema of a tool describes an object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer.dialects.json_schema.tool_schema import object_schema

Json = dict[str, Any]

CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PLACE: Json = {"type": "object", "properties": {"place": {"type": "string"}, "city": {"const": "Oslo"}}}


@pytest.mark.parametrize("schema", [CITY, {"type": "object"}, {"type": "object", "properties": {"a": {"oneOf": [{}]}}}])
def test_schema_of_an_object_is_unchanged(schema: Json) -> None:
    assert object_schema(schema) is schema


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"properties": {"a": {}}}, {"properties": {"a": {}}, "type": "object"}),
        ({"$ref": "#/$defs/City", "$defs": {"City": CITY}}, {**CITY, "$defs": {"City": CITY}}),
        ({"allOf": [CITY, {"required": ["n"]}]}, {**CITY, "required": ["city", "n"]}),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}),
        ({"type": "object", "properties": {"a": {}}, "not": {"required": ["a"]}}, {"type": "object", "properties": {"a": {}}}),
        (
            {"oneOf": [{"$ref": "#/$defs/City"}, PLACE], "$defs": {"City": CITY}},
            {
                "type": "object",
                "properties": {"city": {"anyOf": [{"type": "string"}, {"const": "Oslo"}]}, "place": {"type": "string"}},
                "$defs": {"City": CITY},
            },
        ),
    ],
)  # fmt: skip
def test_union_at_the_top_becomes_one_object(schema: Json, made: Json) -> None:
    before = json.dumps(schema)
    assert object_schema(schema) == made
    assert json.dumps(schema) == before


def test_reference_to_itself_ends() -> None:
    assert object_schema({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}})["type"] == "object"
