"""How transports keep connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
from anyio import to_thread

from asyncinfer import InferenceErrorType
from asyncinfer.transport.base import Transport
from asyncinfer.transport.pooled import PooledTransport
from asyncinfer.types.http import HttpRequest
from tests.faults import (
    FaultServer,
    hang_up,
    sse,
    stall,
    status,
)
from tests.transport.requests import failure, raw_server, to


async def test_connection_is_reused(transport: Transport) -> None:
    async with FaultServer() as server:
        for _ in range(10):
            await transport.send(to(server.url))
        assert server.connections == 1


async def test_connection_is_reused_after_a_refusal(transport: Transport) -> None:
    async with FaultServer(lambda _: status(429)) as server:
        for _ in range(5):
            await transport.send(to(server.url))
        assert server.connections == 1


async def test_each_concurrent_request_gets_a_connection(transport: Transport) -> None:
    """The pool has no limit: the permits of the engine limit the requests."""
    async with FaultServer(lambda _: stall) as server, anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(transport.send, to(server.url))
        await server.until(lambda: server.in_flight == 150)
        tasks.cancel_scope.cancel()


async def test_broken_connection_fails_only_one_request(transport: Transport) -> None:
    async with FaultServer(lambda ask: hang_up if ask.attempt == 2 else None) as server:
        await transport.send(to(server.url))
        error = await failure(transport, to(server.url))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
        assert (await transport.send(to(server.url))).status == 200
        assert [ask.connection for ask in server.asks] == [0, 0, 1]


async def test_each_loop_has_its_own_connections(own: Transport) -> None:
    async with FaultServer() as server, anyio.create_task_group() as tasks:

        def in_a_loop_of_its_own() -> None:
            async def twice() -> None:
                for _ in range(2):
                    assert (await own.send(to(server.url))).status == 200

            asyncio.run(twice())

        for _ in range(2):
            tasks.start_soon(to_thread.run_sync, in_a_loop_of_its_own)
        await server.until(lambda: len(server.asks) == 4)
        await server.until(lambda: not server.open_connections)  # closed with their loops
        assert server.connections == 2


async def test_connection_with_a_half_sent_request_is_not_reused(transport: Transport) -> None:
    """A server may refuse a large body after reading its head."""
    async with raw_server(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n") as url:
        for _ in range(2):
            assert (await transport.send(HttpRequest(url, {}, bytes(2**24)))).status == 413


async def test_interim_response_is_skipped(transport: Transport) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with raw_server(interim + b"HTTP/1.1 204 No Content\r\n\r\n") as url:
        assert (await transport.send(HttpRequest(url, {}))).status == 204


async def test_connection_with_an_unsolicited_response_is_not_reused(pooled: Transport) -> None:
    """Otherwise, an unsolicited response would be taken for the answer of the next row, and so on."""
    asked, again, strayed = 0, asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nanswer %d" % asked
                writer.write(answer)
                if asked == 1:
                    await again.wait()
                    writer.write(answer)
                    strayed.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        assert (await pooled.send(HttpRequest(url, {}, method="GET"))).body == b"answer 1"
        again.set()
        await strayed.wait()
        # When this exchange is over, the stray response has arrived on the first connection.
        other = PooledTransport()
        assert (await other.send(HttpRequest(url, {}, method="GET"))).body == b"answer 2"
        await other.aclose()
        assert (await pooled.send(HttpRequest(url, {}, method="GET"))).body == b"answer 3"
        await pooled.aclose()


async def test_cancelled_request_closes_its_connection(transport: Transport) -> None:
    async with FaultServer(lambda _: stall) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(transport.send, to(server.url))
        await server.until(lambda: server.in_flight == 1)
        tasks.cancel_scope.cancel()
    assert server.abandoned == 1


async def test_abandoned_stream_closes_its_connection(transport: Transport) -> None:
    async with FaultServer(lambda _: sse(["a", "b"], stall)) as server:
        async with transport.stream(to(server.url)) as streamed:
            assert b'"a"' in await anext(streamed.chunks())  # type: ignore[arg-type]
            assert not server.abandoned
        await server.until(lambda: server.abandoned == 1)
        assert not server.in_flight
