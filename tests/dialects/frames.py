"""Makes frames of AWS event streams."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

STREAM_TYPE = "application/vnd.amazon.eventstream"


def framed(payload: bytes, *headers: bytes) -> bytes:
    head = b"".join(headers)
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    data = lengths + struct.pack(">I", crc32(lengths)) + head + payload
    return data + struct.pack(">I", crc32(data))


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def text(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


def event(kind: str, data: Any) -> bytes:
    """The frame of an event of Bedrock."""
    return framed(
        json.dumps(data).encode(),
        text(":event-type", kind),
        text(":content-type", "application/json"),
        text(":message-type", "event"),
    )


def exception(kind: str, message: str) -> bytes:
    """The frame of an exception within a stream."""
    return framed(
        json.dumps({"message": message}).encode(),
        text(":exception-type", kind),
        text(":content-type", "application/json"),
        text(":message-type", "exception"),
    )
