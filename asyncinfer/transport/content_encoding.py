"""Decompresses response bodies in pieces of bounded size.

gzip and deflate: RFC 9110 section 8.4.1 (June 2022). The transport asks for no other encoding.

Some servers and gateways describe a body wrongly: they put a character set or a media type into `Content-Encoding`,
keep `gzip` after they have decompressed the body, or compress it and do not say so. The first bytes of the body decide
then.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from asyncinfer.types.http import malformed_response

ACCEPTED = "gzip, deflate"
# The most bytes that one step produces: about 0.1 ms of work.
PIECE = 2**16
# zlib copies the data after the end of each gzip member, so many small members in one large chunk would take quadratic
# time.
_SLICE = 2**12
_MAX_MEMBERS = 1000
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_IDENTITY = frozenset({"", "identity", "none", "utf-8", "utf8"})
_SUPPORTED = (["gzip"], ["x-gzip"], ["deflate"])
# Further compressions: HTTP's registry (IANA, November 2026), and others in use. Their data may begin like text.
_UNSUPPORTED = frozenset({"br", "compress", "dcb", "dcz", "lz4", "snappy", "x-compress", "xz", "zstd"})
# A gzip body begins with this byte. Text never does.
GZIP_BYTE = b"\x1f"
_GZIP_STARTS = (GZIP_BYTE, b"\x1f\x8b")
# How JSON, server-sent events (`data`, `event`, `id`, `retry`, a colon), and HTML begin.
_TEXT_STARTS = frozenset(b'{["deir:< \t\r\n\xef')


def decoder_for(encoding: str | None, start: bytes = b"") -> Inflater | None:
    """The decompressor for a body; None if the body is not compressed.

    Args:
        encoding: The header `Content-Encoding`.
        start: The first bytes of the body.

    Raises:
        RequestError: The encoding is unknown, and the body does not begin like text.
    """
    names = [name for part in (encoding or "").split(",") if (name := part.strip().lower()) not in _IDENTITY]
    if names in _SUPPORTED:
        is_gzip = names != ["deflate"]
        # Deflate without zlib's header may begin with any byte.
        is_text = is_gzip and bool(start) and start[0] in _TEXT_STARTS
        return None if is_text else Inflater(is_gzip=is_gzip)
    is_compressed = len(names) > 1 or not _UNSUPPORTED.isdisjoint(names)
    if not is_compressed and start[:2] in _GZIP_STARTS:
        return Inflater(is_gzip=True)
    if is_compressed or (names and start and start[0] not in _TEXT_STARTS):
        raise malformed_response(
            f"has the content encoding {(encoding or '')[:60]!r}; the request accepts only {ACCEPTED}"
        )
    return None


class Inflater:
    """Decompresses gzip, with one or several members, or deflate, with or without zlib's header.

    A missing end is not an error: the decompressed content shows whether it is complete.
    """

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._zlib = zlib.decompressobj(_GZIP if is_gzip else _ZLIB)
        self._begun = is_gzip
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress `data`; yields at most `PIECE` bytes at a time.

        Raises:
            RequestError: It is not valid compressed data.
        """
        if not self._begun and data:
            self._begun = True
            # Some servers leave out zlib's header, whose first byte has 8 in its lower four bits (RFC 1950).
            if data[0] & 0xF != 8:
                self._zlib = zlib.decompressobj(_RAW)
        view = memoryview(data)
        try:
            for start in range(0, len(view), _SLICE):
                yield from self._inflate(view[start : start + _SLICE])
        except zlib.error as error:
            raise malformed_response(f"cannot be decompressed: {error}") from None

    def _inflate(self, data: bytes | memoryview) -> Iterator[bytes]:
        while True:
            if self._zlib.eof and not self._begin_member(data):
                return
            piece = self._zlib.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            # After a full piece zlib may have more output, although it has consumed all input.
            if not data and len(piece) < PIECE:
                return

    def _begin_member(self, data: bytes | memoryview) -> bool:
        """Begin the next gzip member; False at the end. Data without gzip's first byte are padding."""
        if not data or not self._is_gzip or data[0] != 0x1F:
            return False
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise malformed_response(f"has more than {_MAX_MEMBERS} gzip members")
        self._zlib = zlib.decompressobj(_GZIP)
        return True
