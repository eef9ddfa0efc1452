"""The transport alone: what it sends, how it keeps connections, what it makes of errors, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import gc
import gzip
import os
import socket
import sys
import textwrap
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from pydantic_core import to_json

from asyncinfer import InferenceErrorType, ModelParams, RemoteInferenceEngine, RemoteParams, RequestError
from asyncinfer.aio.tasks import task_group
from asyncinfer.dialects.http import HttpRequest, ResponseLimits
from asyncinfer.transport import descriptors
from asyncinfer.transport import pooled as module
from asyncinfer.transport.pooled import Transport
from tests.fakes import question
from tests.faults import (
    Ask,
    Fault,
    FaultServer,
    after,
    completion,
    drip,
    drip_head,
    drip_packed,
    duplicate_headers,
    duplicate_length,
    gzipped,
    hang_up,
    no_http,
    oversized,
    redirect,
    repeat,
    reset,
    reset_in_body,
    says,
    sse,
    stall,
    status,
    truncated,
)
from tests.recorder import Recorder

KEY = "sk-very-secret"
DEFAULT_LIMITS = ResponseLimits()
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxies but those that a test sets; nothing remembered of other tests' settings."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    caches = (module._proxy, module._connecting)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    await transport.aclose()


def to(url: str, text: str = "hi", timeout: float = 10.0, limits: ResponseLimits = DEFAULT_LIMITS) -> HttpRequest:
    """A question for the API at `url`."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    body = to_json({"messages": [{"role": "user", "content": text}]})
    return HttpRequest(f"{url}/chat/completions", headers, body, timeout=timeout, limits=limits)


async def failure(transport: Transport, request: HttpRequest) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await transport.send(request)
    return caught.value


def all_it_tells(error: BaseException | None) -> str:
    """Every text that an exception and those behind it show."""
    told = ""
    while error is not None:
        told += f"{error}\n{error!r}\n"
        error = error.__cause__ or error.__context__
    return told


class TestSending:
    async def test_gives_back_whatever_came(self, transport: Transport) -> None:
        async with FaultServer(lambda ask: status(418, x_pot="tea") if ask.question == "coffee" else None) as server:
            response = await transport.send(to(server.url))
            assert (response.status, response.body) == (200, completion("hi"))
            response = await transport.send(to(server.url, "coffee"))
            assert (response.status, response.headers["X-POT"]) == (418, "tea")

    async def test_unpacks_gzip(self, transport: Transport) -> None:
        async with FaultServer(lambda _: gzipped) as server:
            assert (await transport.send(to(server.url))).body == completion("hi")
            assert "gzip" in server.asks[0].headers["Accept-Encoding"]

    async def test_takes_headers_that_come_twice(self, transport: Transport) -> None:
        async with FaultServer(lambda _: duplicate_headers) as server:
            assert (await transport.send(to(server.url))).headers["retry-after"] == "1"

    async def test_takes_large_bodies_without_a_warning(self, transport: Transport) -> None:
        """A few images make a request of some megabytes; aiohttp warns of those that it gets as bytes."""
        async with FaultServer() as server:
            assert (await transport.send(to(server.url, "x" * 3 * 2**20))).status == 200
            assert len(server.asks[0].question) == 3 * 2**20

    async def test_follows_no_redirect(self, transport: Transport) -> None:
        """The key goes nowhere but where it was meant to go."""
        async with FaultServer() as other, FaultServer(lambda _: redirect(f"{other.url}/chat/completions")) as server:
            assert (await transport.send(to(server.url))).status == 307
            assert not other.asks

    async def test_sends_no_cookies_back(self, transport: Transport) -> None:
        async with FaultServer(lambda _: status(200, set_cookie="a=b")) as server:
            for _ in range(2):
                await transport.send(to(server.url))
            assert "Cookie" not in server.asks[1].headers


