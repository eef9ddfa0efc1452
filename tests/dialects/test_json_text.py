"""JSON with characters that cannot be read, and with bytes before and after it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.json_text import EventJson, read_json, values_in
from tests.work import counted_calls

REPLACED = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"a \ud83d"', f"a {REPLACED}"),
        (rb'"\uDC00 b"', f"{REPLACED} b"),
        (rb'["\ud83d", "\ude00"]', [REPLACED, REPLACED]),
        (rb'"\ud83d\ud83d\ude00"', f"{REPLACED}😀"),
        (rb'["\ud83d\ude00", "\ud83d"]', ["😀", REPLACED]),
        (rb'["\\ud83d", "\ud83d"]', [r"\ud83d", REPLACED]),
        (b'"caf\xe9"', f"caf{REPLACED}"),
        (b'"\xed\xa0\xbd!"', f"{REPLACED * 3}!"),
        (b'{"a": "line\nbreak\x00"}', {"a": "line\nbreak\0"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'\n\xef\xbb\xbf {"a": 1}', {"a": 1}),
        ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
        (b'{"a": 1}\0\0', {"a": 1}),
        (b'{"a": 1}\n\ndata: [DONE]\n\n', {"a": 1}),
        (b'{"a": "}"} {"b": 2}', {"a": "}"}),
        (b"[1, 2] and more", [1, 2]),
        (b'{"a": -' + b"9" * 5000 + b', "b": 1}', {"a": "-" + "9" * 5000, "b": 1}),
        (b'"' + b"\\\\n" * 9 + b'\\ud83d"', "\\n" * 9 + REPLACED),
    ],
)
def test_text_that_a_strict_parser_refuses_is_read(text: bytes, value: Any) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"a": ', b'{"a": "b', b'{"a": "\\', b"502 Bad Gateway", b'"a" b', b"data: {}", b"\xff", b"[1, 2"],
)
def test_text_without_a_complete_value_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        read_json(text)


@given(st.dictionaries(st.text(), st.text() | st.integers(0, 9) | st.none()), st.text())
def test_value_is_the_same_with_bytes_around_it(value: dict[str, Any], rest: str) -> None:
    text = json.dumps(value)
    assert read_json(f"\ufeff \n{text}\n#{rest}".encode()) == value


def test_halves_of_a_character_in_two_events_are_joined() -> None:
    events = EventJson()
    assert events.read(r'{"a": "hi \ud83d", "b": ""}') == {"a": "hi ", "b": ""}
    assert events.read(r'{"a": "\ude00!", "b": "\ude00"}') == {"a": "😀!", "b": REPLACED}
    assert events.read(r'{"a": "\ude00"}') == {"a": REPLACED}


def test_half_of_a_character_that_is_never_completed_is_replaced() -> None:
    events = EventJson()
    assert events.read(r'{"content": "hi \ud83d"}') == {"content": "hi "}
    assert events.read('{"content": "", "other": "content"}') == {"content": "", "other": "content"}
    assert events.rest() == REPLACED
    assert events.read('{"other": "content", "content": "b"}') == {"other": "content", "content": f"{REPLACED}b"}
    assert events.read(r'{"content": "\ude00c"}') == {"content": f"{REPLACED}c"}
    assert events.rest() == ""


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"a": 1}\n{"b": "}"}\n', ['{"a": 1}', '{"b": "}"}']),
        (b'{"a": 1}{"b": 2}', ['{"a": 1}', '{"b": 2}']),
        (b'[{"a": 1},\n{"b": 2}]', ['{"a": 1}', '{"b": 2}']),
        (b'\x1e{"a": 1}\n\x1e{"b": 2}\n', ['{"a": 1}', '{"b": 2}']),
        (b'{"a": 1}\n{"b": ', ['{"a": 1}']),
        (b'{"a": 1}\ntext', ['{"a": 1}']),
        (b"[1]", []),
        (b"text", []),
    ],
)
def test_objects_in_a_body_are_found(body: bytes, values: list[str]) -> None:
    assert values_in(body) == values


@pytest.mark.parametrize(
    "body",
    [
        b"{}\n" * 1_000_000,
        b"[" + b"{}," * 300_000 + b"{}]",
        b'{"a": "' + b"\\" * 9_999_999,
        b'{"a": "' + b"\\n " * 3_000_000,
        b'{"a": "\\ud83d' + b"\0" * 10_000_000,
        b'{"a": "\\ud83d", "b": [' + b'"",' * 1_900_000,
        b'{"a": ' + (b"9" * 4300 + b",") * 2_000,
    ],
    ids=["lines", "a list", "backslashes", "escapes", "control characters", "strings", "long numbers"],
)
def test_hostile_body_is_refused_with_little_work(body: bytes) -> None:
    with counted_calls() as calls:
        assert values_in(body) == []
        with suppress(ValueError):
            read_json(body)
    assert calls.count < 1_000_000
