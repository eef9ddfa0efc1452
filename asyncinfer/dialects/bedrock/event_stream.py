"""Parses `application/vnd.amazon.eventstream`, the binary format of AWS streams.

Sources: the Smithy specification ("Amazon Event Stream", "Message encoding") and botocore 1.44's decoder,
November 2026. A frame consists of: the length of the frame and the length of its headers (32 bits each), the CRC-32 of
these two, the headers, the payload, and the CRC-32 of everything before. Numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

from asyncinfer.types.http import malformed_response

Value = bool | int | bytes | str

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
# The limits of AWS's own decoders (bytes).
_MAX_HEADERS = 128 * 2**10
_MAX_PAYLOAD = 24 * 2**20
_OUTSIDE = _PRELUDE.size + _CRC.size
# The types of header values.
_BOOLEANS = {0: True, 1: False}
_NUMBERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), 4: struct.Struct(">i"), 5: struct.Struct(">q")}
_TIMESTAMP, _BYTES, _TEXT, _UUID = 8, 6, 7, 9
_NUMBERS[_TIMESTAMP] = _NUMBERS[5]  # milliseconds since the epoch


def is_frame_stream(beginning: bytes, *, declared: bool) -> bool | None:
    """Decide whether a body consists of frames; see `base.IsStream`. A frame is shorter than 2**25 bytes."""
    start = beginning.lstrip()[:1]
    if not start:
        return None
    return start in (b"\0", b"\1") or (declared and start not in (b"{", b"[", b"<"))


class Frame(NamedTuple):
    """One message of a stream."""

    headers: Mapping[str, Value]
    payload: bytes

    def header(self, name: str) -> str:
        """Return the text of a header; an empty text if the header is missing."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class FrameParser:
    """Parses bytes, split at any place, into frames."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that `chunk` completes.

        Raises:
            RequestError: A frame is corrupt. Nothing after it can be read.
        """
        self._begun += chunk
        while len(self._begun) >= _PRELUDE.size:
            total, headers = _lengths(self._begun)
            if len(self._begun) < total:
                return
            data = bytes(self._begun[:total])
            del self._begun[:total]
            yield _frame(data, headers)


def _lengths(begun: bytearray) -> tuple[int, int]:
    """Return the length of the frame and the length of its headers."""
    total, headers, check = _PRELUDE.unpack_from(begun)
    if crc32(begun[: _PRELUDE.size - _CRC.size]) != check:
        raise malformed_response("has an event whose beginning is corrupt (CRC-32)")
    if headers > _MAX_HEADERS or not 0 <= total - headers - _OUTSIDE <= _MAX_PAYLOAD:
        raise malformed_response(f"has an event of an impossible length ({total} bytes, {headers} of headers)")
    return total, headers


def _frame(data: bytes, headers: int) -> Frame:
    """Parse the bytes of one frame."""
    end = len(data) - _CRC.size
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise malformed_response("has a corrupt event (CRC-32)")
    begin = _PRELUDE.size + headers
    try:
        return Frame(_headers(data[_PRELUDE.size : begin]), data[begin:end])
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise malformed_response(f"has an event whose headers cannot be read ({error})") from None


def _headers(data: bytes) -> dict[str, Value]:
    """Parse headers.

    Raises:
        ValueError, IndexError, KeyError, struct.error: The headers are incomplete, or a type is unknown.
    """
    found: dict[str, Value] = {}
    at = 0
    while at < len(data):
        name, at = _piece(data, at + 1, data[at])
        value, at = _value(data, at + 1, data[at])
        if (key := name.decode()) in found:
            raise ValueError(f"{key!r} occurs twice")
        found[key] = value
    return found


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    """Return the value of a header, and the position after it."""
    if kind in _BOOLEANS:
        return _BOOLEANS[kind], at
    if kind in (_BYTES, _TEXT):
        value, end = _piece(data, at + 2, int.from_bytes(data[at : at + 2]))
        return (value.decode() if kind == _TEXT else value), end
    if kind == _UUID:
        return _piece(data, at, 16)
    number = _NUMBERS[kind]
    return number.unpack_from(data, at)[0], at + number.size


def _piece(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    end = at + length
    if end > len(data):
        raise ValueError("they end too early")
    return data[at:end], end
