"""Schemas with references replaced by their targets."""

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


def test_reference_is_replaced_by_its_target_with_its_neighbouring_keywords() -> None:
    schema = Plum.model_json_schema()
    before = json.dumps(schema)
    properties = (inline_refs(schema) or {})["properties"]
    assert properties["stone"] == STONE | {"description": "Within."}
    assert properties["others"]["items"] == STONE
    assert "$defs" not in (inline_refs(schema) or {})
    assert json.dumps(schema) == before


def test_schema_that_contains_itself_has_no_inlined_form() -> None:
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
def test_value_that_is_not_a_local_reference_is_kept(schema: Json) -> None:
    assert inline_refs(schema) == schema
