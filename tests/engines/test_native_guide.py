"""What a schema means to guided decoding."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.engines.native_guide import _closed

ADDED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"type": "string"}, {"type": "string"}),
        ({"type": "object"}, {"type": "object"}),
        ({"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "string"}}, **ADDED}),
        (
            {"properties": {"a": {}}, "additionalProperties": True},
            {"properties": {"a": {}}, "additionalProperties": True},
        ),
        (
            {"properties": {"properties": {"properties": {}}}},
            {"properties": {"properties": {"properties": {}, **ADDED}}, **ADDED},
        ),
        ({"items": [{"properties": {}}]}, {"items": [{"properties": {}, **ADDED}]}),
        (
            {"$defs": {"x": {"properties": {}}}, "$ref": "#/$defs/x"},
            {"$defs": {"x": {"properties": {}, **ADDED}}, "$ref": "#/$defs/x"},
        ),
        ({"const": {"properties": {}}}, {"const": {"properties": {}}}),
    ],
)
def test_an_object_has_the_properties_that_its_schema_lists(schema: dict[str, Any], closed: dict[str, Any]) -> None:
    assert _closed(schema) == closed
