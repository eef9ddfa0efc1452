"""The default transport: connections from aiohttp's pool, without its `ClientSession`.

Connections, their pool, TLS, proxies and the parser are aiohttp's. What a `ClientSession` adds to them (cookies,
redirects, middlewares, a task for each body) is not needed here, and costs more than half of a request.
"""

from __future__ import annotations

from asyncinfer.transport.connections import Connections
from asyncinfer.transport.descriptors import open_public_socket, open_socket
from asyncinfer.transport.exchange_transport import ExchangeTransport
from asyncinfer.transport.fallback import FallbackTransport
from asyncinfer.transport.per_loop import PerLoop
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.upload import FileBody


class PooledTransport(ExchangeTransport):
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
        # Uploads are rare and long. A session streams their bodies.
        self._uploads = FallbackTransport(public_only=public_only)

    async def upload(self, request: HttpRequest, body: FileBody) -> HttpResponse:
        return await self._uploads.upload(request, body)

    async def _exchanges(self) -> Connections:
        return await self._pools.get()

    def release_idle(self) -> None:
        if (connections := self._pools.opened()) is not None:
            connections.release_idle()

    async def aclose(self) -> None:
        await self._uploads.aclose()
        await self._pools.aclose()
