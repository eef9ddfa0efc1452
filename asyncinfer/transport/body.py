"""Reads the body of a response: decompressed, within limits, and without blocking the event loop for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress

import aiohttp

from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError
from asyncinfer.transport.content_encoding import GZIP_BYTE, Inflater, decoder_for
from asyncinfer.transport.memory import MemoryBudget
from asyncinfer.types.http import ResponseLimits

# Bodies up to this size need no share of the memory budget, and may decompress at any ratio (bytes).
SMALL = 2**20
# How much of the body of an error is read (bytes). The message is at the beginning.
_ERROR_BODY = 2**20
# A stream may be larger than a whole answer: each token comes in an event with about a hundred bytes of overhead.
_STREAM_FACTOR = 4
# How many bytes are read and decompressed before other tasks get a turn: a few milliseconds of work.
_CHECKPOINT = 2**20


class ResponseTooLargeError(RequestError):
    """The body exceeds a limit."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_type=InferenceErrorType.PARSE_ERROR, scope=ErrorScope.ROW)


class BodyReader:
    """Reads a body piece by piece.

    Args:
        read: Waits for the next bytes, not yet decompressed; an empty result is the end.
        encoding: The header `Content-Encoding`.
        limits: See `ResponseLimits`.
        factor: The body may have `factor * limits.max_bytes` bytes.
    """

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], encoding: str | None, limits: ResponseLimits, factor: int = 1
    ) -> None:
        self._read, self._encoding, self._limits = read, encoding, limits
        self._decoder: Inflater | None = None
        self._most = limits.max_bytes * factor
        self._received = self._produced = self._work = 0
        self._ready: Iterator[bytes] = iter(())

    async def next(self) -> bytes:
        """The next piece; empty at the end.

        Raises:
            RequestError: A limit is exceeded, or the body cannot be decompressed.
        """
        if self._work >= _CHECKPOINT:
            self._work = 0
            await asyncio.sleep(0)
        while (piece := next(self._ready, None)) is None:
            chunk = await self._read()
            if not chunk:
                return chunk
            self.receive(chunk)
        self._work += len(piece)
        self._produced += len(piece)
        self._check()
        return piece

    def receive(self, chunk: bytes) -> None:
        """Take bytes that were read elsewhere. The pieces of earlier ones must have been taken.

        Raises:
            RequestError: As in `next`.
        """
        if not self._received:
            self._decoder = decoder_for(self._encoding, chunk)
        self._received += len(chunk)
        self._work += len(chunk)
        if self._received > self._most:
            raise _too_large(self._most)
        self._ready = iter((chunk,)) if self._decoder is None else self._decoder.feed(chunk)

    def _check(self) -> None:
        if self._produced > self._most:
            raise _too_large(self._most)
        if self._produced > SMALL and self._produced > self._received * self._limits.max_ratio:
            raise ResponseTooLargeError(
                f"the response decompresses to more than {self._limits.max_ratio} times its size "
                "(remote_params.max_compression_ratio)"
            )


async def read_body(
    content: aiohttp.StreamReader, headers: Mapping[str, str], limits: ResponseLimits, budget: MemoryBudget
) -> bytes:
    """Read a whole body.

    Raises:
        RequestError: A limit is exceeded, or the body cannot be decompressed.
    """
    encoding, length = headers.get("Content-Encoding"), int(headers.get("Content-Length") or -1)
    if length > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    if 0 <= length <= SMALL and encoding is None:
        body = await content.read()
        if body[:1] != GZIP_BYTE:
            return body
        reader = BodyReader(content.readany, encoding, limits)
        reader.receive(body)
        return await read_rest(reader, b"", limits, budget)
    return await read_rest(BodyReader(content.readany, encoding, limits), b"", limits, budget)


async def read_rest(reader: BodyReader, beginning: bytes, limits: ResponseLimits, budget: MemoryBudget) -> bytes:
    """Read the rest of a body. Returns the whole body, with `beginning`.

    Raises:
        RequestError: As in `read_body`.
    """
    pieces: list[bytes] = []
    size, share = 0, budget.share()
    try:
        piece = beginning or await reader.next()
        while piece:
            size += len(piece)
            pieces.append(piece)
            if size > limits.max_bytes:
                raise _too_large(limits.max_bytes)
            if size > SMALL:
                await share.grow(len(piece))
            piece = await reader.next()
        return b"".join(pieces)
    finally:
        share.release()


async def read_error_body(content: aiohttp.StreamReader, headers: Mapping[str, str], limits: ResponseLimits) -> bytes:
    """The beginning of an error's body. Never raises for a broken body, because the status alone is useful."""
    pieces: list[bytes] = []
    with suppress(RequestError):
        most = limits._replace(max_bytes=min(_ERROR_BODY, limits.max_bytes))
        reader = BodyReader(content.readany, headers.get("Content-Encoding"), most)
        while piece := await reader.next():
            pieces.append(piece)
    return b"".join(pieces)


def stream_reader(read: Callable[[], Awaitable[bytes]], encoding: str | None, limits: ResponseLimits) -> BodyReader:
    """A reader for the body of a stream."""
    return BodyReader(read, encoding, limits, _STREAM_FACTOR)


def _too_large(most: int) -> ResponseTooLargeError:
    size = f"{most >> 20} MiB" if most % 2**20 == 0 else f"{most:,} bytes"
    return ResponseTooLargeError(f"the response is larger than {size} (remote_params.max_response_bytes)")
