"""The default transport: connections from aiohttp's pool, without its `ClientSession`.

Connections, their pool, TLS, proxies and the parser are aiohttp's. What a `ClientSession` adds to them (cookies,
redirects, middlewares, a task for each body) is not needed here, and costs more than half of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.transport.base import Transport
from asyncinfer.transport.connections import Connections
from asyncinfer.transport.descriptors import open_public_socket, open_socket
from asyncinfer.transport.errors import FOREIGN, as_request_error, converted_errors
from asyncinfer.transport.per_loop import PerLoop
from asyncinfer.transport.streamed import ExchangeStream, read_response


class PooledTransport(Transport):
    """Sends requests over pooled connections: a pool for each event loop, opened by its first request.

    A pool is closed with the transport, with its loop, or when the transport is garbage-collected.

    When the process runs out of file descriptors, requests wait until the connection of another request ends. That wait
    does not count towards the timeout.

    Args:
        public_only: Refuse to connect to addresses that are not public, proxies included.
    """

    def __init__(self, *, public_only: bool = False) -> None:
        factory = open_public_socket if public_only else open_socket
        self._pools = PerLoop(lambda: Connections(factory))

    async def send(self, request: HttpRequest) -> HttpResponse:
        pool = self._pools.by_loop.get(asyncio.get_running_loop()) or await self._pools.open()
        try:
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await pool.begin(request, deadline)
                try:
                    return await read_response(exchange, request.limits, pool.memory)
                finally:
                    exchange.close()
        except FOREIGN as error:
            failure = as_request_error(error, request.timeout)
        raise failure  # Outside the handler: aiohttp's error may show a key, or the password of a proxy.

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[ExchangeStream]:
        pool = self._pools.by_loop.get(asyncio.get_running_loop()) or await self._pools.open()
        with converted_errors(request.timeout):
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await pool.begin(request, deadline)
        streamed = ExchangeStream(exchange, request, pool.memory)
        try:
            yield streamed
        finally:
            streamed.close()

    async def aclose(self) -> None:
        await self._pools.aclose()
