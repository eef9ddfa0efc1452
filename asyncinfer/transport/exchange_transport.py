"""The base class of the transports that begin exchanges: the pooled one, and the one over a session."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from asyncinfer.transport.base import Transport
from asyncinfer.transport.errors import with_request_errors
from asyncinfer.transport.exchange import Exchange, ExchangeStream, read_response
from asyncinfer.transport.memory import MemoryBudget
from asyncinfer.types.http import HttpRequest, HttpResponse


class Exchanges(Protocol):
    """Begins exchanges on one event loop. `memory` limits the memory that their bodies take together."""

    @property
    def memory(self) -> MemoryBudget: ...

    async def begin(self, request: HttpRequest, deadline: asyncio.Timeout) -> Exchange:
        """Send a request, and wait for the head of its response.

        Args:
            deadline: The timeout of the request. `begin` may postpone it.
        """
        ...


class ExchangeTransport(Transport):
    """Applies the timeout and the limits of each request, and converts aiohttp's errors."""

    @abstractmethod
    async def _exchanges(self) -> Exchanges:
        """The object that begins the exchanges of the running event loop.

        Raises:
            EngineConfigError: This transport cannot be used on this loop.
        """

    async def send(self, request: HttpRequest) -> HttpResponse:
        exchanges = await self._exchanges()
        return await with_request_errors(_send(exchanges, request), request.timeout)

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[ExchangeStream]:
        exchanges = await self._exchanges()
        exchange = await with_request_errors(_begin(exchanges, request), request.timeout)
        streamed = ExchangeStream(exchange, request, exchanges.memory)
        try:
            yield streamed
        finally:
            streamed.close()


async def _send(exchanges: Exchanges, request: HttpRequest) -> HttpResponse:
    async with asyncio.timeout(request.timeout or None) as deadline:
        exchange = await exchanges.begin(request, deadline)
        try:
            return await read_response(exchange, request.limits, exchanges.memory)
        finally:
            exchange.close()


async def _begin(exchanges: Exchanges, request: HttpRequest) -> Exchange:
    async with asyncio.timeout(request.timeout or None) as deadline:
        return await exchanges.begin(request, deadline)
