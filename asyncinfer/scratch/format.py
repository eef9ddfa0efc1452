"""The format of the scratch file: JSONL, with one finished row and a checksum in each line; see `spent` for others.

    {"crc":"9a0b1c2d","key":"<32 hex>","n":0,"source":"<8 hex>","conversation":{...}}

`crc` is the CRC-32 of the text after its comma, up to the newline. `key` and `n` identify the row. `source` is the
CRC-32 of the input row. If it differs when a run resumes, the id or the metadata of the row has changed, and the
answer is saved again with the current id and metadata.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

from pydantic_core import from_json

from asyncinfer.scratch.spent import SpentSpans, decode_spent

FIRST_BYTES = b'{"crc":'
_HEAD = re.compile(
    rb'\{"crc":"([0-9a-f]{8})","key":"([0-9a-f]{32})","n":(\d{1,9}),"source":"([0-9a-f]{8})","conversation":'
)
_LAST_FIELD = b'"conversation":'
# The finish reasons that are counted. A line that contains one of them anywhere is parsed, to see whether it is the
# finish reason of the answer.
COUNTED_REASONS = ("length", "content_filter")
_COUNTED = re.compile(rb'"finish_reason":"(?:%b)"' % "|".join(COUNTED_REASONS).encode())
_CHECKED_FROM = len('{"crc":"00000000",')
# Identifies a scratch file whose first bytes are damaged.
_MARK = re.compile(rb'"key":"[0-9a-f]{32}","n":\d')
_MARK_WITHIN = 1 << 10
# pydantic's JSON parser refuses more than 200 levels, and integers of more than 4,300 digits.
_SAFE_BRACKETS, _SAFE_DIGITS = 150, 4000
UNREADABLE = "it is nested too deeply, or holds a number with too many digits"
_DIGITS = frozenset(b"0123456789")


class SavedLine(NamedTuple):
    """A complete line: the row, and the position of the conversation's JSON in the file.

    Attributes:
        key: The key of the row.
        n: How many rows with the same key come before it.
        checksum: The CRC-32 of the input row.
        offset: Where the JSON starts, in bytes from the start of the file.
        length: The length of the JSON in bytes.
        finish_reason: The finish reason of the answer if it is one of `COUNTED_REASONS`; otherwise None.
    """

    key: bytes
    n: int
    checksum: int
    offset: int
    length: int
    finish_reason: str | None = None


def encode(key: bytes, n: int, checksum: int, conversation: bytes) -> bytes:
    """The line that saves `conversation` (its JSON) as the answer to row `(key, n)`."""
    head = b'"key":"%b","n":%d,"source":"%08x","conversation":' % (hexlify(key), n, checksum)
    crc = crc32(b"}", crc32(conversation, crc32(head)))
    return b'{"crc":"%08x",%b%b}\n' % (crc, head, conversation)


def decode(line: bytes, offset: int) -> SavedLine | None:
    """The content of a line that starts at `offset`; None if the line is damaged."""
    head = _HEAD.match(line)
    if head is None or not line.endswith(b"}\n"):
        return None
    if crc32(memoryview(line)[_CHECKED_FROM:-1]) != int(head[1], 16):
        return None
    start = head.end()
    return SavedLine(
        key=unhexlify(head[2]),
        n=int(head[3]),
        checksum=int(head[4], 16),
        offset=offset + start,
        length=len(line) - start - len(b"}\n"),
    )


def is_readable(data: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether the JSON at `data[start:end]`, which this package has written, can be parsed again.

    pydantic can write deeper nesting and longer integers than it can parse. For speed, only JSON with many brackets or
    a long run of digits is parsed to find out.
    """
    deep = data.count(b"[") + data.count(b"{") > _SAFE_BRACKETS
    # A run of `_SAFE_DIGITS` digits includes at least one of these positions.
    if not deep and _DIGITS.isdisjoint(data[_SAFE_DIGITS - 1 :: _SAFE_DIGITS]):
        return True
    try:
        from_json(data[start:end])
    except ValueError:
        return False
    return True


def looks_like_scratch(beginning: bytes) -> bool:
    """Whether a file with this beginning is a scratch file, even if some of its first bytes are damaged."""
    return FIRST_BYTES.startswith(beginning[: len(FIRST_BYTES)]) or _MARK.search(beginning, 0, _MARK_WITHIN) is not None


def spans(lines: Iterable[bytes], offset: int) -> Iterator[tuple[int, int]]:
    """The offset and the length of the conversation in each line. The first line starts at `offset`."""
    for line in lines:
        start = line.index(_LAST_FIELD) + len(_LAST_FIELD)
        yield offset + start, len(line) - start - len(b"}\n")
        offset += len(line)


@dataclass(slots=True)
class Recovery:
    """Reads the lines of a scratch file after a crash.

    Attributes:
        end: Where the last complete line ends. The rest of the file is an incomplete line.
        damaged: The numbers of the complete lines that do not match their checksum.
        spent: The positions of the lines that say what attempts without an answer used.
    """

    file: BinaryIO
    end: int = 0
    damaged: list[int] = field(default_factory=list[int])
    spent: SpentSpans = field(default_factory=SpentSpans)

    def lines(self) -> Iterator[SavedLine]:
        for number, line in enumerate(self.file, 1):
            if not line.endswith(b"\n"):
                return
            saved = decode(line, 0)
            start, self.end = self.end, self.end + len(line)
            if saved is None and decode_spent(line) is not None:
                self.spent.add(start, len(line))
            elif saved is None or not is_readable(line, saved.offset, stop := saved.offset + saved.length):
                self.damaged.append(number)
            else:
                reason = _finish_reason(line[saved.offset : stop]) if _COUNTED.search(line) else None
                yield saved._replace(offset=start + saved.offset, finish_reason=reason)


def _finish_reason(conversation: bytes) -> str | None:
    try:
        data: Any = from_json(conversation)
        reason = data["metadata"]["finish_reason"]
    except (ValueError, LookupError, TypeError):  # Reading the answer will show what is wrong.
        return None
    return reason if reason in COUNTED_REASONS else None
