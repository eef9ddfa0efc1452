"""Schemas without references."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from asyncinfer.dialects.json_schema.inline_refs import inline_refs

Json = dict[str, Any]


class Stone(BaseModel):
    hard: bool


class Plum(BaseModel):
    stone: Stone = Field(description="Within.")
    others: list[Stone]


class Branch(BaseModel):
    forks: list[Branch]


STONE: Json = {
    "title": "Stone",
    "type": "object",
    "properties": {"hard": {"title": "Hard", "type": "boolean"}},
    "required": ["hard"],
}


def test_what_is_referred_to_stands_in_its_place_with_what_stood_beside_it() -> None:
    schema = Plum.model_json_schema()
    before = json.dumps(schema)
    properties = (inline_refs(schema) or {})["properties"]
    assert properties["stone"] == STONE | {"description": "Within."}
    assert properties["others"]["items"] == STONE
    assert "$defs" not in (inline_refs(schema) or {})
    assert json.dumps(schema) == before


def test_a_schema_that_is_part_of_itself_cannot_be_written_so() -> None:
    assert inline_refs(Branch.model_json_schema()) is None
    assert inline_refs({"properties": {"a": {"$ref": "#"}}}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"$defs": {"type": "string"}, "$ref": {"type": "string"}}},
        {"$ref": "https://x.example/s"},
        {"properties": {"a": {"$ref": "#/$defs/Missing"}}},
    ],
)
def test_what_is_no_reference_within_the_schema_stays(schema: Json) -> None:
    assert inline_refs(schema) == schema
