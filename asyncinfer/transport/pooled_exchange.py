"""Exchanges over connections of the pool: sends a request, and waits for its response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp

from asyncinfer.transport import compat
from asyncinfer.transport.descriptors import ConnectionQueue

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# Interim responses (RFC 9110 section 15.2, June 2022) before the response itself. Each has a line or two.
_MAX_INTERIM = 100
# A body of at least this size is written separately, so that it is not copied (bytes).
_SEPARATE_BODY = 2**16
# How much of a response may wait to be read before aiohttp pauses the socket: twice this size (bytes).
BUFFER = 2**16


class PooledExchange:
    """A response on its connection, which goes back to the pool as soon as the body has ended."""

    __slots__ = ("__weakref__", "_connection", "_queue", "content", "first_byte", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        queue: ConnectionQueue,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
        first_byte: float,
    ) -> None:
        self._connection, self._queue, self.first_byte = connection, queue, first_byte
        self.status, self.headers, self.content = status, headers, content
        content.on_eof(self._ended)

    def close(self) -> None:
        """Close the connection, unless the whole body has been read."""
        if self._connection.protocol is not None:
            end_connection(self._connection, self._queue)

    def _ended(self) -> None:
        connection = self._connection
        transport = connection.transport
        # If the server answered before it read the whole request, the connection cannot be reused.
        is_reusable = transport is not None and not transport.get_write_buffer_size()
        if is_reusable and self._queue and self._queue.wants_other(compat.pool_key(connection)):
            is_reusable = False
        end_connection(connection, self._queue, is_reusable=is_reusable)


def end_connection(connection: Connection, queue: ConnectionQueue, *, is_reusable: bool = False) -> None:
    """Return a connection to the pool, or close it, and wake the next request in the queue."""
    if is_reusable:
        connection.release()
    else:
        connection.close()
    if queue:
        queue.ended()


async def begin_exchange(
    connection: Connection, queue: ConnectionQueue, head: bytes, body: bytes, silence: float | None
) -> PooledExchange:
    """Send a request, and wait for the head of its response.

    Args:
        silence: How long the server may send nothing (seconds); None for no limit.

    Raises:
        aiohttp.ClientError: The connection failed.
        HttpProcessingError: The response is not valid.
    """
    protocol, transport = compat.expect_response(connection, silence, BUFFER), connection.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    loop = asyncio.get_running_loop()
    began = loop.time()
    if len(body) < _SEPARATE_BODY:
        # All requests that begin in one iteration of the loop are written in the next one, one right after the
        # other. A server on the same machine is then woken once for all of them, and each wake-up costs as much
        # as several writes. Nothing is sent if the connection has been closed by then.
        loop.call_soon(transport.write, head + body)
    else:
        transport.write(head)
        transport.write(body)
    compat.start_timeout(protocol)
    for _ in range(_MAX_INTERIM):
        message, content = await compat.next_message(protocol)
        if not 100 <= message.code < 200 or message.code == 101:
            return PooledExchange(connection, queue, message.code, message.headers, content, loop.time() - began)
    raise aiohttp.ClientConnectionError(f"the server sent {_MAX_INTERIM} interim responses without a final one")
