"""A connector of this package, for one event loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp

from asyncinfer.transport import compat
from asyncinfer.transport.resolver import OwnThreadsResolver


class OwnConnector:
    """A connector that is closed when its event loop ends.

    An async generator holds the connector, because an event loop closes the async generators that it has started.

    Args:
        socket_factory: Opens the socket for an address.
    """

    def __init__(self, socket_factory: Callable[[Any], socket.socket]) -> None:
        self._holder = _hold(socket_factory)

    async def open(self) -> aiohttp.BaseConnector:
        """Make the connector, and return it. Called once, on its loop."""
        self._connector = await anext(self._holder)
        return self._connector

    async def aclose(self) -> None:
        """Close the connector on its loop."""
        await self._holder.aclose()

    def drop(self) -> None:
        """Close the connector without waiting. Its loop may have ended."""
        compat.close_sockets(self._connector)


async def _hold(socket_factory: Callable[[Any], socket.socket]) -> AsyncGenerator[aiohttp.BaseConnector]:
    # The engine's permits limit the number of requests; a limit of the pool would only add a queue.
    resolver = OwnThreadsResolver()
    async with aiohttp.TCPConnector(limit=0, resolver=resolver, socket_factory=socket_factory) as connector:
        yield connector
