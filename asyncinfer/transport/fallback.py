"""The transport for versions of aiohttp that lack what the pooled transport needs."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from asyncinfer.transport.base import StreamedResponse, Transport
from asyncinfer.transport.descriptors import open_public_socket, open_socket
from asyncinfer.transport.own_connector import OwnConnector
from asyncinfer.transport.per_loop import PerLoop
from asyncinfer.transport.session import SessionTransport
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.upload import FileBody


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

    async def upload(self, request: HttpRequest, body: FileBody) -> HttpResponse:
        return await (await self._transport()).upload(request, body)

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[StreamedResponse]:
        async with (await self._transport()).stream(request) as streamed:
            yield streamed

    def release_idle(self) -> None:
        if (session := self._sessions.opened()) is not None:
            session.transport.release_idle()

    async def aclose(self) -> None:
        await self._sessions.aclose()

    async def _transport(self) -> SessionTransport:
        return (await self._sessions.get()).transport


class OwnSession:
    """A session of this package, for one event loop. It is closed with its connector."""

    def __init__(self, socket_factory: Callable[[Any], socket.socket]) -> None:
        self._own = OwnConnector(socket_factory)

    async def open(self) -> None:
        connector = await self._own.open()
        self._session = aiohttp.ClientSession(
            connector=connector, connector_owner=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        self.transport = SessionTransport(self._session, proxies_from_environment=True)

    async def aclose(self) -> None:
        self._end()
        await self._own.aclose()

    def drop(self) -> None:
        self._end()
        self._own.drop()

    def _end(self) -> None:
        self.transport.end_reads()
        self._session.detach()  # A session that is still attached warns when it is garbage-collected.
