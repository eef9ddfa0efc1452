"""Columns of typed answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer.data.column_types import Kind
from asyncinfer.data.schema_fields import fields_of, fitting


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
        "topics": Kind.TEXT,
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


def test_list_of_types_with_null_is_the_other_type() -> None:
    assert fields_of({"properties": {"a": {"type": ["integer", "null"]}}}) == {"a": Kind.INTEGER}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"n": 1, "x": 2}, ({"n": 1, "x": 2.0}, True)),
        ({"n": None}, ({"n": None, "x": None}, True)),
        ({"n": 3.0, "x": 2}, ({"n": 3, "x": 2.0}, True)),
        ({"n": -(2**63), "x": 2**70}, ({"n": -(2**63), "x": float(2**70)}, True)),
        ({"n": "1", "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": True, "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": 2**63, "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": 3.5, "x": 10**400}, ({"n": None, "x": None}, False)),
        ({"n": float("inf"), "x": "2"}, ({"n": None, "x": None}, False)),
        ({"n": 1, "x": 2, "more": 3}, ({"n": 1, "x": 2.0}, False)),
    ],
)
def test_value_that_does_not_fit_is_null_beside_the_others(
    value: dict[str, Any], expected: tuple[dict[str, Any], bool]
) -> None:
    assert fitting({"n": Kind.INTEGER, "x": Kind.NUMBER}, value) == expected


def test_text_does_not_fit_a_boolean() -> None:
    assert fitting({"ok": Kind.BOOLEAN}, {"ok": "true"}) == ({"ok": None}, False)
    assert fitting({"ok": Kind.BOOLEAN}, {"ok": True}) == ({"ok": True}, True)
