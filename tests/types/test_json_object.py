"""JSON objects are told from other texts."""

from __future__ import annotations

import pytest

from asyncinfer.types.json_object import json_object


def test_object_is_read_from_text_and_from_bytes() -> None:
    assert json_object(' {"a": [1]} ') == json_object(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("text", ["", "[1]", '"{}"', "null", '{"a": 1', '{"a": 1} and more', "a text"])
def test_other_text_holds_no_object(text: str) -> None:
    assert json_object(text) is None
