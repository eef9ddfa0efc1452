"""AWS's frames: comparison with botocore's decoder for any split of the bytes, and errors for corrupt frames."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import RequestError
from asyncinfer.dialects.bedrock.event_stream import Frame, FrameParser
from tests.dialects.frames import framed, header
from tests.dialects.mangled import check_that_it_is_retryable

HEADERS = (
    header("yes", 0, b""),
    header("no", 1, b""),
    header("byte", 2, b"\xff"),
    header("short", 3, struct.pack(">h", -2)),
    header("int", 4, struct.pack(">i", -3)),
    header("long", 5, struct.pack(">q", -4)),
    header("bytes", 6, b"\x00\x02\xff\xfe"),
    header("text", 7, "\x00\x06tsch\u00fc".encode()),
    header("time", 8, struct.pack(">q", 1_700_000_000_000)),
    header("uuid", 9, bytes(range(16))),
)
STREAM = framed(b'{"a": 1}', *HEADERS) + framed(b"") + framed("\u00e9".encode() * 1000, HEADERS[7])


def ours(data: bytes, *cuts: int) -> list[Frame]:
    decoder = FrameParser()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def theirs(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_split_at_any_place_equal_those_of_botocore(cuts: list[int]) -> None:
    assert ours(STREAM, *cuts) == theirs(STREAM)


def test_frames_are_read_byte_by_byte() -> None:
    assert ours(STREAM, *range(len(STREAM))) == theirs(STREAM)


def test_incomplete_frame_is_not_returned() -> None:
    assert ours(STREAM[:-1]) == theirs(STREAM)[:2]


@pytest.mark.parametrize("at", range(len(framed(b"{}", HEADERS[7]))))
def test_change_of_any_byte_is_detected(at: int) -> None:
    """A changed byte is detected at any position."""
    data = bytearray(framed(b"{}", HEADERS[7]))
    data[at] ^= 0x10
    check_that_it_is_retryable(ours, bytes(data), "the response has a")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((HEADERS[7], HEADERS[7]), "'text' occurs twice"),
        ((header("odd", 10, b""),), "cannot be read"),
        ((header("short", 3, b"\x00"),), "cannot be read"),
        ((header("text", 7, b"\x00\x09abc"),), "they end too early"),
        ((header("text", 7, b"\x00\x01\xff"),), "cannot be read"),
        ((b"\x09text",), "they end too early"),
        ((b"\x04text",), "cannot be read"),
    ],
)
def test_unreadable_headers_raise_request_error(headers: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(RequestError, match=why):
        ours(framed(b"{}", *headers))


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (16, 1), (2**31, 0), (2**20, 2**18), (0, 0)])
def test_impossible_length_raises_request_error_at_once(total: int, headers: int) -> None:
    lengths = struct.pack(">II", total, headers)
    with pytest.raises(RequestError, match="impossible length"):
        ours(lengths + struct.pack(">I", crc32(lengths)))


@given(st.binary(max_size=200), st.integers(0, 3))
def test_random_bytes_raise_request_error(noise: bytes, after: int) -> None:
    with contextlib.suppress(RequestError):
        ours(STREAM * after + noise)
