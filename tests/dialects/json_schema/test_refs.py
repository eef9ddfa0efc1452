"""References within JSON schemas are JSON pointers (RFC 6901)."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.json_schema.refs import pointed_at

TARGET = {"type": "string"}


@pytest.mark.parametrize(
    ("ref", "root"),
    [
        ("#/$defs/A", {"$defs": {"A": TARGET}}),
        ("#/$defs/a~1b", {"$defs": {"a/b": TARGET}}),
        ("#/$defs/a~0b", {"$defs": {"a~b": TARGET}}),
        ("#/$defs/a%20b", {"$defs": {"a b": TARGET}}),
        ("#/$defs/", {"$defs": {"": TARGET}}),
        ("#/anyOf/1", {"anyOf": [{}, TARGET]}),
        ("#", TARGET),
    ],
)
def test_pointer_leads_to_its_target(ref: str, root: dict[str, Any]) -> None:
    assert pointed_at(root, ref) == TARGET


@pytest.mark.parametrize(
    "ref", ["", "other.json#/a", "#/$defs/A", "#/anyOf/1", "#/anyOf/-1", "#/anyOf/x", "#/anyOf/0/x"]
)
def test_pointer_without_a_target_leads_nowhere(ref: str) -> None:
    assert pointed_at({"anyOf": [True]}, ref) is None


def test_reference_to_an_escaped_name_is_inlined() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/List~1Item"}}, "$defs": {"List/Item": TARGET}}
    assert inline_refs(schema) == {"properties": {"a": TARGET}}
