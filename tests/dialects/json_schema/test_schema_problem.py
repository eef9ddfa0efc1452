"""Schemas against which no answer can be checked are found before anything is sent."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from pydantic import BaseModel

if find_spec("jsonschema") is None or find_spec("regex") is None:
    pytest.skip("needs the extra schema", allow_module_level=True)

from asyncinfer.dialects.json_schema.soundness import schema_problem
from asyncinfer.dialects.json_schema.violation import UncheckableError, violation

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


class Tree(BaseModel):
    value: int
    children: list[Tree]


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "#/$defs/a~1b/anyOf/0", "$defs": {"a/b": {"anyOf": [{"type": "string"}]}}},
        {"properties": {"pattern": {"type": "string", "pattern": r"^\p{Lu}"}, "$ref": {"type": "string"}}},
        {"enum": [{"pattern": "(", "$ref": "#/nope"}]},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        Tree.model_json_schema(),
        {"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]},
        {"$id": "https://example.com/a", "$defs": {"b": {"$id": "b"}}, "items": {"$ref": "b"}},
        {"$defs": {"b": {"$anchor": "b"}}, "items": {"$ref": "#b"}},
        {"items": {"$dynamicRef": "#self"}, "$dynamicAnchor": "self"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"const": {"pattern": "(", "$ref": "#/nowhere"}, "enum": [{"pattern": "("}], "default": {"$ref": "#"}},
        {"$ref": "#/other/a~1b", "other": {"a/b": {"type": "integer"}}},
        {"definitions": {"a": {"type": "integer"}}, "$ref": "#/definitions/a", "$schema": DRAFT_7},
        {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}, "$schema": DRAFT_7},
        {"allOf": [True, {"not": False}]},
        {"pattern": "^(?<year>\\d+)\\p{L}$", "patternProperties": {"^x": True}},
        deep(300),
    ],
)
def test_sound_schema_has_no_problem(schema: dict[str, Any]) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"type": 5}, "$.type"),
        ({"properties": {"a": {"type": "string", "pattern": "("}}}, "'(' is not a regular expression"),
        ({"anyOf": [{"$ref": "#/$defs/Nope"}], "$defs": {"City": {}}}, "nothing at '#/$defs/Nope'"),
        ({"$ref": "#"}, "the reference '#' leads back to itself"),
        ({"allOf": [{"$ref": "#"}]}, "the reference '#' leads back to itself"),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/properties/a"}]}}}, "leads back to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "back to itself"),
        ({"not": {"if": {"then": {"$ref": "#/not/if"}}}}, "'#/not/if' leads back to itself"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "leads back to itself"),
        ({"$dynamicAnchor": "a", "$dynamicRef": "#a"}, "'#a' leads back to itself"),
        ({"items": {"$ref": "#/$defs/none"}}, "the schema has nothing at '#/$defs/none'"),
        ({"items": {"$ref": "#none"}}, "the schema has nothing at '#none'"),
        ({"items": {"$ref": "#/enum/x"}, "enum": [1]}, "the schema has nothing at '#/enum/x'"),
        ({"items": {"$ref": "https://example.com/a"}}, "'https://example.com/a', and no other schema is loaded"),
        ({"items": {"$ref": "other.json#/a"}}, "'other.json#/a', and no other schema is loaded"),
        ({"$id": "https://example.com/a", "items": {"$ref": "b"}}, "the schema has nothing at 'b'"),
        ({"$ref": "#/title", "title": "a text"}, "'a text' is not a schema"),
        ({"pattern": "("}, "'(' is not a regular expression: "),
        ({"patternProperties": {"(": True}}, "'(' is not a regular expression: "),
        ({"properties": {"default": {"items": {"pattern": "("}}}}, "'(' is not a regular expression: "),
        ({"$ref": "#/other/a", "other": {"a": {"pattern": "["}}}, "'[' is not a regular expression: "),
    ],
)
def test_problem_is_named(schema: dict[str, Any], problem: str) -> None:
    assert problem in str(schema_problem(schema))


def test_schemas_at_a_url_are_not_downloaded() -> None:
    with pytest.raises(UncheckableError, match="Unresolvable"):
        violation('{"$ref": "http://127.0.0.1:9/schema.json"}', {})
