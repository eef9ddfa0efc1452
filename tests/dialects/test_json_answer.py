"""The JSON in the text of an answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.json_answer import json_values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CONTAINERS = st.lists(JSON, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=3)
# Prose without brackets and fences.
PROSE = st.text(st.characters(blacklist_characters="{}[]`~", blacklist_categories=["Cs"]))


@given(JSON)
def test_text_that_is_json_has_this_value(value: Any) -> None:
    assert next(json_values(f" \n{json.dumps(value)}\n")) == value


@given(CONTAINERS, PROSE, PROSE)
def test_value_may_have_prose_around_it(value: Any, before: str, after: str) -> None:
    assert value in list(json_values(f"{before}: {json.dumps(value)} {after}"))


@given(CONTAINERS, PROSE, PROSE, st.sampled_from(["```", "```json", "````", "~~~"]), st.sampled_from([None, 2]))
def test_value_may_be_in_a_fenced_block(value: Any, before: str, after: str, fence: str, indent: int | None) -> None:
    text = f"{before}\n{fence}\n{json.dumps(value, indent=indent)}\n{fence.removesuffix('json')}\n{after}"
    assert next(json_values(text)) == value


@given(st.dictionaries(st.text(max_size=5), CONTAINERS, min_size=1, max_size=3), st.data())
def test_part_of_a_value_that_is_cut_off_is_never_taken(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    assert list(json_values(text[: data.draw(st.integers(0, len(text) - 1))])) == []


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    list(json_values(text))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1} and later {"a": 2}', [{"a": 2}, {"a": 1}]),
        ('As {x} says: {"a": 1}', [{"a": 1}]),
        ('"He said {": {"a": "}"}', []),
        ('{"a": "line\nbreak"}', [{"a": "line\nbreak"}]),
        ('"{\\"a\\": 1}"', ['{"a": 1}', {"a": 1}]),
        ("no JSON", []),
        ("", []),
    ],
)
def test_examples(text: str, values: list[Any]) -> None:
    found: list[Any] = []
    for value in json_values(text):
        if value not in found:
            found.append(value)
    assert found == values


@pytest.mark.parametrize("text", ["[" * 200_000, '{"' * 100_000, '"\\' * 100_000, "{}" * 100_000, "```\n" * 50_000])
def test_long_hostile_text_is_read_quickly(text: str) -> None:
    began = time.process_time()
    list(json_values(text))
    assert time.process_time() - began < 2
