"""The lines of a scratch file that say what the attempts at a row used although they have not led to an answer.

    {"crc":"9a0b1c2d","spent":"<16 hex>","key":"<32 hex>","n":0,"usage":{...},"cost":0.01}

`spent` identifies the line, so that a copy of it does not count again. `crc`, `key` and `n` are as in the other lines.
"""

from __future__ import annotations

import random
import re
from array import array
from binascii import hexlify, unhexlify
from dataclasses import replace
from typing import Any, NamedTuple
from zlib import crc32

from pydantic_core import from_json, to_json

from asyncinfer.types.usage import Usage

_HEAD = re.compile(rb'\{"crc":"([0-9a-f]{8})","spent":"([0-9a-f]{16})","key":"([0-9a-f]{32})","n":(\d{1,9}),"usage":')
_CHECKED_FROM = len('{"crc":"00000000",')


class SpentLine(NamedTuple):
    """What attempts at a row used that have not led to an answer.

    Attributes:
        key: The key of the row.
        n: How many rows with the same key come before it.
        number: Identifies the line among those of all runs.
        usage: The tokens of the attempts, and their cost if it is known.
    """

    key: bytes
    n: int
    number: int
    usage: Usage


class SpentSpans:
    """The offsets and the lengths of such lines in a file. Takes at most 16 bytes for each."""

    def __init__(self) -> None:
        self.offsets, self.lengths = array("Q"), array("L")

    def add(self, offset: int, length: int) -> None:
        """Add a line."""
        self.offsets.append(offset)
        self.lengths.append(length)


def encode_spent(key: bytes, n: int, usage: Usage) -> bytes:
    """A new line that saves what attempts at row `(key, n)` used."""
    values = random.getrandbits(64), hexlify(key), n, to_json(usage.to_dict()), to_json(usage.cost)
    text = b'"spent":"%016x","key":"%b","n":%d,"usage":%b,"cost":%b}' % values
    return b'{"crc":"%08x",%b\n' % (crc32(text), text)


def decode_spent(line: bytes) -> SpentLine | None:
    """The content of such a line; None if it is another one, or damaged."""
    head = _HEAD.match(line)
    if head is None or not line.endswith(b"}\n") or crc32(line[_CHECKED_FROM:-1]) != int(head[1], 16):
        return None
    data: Any = from_json(line)
    usage = replace(Usage.from_dict(data["usage"]), cost=data["cost"])
    return SpentLine(unhexlify(head[3]), int(head[4]), int(head[2], 16), usage)
