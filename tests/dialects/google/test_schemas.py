"""Schemas for Google have only keywords that Google does not ignore."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.dialects.google.schemas import supported_schema

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"oneOf": [{"const": "a"}, {"const": 1}]}, {"anyOf": [{"enum": ["a"]}, {"enum": [1]}]}),
        ({"const": None}, {"const": None}),
        ({"default": {"const": "a"}}, {"default": {"const": "a"}}),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"const": "a"}}}, {"$ref": "#/$defs/A", "$defs": {"A": {"enum": ["a"]}}}),
        (
            {"properties": {"a": {"$ref": "#/$defs/A", "description": "D"}}, "$defs": {"A": {"type": "string"}}},
            {"properties": {"a": {"type": "string", "description": "D"}}, "$defs": {"A": {"type": "string"}}},
        ),
        ({"properties": {"a": {"$ref": "#/x", "title": "T"}}}, {"properties": {"a": {"$ref": "#/x", "title": "T"}}}),
    ],
)
def test_schema_says_the_same_in_supported_keywords(schema: Json, made: Json) -> None:
    assert supported_schema(schema) == made


def test_schema_that_contains_itself_beside_a_description_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node", "description": "D"}}}
    made = supported_schema({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    after_next = made["$defs"]["Node"]["properties"]["next"]["properties"]["next"]
    assert after_next == {"$ref": "#/$defs/Node"}