class TestConnections:
    async def test_are_used_again(self, transport: Transport) -> None:
        async with FaultServer() as server:
            for _ in range(10):
                await transport.send(to(server.url))
            assert server.connections == 1

    async def test_are_used_again_after_a_refusal(self, transport: Transport) -> None:
        async with FaultServer(lambda _: status(429)) as server:
            for _ in range(5):
                await transport.send(to(server.url))
            assert server.connections == 1

    async def test_are_as_many_as_there_are_requests_at_once(self, transport: Transport) -> None:
        """The pool has no bound of its own: the engine's permits are the bound."""
        async with FaultServer(lambda _: stall) as server, anyio.create_task_group() as tasks:
            for _ in range(150):
                tasks.start_soon(transport.send, to(server.url))
            await server.until(lambda: server.in_flight == 150)
            tasks.cancel_scope.cancel()

    async def test_that_are_cut_fail_one_request_only(self, transport: Transport) -> None:
        async with FaultServer(lambda ask: hang_up if ask.attempt == 2 else None) as server:
            await transport.send(to(server.url))
            error = await failure(transport, to(server.url))
            assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
            assert (await transport.send(to(server.url))).status == 200
            assert [ask.connection for ask in server.asks] == [0, 0, 1]

    async def test_belong_to_a_loop_each(self, transport: Transport) -> None:
        async with FaultServer() as server, anyio.create_task_group() as tasks:

            def in_a_loop_of_its_own() -> None:
                async def twice() -> None:
                    for _ in range(2):
                        assert (await transport.send(to(server.url))).status == 200

                asyncio.run(twice())

            for _ in range(2):
                tasks.start_soon(to_thread.run_sync, in_a_loop_of_its_own)
            await server.until(lambda: len(server.asks) == 4)
            await server.until(lambda: not server.open_connections)  # closed with their loops
            assert server.connections == 2

    async def test_are_not_used_again_with_a_request_half_sent(self, transport: Transport) -> None:
        """A server may refuse a large body by its head, and read no more of it."""
        async with raw_server(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n") as url:
            for _ in range(2):
                assert (await transport.send(HttpRequest(url, {}, bytes(2**24)))).status == 413

    async def test_take_an_interim_response_for_none(self, transport: Transport) -> None:
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        async with raw_server(interim + b"HTTP/1.1 204 No Content\r\n\r\n") as url:
            assert (await transport.send(HttpRequest(url, {}))).status == 204

    async def test_are_not_used_again_with_something_left_to_read(self, transport: Transport) -> None:
        """A response that nobody asked for would be taken for the next row's answer, and so on for ever."""
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
            assert (await transport.send(HttpRequest(url, {}, method="GET"))).body == b"answer 1"
            again.set()
            await strayed.wait()
            # What was written before this exchange has come when it is over.
            other = Transport()
            assert (await other.send(HttpRequest(url, {}, method="GET"))).body == b"answer 2"
            await other.aclose()
            assert (await transport.send(HttpRequest(url, {}, method="GET"))).body == b"answer 3"
            await transport.aclose()


@asynccontextmanager
async def raw_server(response: bytes) -> AsyncGenerator[str]:
    """A server that answers the head of a connection's first request with these bytes, and reads no more; its URL."""
    done, handlers = asyncio.Event(), list[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await done.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        done.set()
        await asyncio.gather(*[task for task in handlers if task is not None])


class TestTime:
    @pytest.mark.parametrize("fault", [stall, drip, drip_head, drip_packed])
    async def test_of_a_whole_exchange_is_limited(self, transport: Transport, fault: Fault) -> None:
        async with FaultServer(lambda _: fault) as server:
            error = await failure(transport, to(server.url, timeout=0.05))
            assert (error.error_type, error.is_retryable) == (InferenceErrorType.TIMEOUT, True)
            assert "no answer within 0.05 s (remote_params.connection_timeout)" in str(error)
            await server.until(lambda: server.abandoned == 1)

    async def test_to_connect_is_limited_apart(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.05)
        with deaf_port() as port:
            error = await failure(transport, to(f"http://127.0.0.1:{port}/v1"))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.TIMEOUT, True)
        assert "no connection within 0.05 s" in str(error)

    async def test_number_of_interim_responses_is_limited(self, transport: Transport) -> None:
        """Even if the server keeps saying that it is still working."""
        interim = b"HTTP/1.1 102 Processing\r\n\r\n"
        async with raw_server(interim * 200) as url:
            error = await failure(transport, HttpRequest(url, {}))
        assert "sent 100 interim responses" in str(error)
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)

    async def test_silence_is_limited_without_a_timeout(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`connection_timeout: 0` allows any time, as long as the server sends something."""
        monkeypatch.setattr(module, "_MAX_SILENCE", 0.05)
        async with FaultServer(lambda _: stall) as server:
            error = await failure(transport, to(server.url, timeout=0))
        assert error.error_type == InferenceErrorType.TIMEOUT
        assert "the server sent nothing for 0.05 s" in str(error)

    async def test_of_a_stream_is_limited_between_two_parts(self, transport: Transport) -> None:
        """A slow stream goes on for longer than the limit; one that says nothing is given up."""
        async with FaultServer(lambda ask: drip if ask.question == "slow" else sse(["a"], stall)) as server:
            async with transport.stream(to(server.url, "slow", timeout=0.2)) as streamed:
                came = 0
                async for chunk in streamed.chunks():
                    came += len(chunk)
                    streamed.progressed()
                    if came == 30:
                        break
            async with transport.stream(to(server.url, timeout=0.05)) as streamed:
                with pytest.raises(RequestError, match="no answer within 0.05 s") as caught:
                    _ = [chunk async for chunk in streamed.chunks()]
            assert caught.value.error_type == InferenceErrorType.TIMEOUT

    async def test_time_of_a_slow_reader_does_not_count(self, transport: Transport) -> None:
        """Only the time in which the reader waits for the server counts."""
        fault = repeat(b"a", times=20, end=b"b")
        async with FaultServer(lambda _: fault) as server, transport.stream(to(server.url, timeout=0.5)) as streamed:
            chunks = streamed.chunks()
            came = await anext(chunks)  # type: ignore[arg-type]
            await asyncio.sleep(0.6)
            came += b"".join([chunk async for chunk in chunks])
        assert came == b"a" * 20 + b"b"


@contextmanager
def deaf_port() -> Generator[int]:
    """A port where nobody answers the phone: its queue of connections is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = sockets.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class TestSize:
    @pytest.mark.parametrize(
        "fault",
        [oversized(2000), oversized(2000, told=False), oversized(2000, packed=True)],
        ids=["told", "found", "packed"],
    )
    async def test_is_bounded(self, transport: Transport, fault: Fault) -> None:
        """Told of beforehand, found on the way, or grown out of a few packed bytes."""
        async with FaultServer(lambda _: fault) as server:
            error = await failure(transport, to(server.url, limits=ResponseLimits(1000)))
            assert "larger than 1,000 bytes (remote_params.max_response_bytes)" in str(error)
            assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, False)

    async def test_body_up_to_the_bound_is_read(self, transport: Transport) -> None:
        async with FaultServer(lambda _: oversized(2000)) as server:
            assert len((await transport.send(to(server.url, limits=ResponseLimits(2000)))).body) == 2000

    async def test_size_of_a_stream_is_bounded(self, transport: Transport) -> None:
        """At four times the size of a whole response."""
        async with FaultServer(lambda ask: oversized(4000 if ask.question == "small" else 4001)) as server:
            async with transport.stream(to(server.url, "small", limits=ResponseLimits(1000))) as streamed:
                assert sum([len(chunk) async for chunk in streamed.chunks()]) == 4000
            async with transport.stream(to(server.url, limits=ResponseLimits(1000))) as streamed:
                with pytest.raises(RequestError, match="larger than 4,000 bytes"):
                    _ = [chunk async for chunk in streamed.chunks()]

    async def test_body_of_an_error_is_truncated(self, transport: Transport) -> None:
        """The status says what happened; a proxy may send it with any body."""
        async with FaultServer(lambda _: says(b"x" * 3 * 2**20, code=401)) as server:
            response = await transport.send(to(server.url))
            assert (response.status, response.body[:3]) == (401, b"xxx")
            assert len(response.body) <= 2**20

    async def test_memory_of_concurrent_large_bodies_is_bounded(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All bodies are read, but one after the other if they exceed the memory budget together."""
        monkeypatch.setattr(module, "_MEMORY", 3 * 2**20)
        async with FaultServer(lambda _: oversized(3 * 2**20)) as server, anyio.create_task_group() as tasks:
            sizes: list[int] = []

            async def ask() -> None:
                sizes.append(len((await transport.send(to(server.url))).body))

            for _ in range(8):
                tasks.start_soon(ask)
        assert sizes == [3 * 2**20] * 8


class TestCompression:
    async def test_bombs_are_refused_by_their_ratio(self, transport: Transport) -> None:
        async with FaultServer(lambda _: oversized(2**25, packed=True)) as server:
            error = await failure(transport, to(server.url))
            assert "more than 100 times its size (remote_params.max_compression_ratio)" in str(error)
            assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, False)

    async def test_bombs_do_not_block_the_loop(self, transport: Transport) -> None:
        """Other tasks run every few MiB while 64 MiB of zeros are decompressed."""
        steps, body = 0, gzip.compress(bytes(2**26))

        async def count() -> None:
            nonlocal steps
            while True:
                await asyncio.sleep(0)
                steps += 1

        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with raw_server(head + body) as url, anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            response = await transport.send(HttpRequest(url, {}, limits=ResponseLimits(max_ratio=2000)))
            tasks.cancel_scope.cancel()
        assert (len(response.body), steps > 60) == (2**26, True)

    async def test_repetitive_small_bodies_are_read(self, transport: Transport) -> None:
        async with FaultServer(lambda _: oversized(2**20, packed=True)) as server:
            assert len((await transport.send(to(server.url))).body) == 2**20

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
    async def test_unknown_encoding_is_named_in_the_error(self, transport: Transport, encoding: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 1\r\n\r\nx"
        async with raw_server(head.encode()) as url:
            error = await failure(transport, HttpRequest(url, {}))
        assert f"the content encoding {encoding!r}" in str(error)

    async def test_error_with_an_unknown_encoding_keeps_its_status(self, transport: Transport) -> None:
        async with raw_server(b"HTTP/1.1 401 X\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx") as url:
            assert (await transport.send(HttpRequest(url, {}))).status == 401

    async def test_invalid_compressed_data_is_retryable(self, transport: Transport) -> None:
        async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc") as url:
            error = await failure(transport, HttpRequest(url, {}))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, True)

    async def test_streams_are_decompressed_as_they_come(self, transport: Transport) -> None:
        packer = zlib.compressobj(wbits=31)
        begun = packer.compress(b"data: a\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with (
            raw_server(head + b"%x\r\n%b\r\n" % (len(begun), begun)) as url,
            transport.stream(HttpRequest(url, {})) as streamed,
        ):
            assert await anext(streamed.chunks()) == b"data: a\n\n"  # type: ignore[arg-type]


class TestDescriptors:
    async def test_requests_wait_when_descriptors_are_used_up(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The number of connections stays within the descriptors, and no request fails."""
        free = os.dup(0)
        os.close(free)
        monkeypatch.setattr(descriptors, "connection_limit", lambda: free + 25)
        async with FaultServer() as server, anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(transport.send, to(server.url))
        assert len(server.asks) == 60
        assert server.connections < 25
        assert [record.levelname for record in caplog.records if "file descriptors" in record.message] == ["WARNING"]

    async def test_wait_for_a_descriptor_does_not_count_towards_the_timeout(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(descriptors, "_POLL", 0.01)
        tries = fail_to_open(monkeypatch, OSError(errno.EMFILE, "Too many open files"), times=30)
        async with FaultServer() as server:
            assert (await transport.send(to(server.url, timeout=0.2))).status == 200
        assert len(tries) == 31

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
    async def test_wait_for_a_descriptor_is_bounded(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(descriptors, "_POLL", 0.01)
        monkeypatch.setattr(module, "_MAX_SHORTAGE", 0.05)
        fail_to_open(monkeypatch, OSError(number, os.strerror(number)))
        async with FaultServer() as server:
            error = await failure(transport, to(server.url))
        assert "no connection ended for 0.05 s. Raise the limit (ulimit -n)" in str(error)
        assert (error.error_type, error.is_retryable, error.is_overload) == (InferenceErrorType.CONNECTION, True, True)

    async def test_requests_wait_when_ports_are_used_up(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The address was reachable before, so the reason must be that no port is free."""
        monkeypatch.setattr(descriptors, "_POLL", 0.01)

        def script(ask: Ask) -> Fault | None:
            return stall if ask.question == "long" else None

        async with FaultServer(script) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, to(server.url, "long"))
            await server.until(lambda: server.in_flight == 1)
            tries = fail_to_open(monkeypatch, OSError(errno.EADDRNOTAVAIL, "Cannot assign address"), times=3)
            assert (await transport.send(to(server.url))).status == 200
            assert len(tries) == 4
            tasks.cancel_scope.cancel()

    async def test_unreachable_address_fails_at_once(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries = fail_to_open(monkeypatch, OSError(errno.EADDRNOTAVAIL, "Cannot assign address"))
        async with FaultServer() as server:
            error = await failure(transport, to(server.url))
        assert (error.error_type, error.is_overload, len(tries)) == (InferenceErrorType.CONNECTION, False, 1)

    async def test_requests_wait_when_name_resolution_lacks_descriptors(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Name resolution reports another error, so the transport tests whether a descriptor is free."""
        monkeypatch.setattr(descriptors, "_POLL", 0.01)
        lookups, resolve = list[str](), socket.getaddrinfo

        def lookup(host: str, *others: Any, **options: Any) -> Any:
            lookups.append(host)
            if len(lookups) <= 3:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return resolve(host, *others, **options)

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        monkeypatch.setattr(descriptors, "_none_is_free", lambda: len(lookups) <= 3)
        async with FaultServer() as server:
            request = to(server.url.replace("127.0.0.1", "localhost"))
            assert (await transport.send(request)).status == 200
        assert len(lookups) == 4

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
    async def test_descriptors_stay_free_for_files_with_more_workers_than_descriptors(self, tmp_path: Path) -> None:
        code = """
            import asyncio, resource, sys
            from asyncinfer import InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
            from tests.fakes import questions

            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

            async def main():
                remote = RemoteParams(api_url=sys.argv[1], num_workers=300, use_adaptive_concurrency=False)
                async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
                    await engine.ainfer(questions(900), InferenceConfig(output_path=sys.argv[2]))

            asyncio.run(main())
        """
        async with FaultServer(lambda _: after(0.02)) as server:
            output = tmp_path / "out.jsonl"
            command = [sys.executable, "-c", textwrap.dedent(code), server.url, str(output)]
            with anyio.fail_after(60):
                await anyio.run_process(command, cwd=ROOT)
            assert (len(output.read_text().splitlines()), server.peak <= 96) == (900, True)


def fail_to_open(monkeypatch: pytest.MonkeyPatch, error: OSError, times: int | None = None) -> list[None]:
    """Make opening a socket fail, a number of times or always. The list grows with each try."""
    tries: list[None] = []

    def limit() -> int | None:
        tries.append(None)
        if times is None or len(tries) <= times:
            raise error
        return None

    monkeypatch.setattr(descriptors, "connection_limit", limit)
    return tries


class TestErrors:
    @pytest.mark.parametrize(
        "fault", [reset, reset_in_body, truncated, hang_up, duplicate_length, no_http], ids=lambda f: f.__name__
    )
    async def test_of_the_connection_may_be_tried_again(self, transport: Transport, fault: Fault) -> None:
        async with FaultServer(lambda _: fault) as server:
            error = await failure(transport, to(server.url))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
        assert KEY not in all_it_tells(error)

    async def test_of_a_closed_port_may_be_tried_again(self, transport: Transport) -> None:
        async with FaultServer() as server:
            pass
        error = await failure(transport, to(server.url))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
        assert f"127.0.0.1:{server.port}" in str(error)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:99999/v1", "http://127.0.0.1:abc/v1", "http:///v1"])
    async def test_of_the_url_may_not(self, transport: Transport, url: str) -> None:
        error = await failure(transport, to(url))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONFIG, False)

    async def test_of_a_header_may_not(self, transport: Transport) -> None:
        async with FaultServer() as server:
            request = to(server.url)._replace(headers={"Authorization": f"Bearer {KEY}\n"})
            error = await failure(transport, request)
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONFIG, False)
        assert KEY not in all_it_tells(error)

    async def test_while_a_stream_comes_are_ours_too(self, transport: Transport) -> None:
        async with FaultServer(lambda _: sse(["a"], reset)) as server:
            async with transport.stream(to(server.url)) as streamed:
                assert streamed.media_type == "text/event-stream"
                with pytest.raises(RequestError) as caught:
                    _ = [chunk async for chunk in streamed.chunks()]
            assert caught.value.error_type == InferenceErrorType.CONNECTION


class TestCancelling:
    async def test_a_request_closes_its_connection(self, transport: Transport) -> None:
        async with FaultServer(lambda _: stall) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(transport.send, to(server.url))
            await server.until(lambda: server.in_flight == 1)
            tasks.cancel_scope.cancel()
        assert server.abandoned == 1

    async def test_a_stream_closes_its_connection(self, transport: Transport) -> None:
        async with FaultServer(lambda _: sse(["a", "b"], stall)) as server:
            async with transport.stream(to(server.url)) as streamed:
                assert b'"a"' in await anext(streamed.chunks())  # type: ignore[arg-type]
                assert not server.abandoned
            await server.until(lambda: server.abandoned == 1)
            assert not server.in_flight


class TestProxies:
    async def test_are_taken_from_the_environment(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        async with proxy() as (port, heard):
            monkeypatch.setenv("http_proxy", f"http://ann:pw@127.0.0.1:{port}")
            assert (await transport.send(to("http://api.invalid/v1"))).body == b"{}"
        assert heard[0].startswith("POST http://api.invalid/v1/chat/completions HTTP/1.1")
        assert f"Proxy-Authorization: Basic {b64encode(b'ann:pw').decode()}" in heard[0]

    async def test_carry_tls_through_a_tunnel(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        """The proxy here refuses to dig it. It got to see no key, and its own password is not told."""
        async with proxy(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n") as (port, heard):
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
            error = await failure(transport, to("https://api.invalid/v1"))
        assert heard[0].startswith("CONNECT api.invalid:443 HTTP/1.1")
        assert KEY not in heard[0] + all_it_tells(error)
        assert error.error_type == InferenceErrorType.CONNECTION

    async def test_that_say_nothing_are_given_up(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        async with proxy(b"") as (port, _):
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            with pytest.raises(RequestError) as caught:
                async with transport.stream(to("https://api.invalid/v1")._replace(timeout=0.1)):
                    pass
        assert caught.value.error_type == InferenceErrorType.TIMEOUT

    async def test_of_another_kind_are_not_spoken_to(
        self, transport: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "socks5://ann:pass-word@127.0.0.1:1080")
        error = await failure(transport, to("http://api.invalid/v1"))
        assert (error.error_type, "socks5" in str(error)) == (InferenceErrorType.CONFIG, True)
        assert error.scope == "account"
        assert "pass-word" not in all_it_tells(error)

    async def test_do_not_tell_their_password(self, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
        async with proxy(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as (port, _):
            monkeypatch.setenv("https_proxy", f"http://ann:pass-word@127.0.0.1:{port}")
            told = all_it_tells(await failure(transport, to("https://api.invalid/v1")))
        assert "pass-word" not in told
        assert b64encode(b"ann:pass-word").decode() not in told

    @pytest.mark.parametrize("bypass", ["127.0.0.1", "localhost,127.0.0.1", "*"])
    async def test_are_passed_by(self, transport: Transport, monkeypatch: pytest.MonkeyPatch, bypass: str) -> None:
        async with proxy() as (port, heard), FaultServer() as server:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", bypass)
            assert (await transport.send(to(server.url))).body == completion("hi")
        assert not heard


@asynccontextmanager
async def proxy(
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
) -> AsyncGenerator[tuple[int, list[str]]]:
    """A proxy that passes nothing on: it gives one answer. Its port, and the heads of what it heard."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        yield listening.sockets[0].getsockname()[1], heard


def engine_for(server: FaultServer) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=server.url))


class TestClosing:
    async def test_ends_a_stream_that_is_read(self, transport: Transport) -> None:
        async with FaultServer(lambda _: sse(["a"], stall)) as server, transport.stream(to(server.url)) as streamed:
            chunks = streamed.chunks()
            assert b'"a"' in await anext(chunks)  # type: ignore[arg-type]
            with pytest.raises(RequestError, match="closed") as caught:
                async with task_group() as tasks:
                    tasks.start_soon(transport.aclose)
                    await anext(chunks)  # type: ignore[arg-type]
            assert caught.value.error_type == InferenceErrorType.CONNECTION

    async def test_ends_the_connections_and_allows_new_ones(self, transport: Transport) -> None:
        async with FaultServer() as server:
            for _ in range(2):
                await transport.send(to(server.url))
                assert server.open_connections == 1
                await transport.aclose()
                await server.until(lambda: not server.open_connections)

    async def test_ends_the_connections_of_other_loops(self) -> None:
        async with FaultServer() as server:
            engine = engine_for(server)
            await to_thread.run_sync(engine.infer, [question("from the portal's loop")])
            await engine.ainfer([question("from this one")])
            assert server.open_connections == 2
            await engine.aclose()
            await server.until(lambda: not server.open_connections)

    async def test_happens_to_a_dropped_engine(self) -> None:
        async with FaultServer() as server:
            engine = engine_for(server)
            await engine.ainfer([question("a")])
            assert server.open_connections == 1
            del engine
            gc.collect()
            await server.until(lambda: not server.open_connections)


SCRIPTS = {
    "asyncio.run": """
        async def main():
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "asyncio.run, twice": """
        for _ in range(2):
            asyncio.run(engine.ainfer(asked))
        print("done")
    """,
    "sync": """
        engine.infer(asked)
        print("done")
    """,
    "sync inside a running loop": """
        async def main():
            engine.infer(asked)
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "sync close inside a running loop": """
        async def main():
            await engine.ainfer(asked)
            engine.close()
            await engine.ainfer(asked)
            print("done")
        asyncio.run(main())
    """,
    "closed by another loop, later": """
        asyncio.run(engine.ainfer(asked))
        engine.close()
        print("done")
    """,
    "closed while its loop pauses": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(engine.ainfer(asked))
        engine.close()
        loop.run_until_complete(engine.ainfer(asked))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        print("done")
    """,
    "dropped while the loop goes on": """
        async def main():
            global engine
            await engine.ainfer(asked)
            del engine
            gc.collect()
            await asyncio.sleep(0.05)
            gc.collect()
            print("done")
        asyncio.run(main())
    """,
    "a stream that nobody ends": """
        async def main():
            stream = engine.astream(asked[0])
            await anext(stream)
            print("done")
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_an_engine_that_is_never_closed_leaves_in_silence(script: str) -> None:
    """No ResourceWarning, no 'Unclosed client session', no thread that hangs."""
    code = textwrap.dedent(
        """
        import asyncio, gc, logging, sys
        sys.path.insert(0, sys.argv[2])
        from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
        from tests.fakes import questions
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # development mode warns of slow callbacks
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=sys.argv[1]))
        asked = questions(3)
        """
    ) + textwrap.dedent(script)
    async with FaultServer() as server:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, server.url, str(ROOT)]
        with anyio.fail_after(20):
            done = await anyio.run_process(command, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("path", "sent"), [("/a%3Ab%2Fc%7e", "/a%3Ab%2Fc%7e"), ("/a b:\u00e9", "/a%20b:%C3%A9"), ("/%3A b", "/:%20b")]
)
async def test_a_url_that_is_encoded_is_sent_as_it_is(path: str, sent: str) -> None:
    """It may have been signed so. One that cannot be sent as it is gets encoded."""
    async with Recorder() as api:
        transport = Transport()
        await transport.send(HttpRequest(api.url + path, {}))
        await transport.aclose()
    assert api.sent[0].target == f"/v1{sent}"
