"""Columns of typed answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType
from asyncinfer.data.schema_fields import fields_of


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


class Review(BaseModel):
    title: str
    stars: int
    score: float | None
    mood: Mood
    is_long: bool = False
    topics: list[str]
    either: int | str


def test_properties_of_a_model_have_the_types_of_its_fields() -> None:
    assert fields_of(Review.model_json_schema()) == {
        "title": Kind.TEXT,
        "stars": Kind.INTEGER,
        "score": Kind.NUMBER,
        "mood": Kind.TEXT,
        "is_long": Kind.BOOLEAN,
        "topics": ListType(Kind.TEXT),
        "either": Kind.TEXT,
    }


class Node(BaseModel):
    name: str
    below: list[Node]


def test_model_that_contains_itself_has_columns_too() -> None:
    assert fields_of(Node.model_json_schema()) == {"name": Kind.TEXT, "below": Kind.TEXT}


@pytest.mark.parametrize("schema", [None, {}, {"type": "string"}, {"type": "array", "items": {"type": "object"}}])
def test_other_schemas_have_no_columns(schema: dict[str, Any] | None) -> None:
    assert fields_of(schema) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["object", "null"], "properties": {"a": {"type": "integer"}}},
        {
            "anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}],
            "$defs": {"A": {"properties": {"a": {"type": "integer"}}}},
        },
    ],
)
def test_objects_that_may_be_null_have_columns(schema: dict[str, Any]) -> None:
    assert fields_of(schema) == {"a": Kind.INTEGER}


@pytest.mark.parametrize("more", [{"allOf": [{"required": ["a"]}]}, {"anyOf": [{"required": ["a"]}]}])
def test_conditions_beside_properties_are_no_other_schema(more: dict[str, Any]) -> None:
    assert fields_of({"properties": {"a": {"type": "integer"}}, **more}) == {"a": Kind.INTEGER}


def test_list_of_types_with_null_is_the_other_type() -> None:
    assert fields_of({"properties": {"a": {"type": ["integer", "null"]}}}) == {"a": Kind.INTEGER}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "format": "date"}, Kind.DATE),
        ({"type": "string", "format": "date-time"}, Kind.ANY_TIME),
        ({"type": "string", "format": "uuid"}, Kind.TEXT),
        ({"enum": ["a", "b", None]}, Kind.TEXT),
        ({"enum": [1, 2]}, Kind.INTEGER),
        ({"const": True}, Kind.BOOLEAN),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, Kind.NUMBER),
        ({"oneOf": [{"const": 1}, {"type": "integer"}]}, Kind.INTEGER),
        ({"allOf": [{"type": "boolean"}]}, Kind.BOOLEAN),
        ({"$ref": "#/$defs/day"}, Kind.DATE),
        ({"$ref": "#/definitions/old"}, Kind.INTEGER),
        ({"$ref": "#/properties/other"}, Kind.NUMBER),
        ({"$ref": "#/$defs/a~1b"}, Kind.BOOLEAN),
        ({"$ref": "#/$defs/a%20b"}, Kind.BOOLEAN),
        ({"type": "array", "items": {"type": "integer"}}, ListType(Kind.INTEGER)),
        ({"type": ["array", "null"], "items": {"$ref": "#/$defs/day"}}, ListType(Kind.DATE)),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, ListType(Kind.NUMBER)),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, ListType(ListType(Kind.TEXT))),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, StructType({"n": Kind.INTEGER})),
        (
            {"type": "object", "properties": {"n": {"type": "integer"}, "any": {}}, "additionalProperties": False},
            StructType({"n": Kind.INTEGER, "any": Kind.TEXT}),
        ),
    ],
)
def test_types_of_values_are_those_of_the_schema(schema: dict[str, Any], expected: ColumnType) -> None:
    boolean = {"type": "boolean"}
    day = {"day": {"$ref": "#/$defs/real"}, "real": {"type": "string", "format": "date"}}
    definitions = {"$defs": {**day, "a/b": boolean, "a b": boolean}, "definitions": {"old": {"type": "integer"}}}
    properties = {"a": schema, "other": {"type": "number"}}
    assert fields_of({"properties": properties, **definitions}) == {"a": expected, "other": Kind.NUMBER}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"enum": ["a", 1]},
        {"enum": [[1]]},
        {"anyOf": [{"type": "integer"}, {"type": "number"}]},
        {"anyOf": [{"type": "integer"}, {}]},
        {"type": ["integer", "string"]},
        {"allOf": [{"type": "integer"}, {"minimum": 1}]},
        {"$ref": "#/$defs/missing"},
        {"type": "array"},
        {"type": "array", "items": True},
        {"type": "array", "items": {"type": ["integer", "string"]}},
        {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"^b": {"type": "integer"}}},
        {"$ref": "#/$defs/a"},
        {"$ref": "elsewhere.json"},
        {"$ref": "#"},
        {"type": "null"},
    ],
)
def test_values_that_may_have_several_types_are_text(schema: Any) -> None:
    loop = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert fields_of({"properties": {"a": schema}, **loop}) == {"a": Kind.TEXT}


@pytest.mark.parametrize(
    "root",
    [
        {"$ref": "#/$defs/first"},
        {"allOf": [{"$ref": "#/$defs/first"}]},
        {"allOf": [{"allOf": [{"$ref": "#/$defs/second"}]}], "description": "A point."},
        {"anyOf": [{"$ref": "#/$defs/second"}, {"type": "null"}]},
    ],
)
def test_columns_are_those_of_the_object_that_the_root_refers_to(root: dict[str, Any]) -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}, "next": {"$ref": "#/$defs/length"}}}
    definitions = {"first": {"$ref": "#/$defs/second"}, "second": point, "length": {"type": "number"}}
    assert fields_of({**root, "$defs": definitions}) == {"x": Kind.INTEGER, "next": Kind.NUMBER}


@pytest.mark.parametrize("root", [{"$ref": "#/$defs/a"}, {"$ref": "#"}, {"anyOf": [{"type": "object"}] * 2}])
def test_root_that_refers_to_no_object_has_no_columns(root: dict[str, Any]) -> None:
    assert fields_of({**root, "$defs": {"a": {"$ref": "#/$defs/a"}}}) == {}


def test_schema_that_is_too_large_for_a_type_is_text() -> None:
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(10_000):
        deep = {"type": "array", "items": deep}
    wide = {
        f"d{n}": {"type": "object", "properties": {name: {"$ref": f"#/$defs/d{n + 1}"} for name in "abcdefgh"}}
        for n in range(10)
    }
    schema = {"properties": {"deep": deep, "wide": {"$ref": "#/$defs/d0"}, "n": {"type": "integer"}}, "$defs": wide}
    assert fields_of(schema) == {"deep": Kind.TEXT, "wide": Kind.TEXT, "n": Kind.INTEGER}
