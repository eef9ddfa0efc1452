"""An exchange: one request, and its response while the body is on the connection. All transports share this module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import aiohttp

from asyncinfer.transport.base import StreamedResponse
from asyncinfer.transport.body import BodyReader, read_body, read_error_body, read_rest, stream_reader
from asyncinfer.transport.errors import with_request_errors
from asyncinfer.transport.idle import IdleTimer
from asyncinfer.transport.memory import MemoryBudget
from asyncinfer.types.http import HttpRequest, HttpResponse, ResponseLimits


class Exchange(Protocol):
    """A response whose body is still on its connection.

    Attributes:
        content: The body, not decompressed.
        first_byte: Seconds from the request to the first byte of the response.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> aiohttp.StreamReader: ...
    @property
    def first_byte(self) -> float: ...

    def close(self) -> None:
        """Close the connection, unless the whole body has been read."""
        ...


async def read_response(exchange: Exchange, limits: ResponseLimits, memory: MemoryBudget) -> HttpResponse:
    """The whole response.

    Raises:
        RequestError: Its body exceeds the limits.
    """
    if exchange.status >= 400:
        body = await read_error_body(exchange.content, exchange.headers, limits)
    else:
        body = await read_body(exchange.content, exchange.headers, limits, memory)
    return HttpResponse(exchange.status, exchange.headers, body, exchange.first_byte)


class ExchangeStream(StreamedResponse):
    """The response of an exchange, as callers of a transport read it."""

    def __init__(self, exchange: Exchange, request: HttpRequest, memory: MemoryBudget) -> None:
        self._exchange, self._timeout, self._limits, self._memory = exchange, request.timeout, request.limits, memory
        self.status, self.headers = exchange.status, exchange.headers
        self.media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._idle = IdleTimer(exchange.content, _idle_seconds(request))
        self._reader: BodyReader | None = None

    async def response(self, beginning: bytes = b"") -> HttpResponse:
        return await with_request_errors(self._read(beginning), self._timeout)

    async def _read(self, beginning: bytes) -> HttpResponse:
        async with asyncio.timeout(self._timeout or None):
            if self._reader is None:
                return await read_response(self._exchange, self._limits, self._memory)
            self._idle.stop()
            body = await read_rest(self._reader, beginning, self._limits, self._memory)
            return HttpResponse(self.status, self.headers, body, self._exchange.first_byte)

    async def chunks(self) -> AsyncIterator[bytes]:
        reader = stream_reader(self._idle.read, self.headers.get("Content-Encoding"), self._limits)
        self._reader = reader
        while chunk := await with_request_errors(reader.next(), self._timeout):
            yield chunk

    def progressed(self) -> None:
        self._idle.restart()

    def close(self) -> None:
        """Stop reading. Closes the connection, unless the whole body has been read."""
        self._idle.close()
        self._exchange.close()


def _idle_seconds(request: HttpRequest) -> float:
    own = request.limits.stream_idle_timeout
    return request.timeout if own is None else own
