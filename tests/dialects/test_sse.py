"""Server-sent events follow the rules of the HTML standard, however the bytes are split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncinfer import RequestError
from asyncinfer.dialects import sse
from asyncinfer.dialects.sse import ServerSentEvent, SSEParser


def decoded(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = SSEParser()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


cuts = st.lists(st.integers(0, 10_000), max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8).filter(
    lambda text: sse._FRAMES.match(text) is None
)
names = texts.filter(bool)
noise = st.sampled_from([[], [": ping"], ["id: 7", "retry: 10", "unheard: of"]])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[ServerSentEvent]]:
    """The bytes of a stream, in any spelling that the standard allows, and its events."""
    events = draw(st.lists(st.builds(ServerSentEvent, st.lists(texts, min_size=1).map("\n".join), names), max_size=4))
    lines: list[str] = []
    for data, name in events:
        named = [f"event: {name}"] if name != "message" or draw(st.booleans()) else []
        lines += [*draw(noise), *named, *(_data(line, draw(st.booleans())) for line in data.split("\n")), ""]
    end = draw(st.sampled_from(["\r\n", "\n", "\r"]))
    text = "".join(line + end for line in lines)
    # The last line end may be a single CR. The parser waits for the LF that may follow it.
    whole = draw(st.sampled_from(["", "\ufeff"])) + text + ("\n" if text.endswith("\r") else "")
    return whole.encode(), events


def _data(line: str, bare: bool) -> str:
    """A data line. A space may follow the colon; it must follow if the text itself begins with a space."""
    return f"data:{line}" if bare and not line.startswith(" ") else f"data: {line}"


@given(streams(), cuts)
def test_events_in_any_spelling_are_read_however_they_are_split(
    stream: tuple[bytes, list[ServerSentEvent]], cuts: list[int]
) -> None:
    sent, events = stream
    assert decoded(*pieces(sent, cuts)) == events


@given(st.lists(st.sampled_from([b"data:", b"\r", b"\n", b"\xef\xbb\xbf", b"\xc3", b"\xa9", b":", b"x", b" "])), cuts)
@example([b"data:", b"\xef\xbb\xbf", b"x", b"\r", b"\n", b"\r", b"\n"], [7, 10])
def test_any_bytes_read_the_same_however_they_are_split(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    assert decoded(*pieces(stream, cuts)) == decoded(stream)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_three_line_endings_are_recognised(end: str) -> None:
    stream = f"data: one{end}{end}data: two{end}{end}\n".encode()
    assert decoded(stream) == [ServerSentEvent("one"), ServerSentEvent("two")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\ndata: b\n\n", [ServerSentEvent("a\nb")]),
        (b"event: error\ndata: x\n\n", [ServerSentEvent("x", "error")]),
        (b": comment\n\n", []),
        (b"event: lonely\n\n", []),
        (b"data\n\n", [ServerSentEvent("")]),
        (b"data:  two spaces\n\n", [ServerSentEvent(" two spaces")]),
        (b"\xef\xbb\xbfdata: after a byte order mark\n\n", [ServerSentEvent("after a byte order mark")]),
        (b"data: \xff\n\n", [ServerSentEvent("\ufffd")]),
        ("data: \u2028 ends no line\n\n".encode(), [ServerSentEvent("\u2028 ends no line")]),
    ],
)
def test_examples_of_the_standard_are_read(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert decoded(stream) == events


@pytest.mark.parametrize("rest", [b"data: b", b"data: b\n", b"event: x\ndata: b\n"])
def test_event_without_a_final_blank_line_is_ignored(rest: bytes) -> None:
    assert decoded(b"data: a\n\n" + rest) == [ServerSentEvent("a")]


def test_name_applies_to_one_event() -> None:
    assert decoded(b"event: x\ndata: a\n\ndata: b\n\n") == [ServerSentEvent("a", "x"), ServerSentEvent("b")]


@pytest.mark.parametrize("line", [b"x", b"data: xxxxxxxxx\n"], ids=["a line without an end", "an event without an end"])
def test_size_of_an_event_is_bounded(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT", 1000)
    with pytest.raises(RequestError, match="an event of more than"):
        decoded(*[line] * 1100)


def test_size_of_ignored_lines_is_not_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT", 1000)
    assert decoded(*[b": ping\n\n", b"data: a\n\n", b"id: 1\n"] * 1100) == [ServerSentEvent("a")] * 1100


def test_events_with_too_many_values_are_refused() -> None:
    with pytest.raises(RequestError, match="an event with more values than any answer has"):
        decoded(b"data: [" + b"[]," * 2**21 + b"0]\n\n")


# Beyond the standard


def with_rest(*chunks: bytes) -> list[ServerSentEvent]:
    parser = SSEParser()
    return [*(event for chunk in chunks for event in parser.feed(chunk)), *parser.rest()]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n', ['{"a": 1}', '{"b": 2}', "[DONE]"]),
        (b'data: {"a":\ndata: {"b": 2}}\n\n', ['{"a":\n{"b": 2}}']),
        (b'{"error": "no"}\n\ndata: {"a": 1}\n\n', ['{"error": "no"}', '{"a": 1}']),
        (b'data: {"a": 1}\n\n\xef\xbb\xbfdata: {"b": 2}\n\n', ['{"a": 1}', '{"b": 2}']),
        (b'data: {"a": 1}', ['{"a": 1}']),
        (b'data: {"a": 1}\n', ['{"a": 1}']),
        (b"data: [DONE]", ["[DONE]"]),
        (b'data: {"a": 1}\n\ndata: {"b": ', ['{"a": 1}']),
        (b"data: text", []),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_json_object_is_an_event_without_blank_lines_around_it(stream: bytes, data: list[str], size: int) -> None:
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [event.data for event in with_rest(*chunks)] == data


def test_event_that_is_framed_thousands_of_times_is_read() -> None:
    [event] = SSEParser().feed(b"data: " * 5000 + b'{"a": 1}\n\n')
    assert event.data == '{"a": 1}'


def test_size_of_an_event_without_a_blank_line_counts_once() -> None:
    parser, data = SSEParser(), b'{"a": "' + b"x" * (17 << 20) + b'"}'
    parser.feed(b"data: " + data)
    [event] = parser.rest()
    assert len(event.data) == len(data)
