"""Sends requests one exchange at a time: what the pooled transport and that of a session share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.transport.base import Transport
from asyncinfer.transport.errors import FOREIGN, as_request_error, converted_errors
from asyncinfer.transport.memory import MemoryBudget
from asyncinfer.transport.streamed import Exchange, ExchangeStream, read_response


class Exchanges(Protocol):
    """Begins exchanges on one event loop. `memory` limits what their bodies take together."""

    @property
    def memory(self) -> MemoryBudget: ...

    async def begin(self, request: HttpRequest, deadline: asyncio.Timeout) -> Exchange:
        """Send a request, and wait for the head of its response. `deadline` may be postponed meanwhile."""
        ...


class ExchangingTransport(Transport):
    """Applies the timeout and the limits of each request, and converts aiohttp's errors."""

    @abstractmethod
    async def _exchanges(self) -> Exchanges:
        """What begins the exchanges of the running event loop.

        Raises:
            EngineConfigError: It cannot be used on this loop.
        """

    async def send(self, request: HttpRequest) -> HttpResponse:
        exchanges = await self._exchanges()
        try:
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await exchanges.begin(request, deadline)
                try:
                    return await read_response(exchange, request.limits, exchanges.memory)
                finally:
                    exchange.close()
        except FOREIGN as error:
            failure = as_request_error(error, request.timeout)
        raise failure  # Outside the handler: aiohttp's error may show a key, or the password of a proxy.

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[ExchangeStream]:
        exchanges = await self._exchanges()
        with converted_errors(request.timeout):
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await exchanges.begin(request, deadline)
        streamed = ExchangeStream(exchange, request, exchanges.memory)
        try:
            yield streamed
        finally:
            streamed.close()
