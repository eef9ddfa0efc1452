"""The transport for versions of aiohttp that lack what the pooled transport needs."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.transport import compat
from asyncinfer.transport.base import StreamedResponse, Transport
from asyncinfer.transport.descriptors import open_public_socket, open_socket
from asyncinfer.transport.per_loop import PerLoop
from asyncinfer.transport.resolver import OwnThreadsResolver
from asyncinfer.transport.session import SessionTransport


class FallbackTransport(Transport):
    """Sends requests through sessions of its own: one for each event loop, opened by its first request.

    A session is closed with the transport, with its loop, or when the transport is garbage-collected.

    Args:
        public_only: Refuse to connect to addresses that are not public, proxies included.
    """

    def __init__(self, *, public_only: bool = False) -> None:
        factory = open_public_socket if public_only else open_socket
        self._sessions = PerLoop(lambda: OwnSession(factory))

    async def send(self, request: HttpRequest) -> HttpResponse:
        return await (await self._transport()).send(request)

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[StreamedResponse]:
        async with (await self._transport()).stream(request) as streamed:
            yield streamed

    async def aclose(self) -> None:
        await self._sessions.aclose()

    async def _transport(self) -> SessionTransport:
        return (await self._sessions.get()).transport


class OwnSession:
    """A session of this package. An async generator holds it; the event loop closes it when the loop ends."""

    def __init__(self, socket_factory: Callable[[Any], socket.socket]) -> None:
        self._holder = _hold(socket_factory)

    async def open(self) -> None:
        self._session = await anext(self._holder)
        self.transport = SessionTransport(self._session, proxies_from_environment=True)

    async def aclose(self) -> None:
        self.transport.end_reads()
        await self._holder.aclose()

    def drop(self) -> None:
        self.transport.end_reads()
        connector = self._session.connector
        self._session.detach()  # A session that is still attached warns when it is garbage-collected.
        if connector is not None:
            compat.close_sockets(connector)


async def _hold(socket_factory: Callable[[Any], socket.socket]) -> AsyncGenerator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, resolver=OwnThreadsResolver(), socket_factory=socket_factory)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
