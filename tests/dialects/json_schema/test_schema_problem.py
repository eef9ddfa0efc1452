"""Schemas against which no answer can be checked."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.dialects.json_schema.violation import schema_problem, violation


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"type": 5}, "$.type"),
        ({"properties": {"a": {"type": "string", "pattern": "("}}}, "'(' is not a regular expression"),
        ({"anyOf": [{"$ref": "#/$defs/Nope"}], "$defs": {"City": {}}}, "nothing at '#/$defs/Nope'"),
    ],
)
def test_invalid_schemas_have_a_problem(schema: dict[str, Any], problem: str) -> None:
    assert problem in str(schema_problem(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "#"},
        {"$ref": "#/$defs/a~1b/anyOf/0", "$defs": {"a/b": {"anyOf": [{"type": "string"}]}}},
        {"properties": {"pattern": {"type": "string", "pattern": r"^\p{Lu}"}, "$ref": {"type": "string"}}},
        {"enum": [{"pattern": "(", "$ref": "#/nope"}]},
    ],
)
def test_valid_schemas_have_none(schema: dict[str, Any]) -> None:
    assert schema_problem(schema) is None


def test_schemas_at_a_url_are_not_downloaded() -> None:
    assert "Unresolvable" in str(violation('{"$ref": "http://127.0.0.1:9/schema.json"}', {}))
