"""Text is decoded from the bytes of tokens, wherever the bytes are split."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.engines.local.text_stream import TextStream


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.text(alphabet="abé🦙<"), st.lists(st.integers(0, 100)), st.lists(st.text("abé<", min_size=1)))
def test_text_ends_before_the_first_stop_string(text: str, cuts: list[int], stops: list[str]) -> None:
    stream = TextStream(stops)
    released: list[str] = []
    for piece in pieces(text.encode(), cuts):
        released.append(stream.push(piece))
        if stream.stopped:
            break
    released.append(stream.finish())
    assert stream.stopped == any(stop in text for stop in stops)
    assert "".join(released) == stream.text
    assert text.startswith(stream.text)
    assert not any(stop in stream.text for stop in stops)
    if not stream.stopped:
        assert stream.text == text


def test_possible_beginning_of_a_stop_string_is_held_back() -> None:
    stream = TextStream(["<end>"])
    assert [stream.push(piece) for piece in (b"a<e", b"n", b"x<", b"end>b")] == ["a", "", "<enx", ""]
    assert stream.stopped


def test_incomplete_character_is_held_back() -> None:
    llama = "🦙".encode()
    stream = TextStream()
    assert (stream.push(llama[:2]), stream.push(llama[2:])) == ("", "🦙")
    stream.push(llama[:3])
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


def test_all_text_from_the_marker_on_is_held_back() -> None:
    stream = TextStream(marker="<tool_call>")
    assert [stream.push(piece) for piece in (b"so: <to", b"ol_call>{", b"}")] == ["so: ", "", ""]
    assert (stream.finish(), stream.held) == ("", "<tool_call>{}")
