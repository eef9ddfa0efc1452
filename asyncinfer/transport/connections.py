"""The connections of one event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.transport import compat, timeouts
from asyncinfer.transport.descriptors import ConnectionQueue, is_shortage, shortage_cause
from asyncinfer.transport.errors import not_connected
from asyncinfer.transport.memory import budget_for_bodies
from asyncinfer.transport.open_bodies import OpenBodies
from asyncinfer.transport.own_connector import OwnConnector
from asyncinfer.transport.pooled_exchange import PooledExchange, begin_exchange, end_connection
from asyncinfer.transport.request_head import HeadWriter
from asyncinfer.transport.routes import Route, route_to
from asyncinfer.types.http import HttpRequest

if TYPE_CHECKING:
    from aiohttp.connector import Connection

log = logging.getLogger("asyncinfer")

# If no connection can be opened, a request waits until another connection ends. It fails if none ends for this long
# (seconds).
_MAX_SHORTAGE = 300.0


class Connections:
    """Opens the connections of one event loop, and begins exchanges over them.

    Args:
        socket_factory: Opens the socket for an address.
    """

    def __init__(self, socket_factory: Callable[[Any], socket.socket]) -> None:
        self.memory = budget_for_bodies()
        self._own = OwnConnector(socket_factory)
        self._queue = ConnectionQueue()
        self._reached: set[Any] = set()
        self._reported_shortage = False
        self._route = lru_cache(maxsize=64)(route_to)
        self._heads = HeadWriter()
        self._bodies = OpenBodies()

    async def open(self) -> None:
        self._connector = await self._own.open()

    async def begin(self, request: HttpRequest, deadline: asyncio.Timeout) -> PooledExchange:
        """Send a request, and wait for the head of its response. `deadline`: the timeout of the request."""
        route = self._route(request.url)
        head = self._heads.write(request, route)
        connection = await self._connect(route, request.timeout, deadline)
        try:
            silence = None if request.timeout else timeouts.MAX_SILENCE
            exchange = await begin_exchange(connection, self._queue, head, request.body, silence)
        except BaseException:
            end_connection(connection, self._queue)
            raise
        self._bodies.add(exchange)
        return exchange

    async def _connect(self, route: Route, seconds: float, deadline: asyncio.Timeout) -> Connection:
        """A connection. If no further one can be opened, wait until another one ends.

        Args:
            seconds: The timeout of the request; 0 for no limit.
            deadline: When that timeout ends.
        """
        key = route.to.connection_key
        if self._queue:  # Requests that wait already come first.
            await self._wait(key, seconds, deadline)
        begin = asyncio.get_running_loop().time()
        while True:
            try:
                connection = await compat.connect(self._connector, route.to, timeouts.connect_timeout(seconds))
            except TimeoutError:
                raise not_connected(seconds) from None
            except OSError as error:
                if not is_shortage(error, connected_before=key in self._reached):
                    raise
                cause = shortage_cause(error)
            else:
                self._reached.add(key)
                return connection
            if compat.close_idle(self._connector):  # Connections to other hosts.
                await asyncio.sleep(0)
                continue
            self._check_wait(begin, cause)
            await self._wait(key, seconds, deadline)

    async def _wait(self, key: Any, seconds: float, deadline: asyncio.Timeout) -> None:
        """Wait in the queue, and extend the request's deadline by that time."""
        deadline.reschedule(None)
        await self._queue.wait(key)
        if seconds:
            deadline.reschedule(asyncio.get_running_loop().time() + seconds)

    def _check_wait(self, begin: float, cause: str) -> None:
        """Raise a RequestError if no connection has ended for too long. `cause`: why no further one can be opened."""
        if not self._reported_shortage:
            self._reported_shortage = True
            log.warning("Requests wait until a connection ends, because %s", cause)
        if asyncio.get_running_loop().time() - max(begin, self._queue.last_ended) > _MAX_SHORTAGE:
            what = f"no connection could be opened, and none ended for {_MAX_SHORTAGE:g} s, because {cause}"
            error_type = InferenceErrorType.CONNECTION
            raise RequestError(what, error_type=error_type, is_retryable=True, is_overload=True)

    def release_idle(self) -> None:
        compat.close_idle(self._connector)

    async def aclose(self) -> None:
        self._bodies.end()
        await self._own.aclose()

    def drop(self) -> None:
        self._bodies.end()
        self._own.drop()
