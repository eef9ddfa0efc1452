"""Passing on pieces of tool calls: what was passed on is never different from the complete call."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import RequestError, StreamDelta, ToolCallDelta
from tests.dialects.mangled import complete_calls, joined_pieces
from tests.dialects.openai.test_stream import chunk, deltas_of
from tests.dialects.test_call_assembler import ASSIGNABLE, OSLO, ROME, UTC, at, piece

Json = dict[str, Any]


def streamed(*events: list[Json], finish: str = "tool_calls") -> tuple[list[ToolCallDelta], StreamDelta]:
    """The pieces before the last delta, and the last delta."""
    *deltas, last = deltas_of(*(chunk(tool_calls=pieces) for pieces in events), chunk(finish))
    assert joined_pieces([*deltas, last]) == complete_calls(last)
    return [piece for delta in deltas for piece in delta.tool_call_deltas], last


def test_first_piece_waits_until_the_arguments_are_not_a_placeholder() -> None:
    pieces, _ = streamed(*at(0, "{", '"city"', ': "Oslo"}', id="a", name="weather"))
    assert pieces == [ToolCallDelta(0, "a", "weather", '{"city"'), ToolCallDelta(0, arguments=': "Oslo"}')]


@pytest.mark.parametrize("placeholder", ["{}", "null", "{ }\n", ""])
def test_placeholder_is_not_passed_on(placeholder: str) -> None:
    pieces, _ = streamed(*at(0, placeholder, OSLO, id="a", name="weather"))
    assert pieces == [ToolCallDelta(0, "a", "weather", OSLO)]


@pytest.mark.parametrize("arguments", ["", "{}", "null"])
def test_call_without_arguments_comes_in_the_last_delta(arguments: str) -> None:
    pieces, last = streamed(*at(0, arguments, id="a", name="now"))
    assert pieces == []
    assert [(call.index, call.id, call.name) for call in last.tool_call_deltas] == [(0, "a", "now")]


def test_call_that_is_left_out_because_it_was_cut_off_is_not_passed_on() -> None:
    pieces, last = streamed(
        *at(0, OSLO, id="a", name="weather"), *at(1, "{", "}", id="b", name="clock"), finish="length"
    )
    assert [call.index for call in pieces] == [0]
    assert [call["id"] for call in last.tool_calls] == ["a"]


def test_later_call_keeps_its_position_behind_a_call_without_arguments() -> None:
    pieces, last = streamed(*at(0, "{}", id="a", name="now"), *at(1, OSLO, id="b", name="weather"))
    assert pieces == [ToolCallDelta(1, "b", "weather", OSLO)]
    assert last.tool_call_deltas == (ToolCallDelta(0, "a", "now", "{}"),)


def test_call_without_an_id_has_one_generated_id() -> None:
    pieces, last = streamed(*at(0, OSLO, name="weather"))
    assert pieces == []
    assert last.tool_call_deltas[0].id == last.tool_calls[0]["id"]


def test_id_that_comes_late_is_in_the_first_piece() -> None:
    pieces, _ = streamed([piece("weather", '{"city": ', index=0)], [piece(None, '"Oslo"}', index=0, id="a")])
    assert pieces == [ToolCallDelta(0, "a", "weather", OSLO)]


def test_call_with_a_higher_index_waits_for_the_calls_before_it() -> None:
    pieces, last = streamed(*at(1, UTC, id="b", name="clock"), *at(0, OSLO, id="a", name="weather"))
    assert [call.index for call in pieces] == [0]
    assert [call["id"] for call in last.tool_calls] == ["a", "b"]


def test_call_with_a_lower_index_than_a_call_passed_on_comes_after_it() -> None:
    """The only case in which the order differs from that of the indices."""
    calls = (
        *at(0, OSLO, id="a", name="weather"),
        *at(1, UTC, id="b", name="clock"),
        *at(0, ROME, id="c", name="weather"),
    )
    _, last = streamed(*calls)
    assert [call["id"] for call in last.tool_calls] == ["a", "b", "c"]


def test_call_with_the_id_of_another_call_is_passed_on_at_the_end() -> None:
    pieces, last = streamed(*at(0, OSLO, id="a", name="weather"), *at(1, OSLO, id="a", name="weather"))
    assert [call.index for call in pieces] == [0]
    assert len(last.tool_calls) == 1


EVENTS = [event for events, _ in ASSIGNABLE.values() for event in events]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(EVENTS), max_size=6), st.sampled_from(["tool_calls", "stop", "length"]))
def test_joined_pieces_are_the_complete_calls_in_any_mix_of_odd_streams(events: list[list[Json]], finish: str) -> None:
    with contextlib.suppress(RequestError):  # The pieces cannot be assigned to their calls.
        streamed(*events, finish=finish)
