"""Assembling tool calls from the pieces that servers stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import FinishReason, RequestError
from asyncinfer.dialects.json_end import JsonEnd
from tests.dialects.mangled import check_that_it_is_retryable, complete_calls, joined_pieces
from tests.dialects.openai.test_stream import chunk, deltas_of

Json = dict[str, Any]

OSLO, ROME, UTC = '{"city": "Oslo"}', '{"city": "Rome"}', '{"zone": "UTC"}'
WEATHER, CLOCK = ("weather", OSLO), ("clock", UTC)


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> Json:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**more, "function": function}


def calls_of(*events: list[Json], finish: str = "tool_calls") -> list[tuple[str, str]]:
    """The name and the arguments of each call in the answer. Checks that the pieces that were passed on make them."""
    deltas = deltas_of(*(chunk(tool_calls=pieces) for pieces in events), chunk(finish))
    last = deltas[-1]
    assert joined_pieces(deltas) == complete_calls(last)
    return [(call["function"]["name"], call["function"]["arguments"]) for call in last.tool_calls]


def at(index: Any, *texts: str, **first: Any) -> list[list[Json]]:
    """The pieces of one call, each in an event: a first one that names it, and the arguments."""
    name = first.pop("name")
    return [[piece(name, "", index=index, **first)], *([piece(None, text, index=index)] for text in texts)]


ASSIGNABLE: dict[str, tuple[list[list[Json]], list[tuple[str, str]]]] = {
    "index 0, other ids, in pieces": (
        [*at(0, '{"city": ', '"Oslo"}', id="a", name="weather"), *at(0, UTC, id="b", name="clock")],
        [WEATHER, CLOCK],
    ),
    "index 0, other ids, whole": (
        [[piece(*WEATHER, index=0, id="a")], [piece("weather", ROME, index=0, id="b")]],
        [WEATHER, ("weather", ROME)],
    ),
    "index 0, no ids, in pieces": ([*at(0, OSLO, name="weather"), *at(0, UTC, name="clock")], [WEATHER, CLOCK]),
    "index 0, no ids, the same function": (
        [[piece(*WEATHER, index=0)], [piece("weather", ROME, index=0)]],
        [WEATHER, ("weather", ROME)],
    ),
    "index 0, no ids, the same function in pieces": (
        [*at(0, OSLO, name="weather"), *at(0, '{"city"', ': "Rome"}', name="weather")],
        [WEATHER, ("weather", ROME)],
    ),
    "no index, no ids, the same call twice": ([[piece(*WEATHER)], [piece(*WEATHER)]], [WEATHER, WEATHER]),
    "no index, no ids, in pieces": (
        [[piece("weather", "")], [piece(None, '{"city"')], [piece(None, ': "Oslo"}')], [piece(*CLOCK)]],
        [WEATHER, CLOCK],
    ),
    "no index, an id in the first piece only": (
        [[piece("weather", "", id="a")], [piece(None, OSLO)], [piece("clock", "", id="b")], [piece(None, UTC)]],
        [WEATHER, CLOCK],
    ),
    "an index in the later pieces only": ([[piece("weather", "", id="a")], [piece(None, OSLO, index=0)]], [WEATHER]),
    "the index as text": ([*at("1", UTC, id="b", name="clock"), *at("0", OSLO, id="a", name="weather")], [WEATHER, CLOCK]),
    "id and name with every piece": (
        [[piece("weather", text, index=0, id="a")] for text in ("", '{"city"', ': "Oslo"}', "")],
        [WEATHER],
    ),
    "an id that changes": ([[piece("weather", "", index=0, id="a")], [piece(None, OSLO, index=0, id="b")]], [WEATHER]),
    "an id that becomes empty": ([[piece("weather", "", index=0, id="a")], [piece(None, OSLO, index=0, id="")]], [WEATHER]),
    "ids that tell, and no index": (
        [[piece("weather", "", id="a")], [piece("clock", "", id="b")], [piece(None, OSLO, id="a")], [piece(None, UTC, id="b")]],
        [WEATHER, CLOCK],
    ),
    "the name after the id": (
        [[piece(index=0, id="a")], [piece("weather", index=0)], [piece(None, OSLO, index=0)]],
        [WEATHER],
    ),
    "an object": ([[piece("weather", {"city": "Oslo"}, index=0, id="a")]], [WEATHER]),
    "'{}', then the arguments in pieces": ([*at(0, "{}", '{"city"', ': "Oslo"}', id="a", name="weather")], [WEATHER]),
    "'{ }' or an object without fields, then the arguments": (
        [*at(0, "{ }\n", OSLO, id="a", name="weather"), [piece("clock", {}, index=1)], [piece(None, UTC, index=1)]],
        [WEATHER, CLOCK],
    ),
    "'null', then the arguments": ([*at(0, "null", OSLO, id="a", name="weather")], [WEATHER]),
    "ids that are numbers": ([[piece(*WEATHER, index=0, id=1)], [piece(*CLOCK, index=0, id=2)]], [WEATHER, CLOCK]),
    "'{}' alone": ([*at(0, "{}", id="a", name="now")], [("now", "{}")]),
    "all of it again at the end": (
        [*at(0, OSLO, id="a", name="weather"), [piece("weather", OSLO, index=0, id="a")]],
        [WEATHER],
    ),
    "a bracket and a quote within a text": (
        [*at(0, '{"city": "}\\', '"]', '"}', id="a", name="weather"), *at(0, UTC, name="clock", id="b")],
        [("weather", '{"city": "}\\"]"}'), CLOCK],
    ),
    "white space after the end": ([*at(0, OSLO, "\n", id="a", name="weather")], [("weather", OSLO + "\n")]),
}  # fmt: skip


@pytest.mark.parametrize(("events", "calls"), ASSIGNABLE.values(), ids=ASSIGNABLE.keys())
def test_pieces_are_added_to_their_calls(events: list[list[Json]], calls: list[tuple[str, str]]) -> None:
    assert calls_of(*events) == calls


AMBIGUOUS: dict[str, list[list[Json]]] = {
    "two begun with the same index, then arguments": [
        [piece("weather", "", index=0, id="a"), piece("clock", "", index=0, id="b")],
        [piece(None, OSLO, index=0)],
    ],
    "two begun at once without an index, then arguments": [
        [piece("weather", "", id="a"), piece("clock", "", id="b")],
        [piece(None, OSLO)],
    ],
    "another name before the end": [[piece("weather", '{"ci', index=0)], [piece("clock", 'ty": 1}', index=0)]],
    "another name under the same id": [[piece(*WEATHER, index=0, id="a")], [piece(*CLOCK, index=0, id="a")]],
    "more arguments after the end": [*at(0, OSLO, ROME, id="a", name="weather")],
    "other arguments under the same id": [
        [piece(*WEATHER, index=0, id="a")],
        [piece("weather", ROME, index=0, id="a")],
    ],
    "an id that changes with name and index": [
        [piece("weather", '{"ci', index=0, id="a")],
        [piece("weather", 'ty": "Oslo"}', index=0, id="b")],
    ],
    "an id of another index": [*at(0, OSLO, id="a", name="weather"), *at(1, "", id="b", name="clock"),
                               [piece(None, UTC, index=1, id="a")]],
    "an id that changes, without an index": [
        [piece("weather", "", id="a")], [piece("clock", "", id="b")], [piece(None, OSLO, id="c")],
    ],
    "arguments before any name": [[piece(None, OSLO, index=0)]],
    "arguments of a call that never began": [*at(0, OSLO, id="a", name="weather"), [piece(None, UTC, index=1)]],
    "a name again after another call": [
        [piece(*WEATHER, index=0)], [piece(*CLOCK, index=0)], [piece("weather", "", index=0)],
    ],
    "a number": [[piece("weather", 5, index=0)]],
    "calls without end": [[piece("f", "{}", index=index)] for index in range(300)],
}  # fmt: skip


@pytest.mark.parametrize("events", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_pieces_that_may_belong_to_two_calls_fail_the_attempt(events: list[list[Json]]) -> None:
    check_that_it_is_retryable(lambda body: calls_of(*body), events)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_call_that_is_cut_before_its_arguments_is_left_out(finish: str) -> None:
    assert calls_of(*at(0, OSLO, id="a", name="weather"), *at(1, id="b", name="clock"), finish=finish) == [WEATHER]


def test_call_that_is_cut_within_its_arguments_keeps_them_as_text() -> None:
    last = deltas_of(*(chunk(tool_calls=part) for part in at(0, '{"ci', id="a", name="f")), chunk("length"))[-1]
    assert (last.finish_reason, last.tool_calls[0]["function"]["arguments"]) == (FinishReason.LENGTH, '{"ci')


@st.composite
def _cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]


@settings(max_examples=300)
@given(st.data())
def test_calls_are_never_merged(data: st.DataObject) -> None:
    """Pieces of two calls, with ids, indices and names left out or repeated at random, give both calls or an error."""
    wanted = [("weather", OSLO), data.draw(st.sampled_from([("weather", ROME), ("clock", UTC)]))]
    same_index, has_index, has_id, repeats = (data.draw(st.booleans()) for _ in range(4))
    pieces: list[list[Json]] = []
    for number, (name, arguments) in enumerate(wanted):
        named = {"index": 0 if same_index else number} if has_index else {}
        with_id = {**named, "id": f"call_{number}"} if has_id else named
        first, *rest = data.draw(_cut(arguments))
        pieces.append([piece(name, first, **with_id)])
        again = with_id if repeats else named
        pieces[-1] += [piece(name if repeats else None, text, **again) for text in rest]
    if data.draw(st.booleans()):  # one piece of each in turn
        longest = max(map(len, pieces))
        events = [part[at] for at in range(longest) for part in pieces if at < len(part)]
    else:
        events = pieces[0] + pieces[1]
    try:
        assert sorted(calls_of(*([event] for event in events))) == sorted(wanted)
    except RequestError:
        assert not (has_index and has_id and not same_index)


@given(
    st.recursive(
        st.booleans() | st.text('{}[]"\\a'), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
    st.data(),
)
def test_end_of_json_is_found_however_it_is_split(value: Any, data: st.DataObject) -> None:  # fmt: skip
    text = json.dumps([value])
    end = JsonEnd()
    for part in data.draw(_cut(text[:-1])):
        end.feed(part)
        assert not end.reached
    end.feed(text[-1])
    assert end.reached
