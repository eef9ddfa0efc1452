"""The limits of responses: size, compression ratio and memory."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import anyio
import pytest

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.transport import memory
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest, ResponseLimits
from tests.faults import (
    Fault,
    FaultServer,
    completion,
    oversized,
    says,
    with_headers,
)
from tests.transport.requests import failure, raw_server, to


@pytest.mark.parametrize(
    "fault",
    [oversized(2000), oversized(2000, told=False), oversized(2000, packed=True)],
    ids=["announced", "received", "decompressed"],
)
async def test_size_of_a_body_is_limited(transport: Transport, fault: Fault) -> None:
    """The limit applies to the announced, the received and the decompressed size."""
    async with FaultServer(lambda _: fault) as server:
        error = await failure(transport, to(server.url, limits=ResponseLimits(1000)))
        assert "larger than 1,000 bytes (remote_params.max_response_bytes)" in str(error)
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Security-Policy": "a" * 9_000},
        {"Set-Cookie": "a" * 64_000},
        {"Link": "a" * 100_000},
        {f"X-Debug-{number}": "1" for number in range(150)},
        {f"X-Debug-{number}": "1" for number in range(4_000)},
        {f"X-Debug-{number}": "a" * 9_000 for number in range(20)},
    ],
    ids=["9 KB", "64 KB", "100 KB", "150 headers", "4000 headers", "20 of 9 KB"],
)
async def test_large_headers_are_read(transport: Transport, headers: dict[str, str]) -> None:
    """Gateways send policies, cookies and links that exceed aiohttp's default limits."""
    async with FaultServer(lambda _: with_headers(headers)) as server:
        response = await transport.send(to(server.url))
        assert response.body == completion("hi")
        assert {name: response.headers[name] for name in headers} == headers
        async with transport.stream(to(server.url)) as streamed:
            assert b"".join([chunk async for chunk in streamed.chunks()]) == completion("hi")


@pytest.mark.parametrize(
    "headers",
    [{"X-Long": "a" * 110_000}, {f"X-Debug-{number}": "1" for number in range(6_000)}],
    ids=["one large header", "many headers"],
)
async def test_size_and_number_of_headers_are_limited(transport: Transport, headers: dict[str, str]) -> None:
    async with FaultServer(lambda _: with_headers(headers)) as server:
        error = await failure(transport, to(server.url))
        assert error.error_type == InferenceErrorType.CONNECTION


async def test_body_of_the_largest_size_is_read(transport: Transport) -> None:
    async with FaultServer(lambda _: oversized(2000)) as server:
        assert len((await transport.send(to(server.url, limits=ResponseLimits(2000)))).body) == 2000


async def test_size_of_a_stream_is_limited(transport: Transport) -> None:
    """At four times the size of a whole response."""
    async with FaultServer(lambda ask: oversized(4000 if ask.question == "small" else 4001)) as server:
        async with transport.stream(to(server.url, "small", limits=ResponseLimits(1000))) as streamed:
            assert sum([len(chunk) async for chunk in streamed.chunks()]) == 4000
        async with transport.stream(to(server.url, limits=ResponseLimits(1000))) as streamed:
            with pytest.raises(RequestError, match="larger than 4,000 bytes"):
                _ = [chunk async for chunk in streamed.chunks()]


async def test_body_of_an_error_is_truncated(transport: Transport) -> None:
    """The status says what happened; a proxy may send it with any body."""
    async with FaultServer(lambda _: says(b"x" * 3 * 2**20, code=401)) as server:
        response = await transport.send(to(server.url))
        assert (response.status, response.body[:3]) == (401, b"xxx")
        assert len(response.body) <= 2**20


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BODIES", 3 * 2**20)


@pytest.mark.usefixtures("small_budget")
async def test_memory_of_concurrent_large_bodies_is_limited(transport: Transport) -> None:
    """All bodies are read, but one after the other if they exceed the memory budget together."""
    async with FaultServer(lambda _: oversized(3 * 2**20)) as server, anyio.create_task_group() as tasks:
        sizes: list[int] = []

        async def ask() -> None:
            sizes.append(len((await transport.send(to(server.url))).body))

        for _ in range(8):
            tasks.start_soon(ask)
    assert sizes == [3 * 2**20] * 8


async def test_compression_bomb_is_refused_by_its_ratio(transport: Transport) -> None:
    async with FaultServer(lambda _: oversized(2**25, packed=True)) as server:
        error = await failure(transport, to(server.url))
        assert "more than 100 times its size (remote_params.max_compression_ratio)" in str(error)
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, False)


async def test_large_compressed_body_does_not_block_the_loop(transport: Transport) -> None:
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


async def test_small_body_may_have_any_ratio(transport: Transport) -> None:
    async with FaultServer(lambda _: oversized(2**20, packed=True)) as server:
        assert len((await transport.send(to(server.url))).body) == 2**20


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
async def test_unknown_encoding_is_named_in_the_error(transport: Transport, encoding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 1\r\n\r\nx"
    async with raw_server(head.encode()) as url:
        error = await failure(transport, HttpRequest(url, {}))
    assert f"the content encoding {encoding!r}" in str(error)


ANSWER = b'{"choices": []}'
RAW = zlib.compressobj(wbits=-15)
PACKED = RAW.compress(ANSWER) + RAW.flush()
# Bodies whose label is wrong, and bodies of the same kind whose label is right.
MISLABELLED = {
    "a character set": ("utf-8", ANSWER),
    "another character set": ("iso-8859-1", ANSWER),
    "none": ("none", ANSWER),
    "identity": ("identity", ANSWER),
    "a media type": ("application/json", ANSWER),
    "a media type with a character set": ("application/json; charset=utf-8", ANSWER),
    "decompressed by a gateway": ("gzip", ANSWER),
    "decompressed, with an empty line": ("gzip", b"\r\n" + ANSWER),
    "not labelled": (None, gzip.compress(ANSWER)),
    "compressed, with a character set": ("utf-8", gzip.compress(ANSWER)),
    "compressed, with a media type": ("application/json", gzip.compress(ANSWER)),
    "gzip": ("gzip", gzip.compress(ANSWER)),
    "deflate": ("deflate", PACKED),
}


@pytest.mark.parametrize("code", [200, 400])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
@pytest.mark.parametrize(("encoding", "body"), MISLABELLED.values(), ids=MISLABELLED)
async def test_body_with_a_wrong_encoding_is_read(
    transport: Transport, encoding: str | None, body: bytes, chunked: bool, code: int
) -> None:
    label = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    async with raw_server(f"HTTP/1.1 {code} X\r\n{label}{size}\r\n\r\n".encode() + sent) as url:
        assert (await transport.send(HttpRequest(url, {}))).body.strip() == ANSWER


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "until the end"])
async def test_compression_without_a_label_is_limited(transport: Transport, length: bool) -> None:
    body = gzip.compress(bytes(2**24))
    head = b"Content-Length: %d" % len(body) if length else b"Transfer-Encoding: chunked"
    sent = body if length else b"%x\r\n%b\r\n" % (len(body), body)
    async with raw_server(b"HTTP/1.1 200 X\r\n%b\r\n\r\n%b" % (head, sent)) as url:
        error = await failure(transport, HttpRequest(url, {}))
    assert "max_compression_ratio" in str(error)


async def test_stream_that_is_labelled_as_compressed_may_be_text(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        raw_server(head + b"9\r\ndata: a\n\n\r\n") as url,
        transport.stream(HttpRequest(url, {})) as streamed,
    ):
        assert await anext(streamed.chunks()) == b"data: a\n\n"  # type: ignore[arg-type]


async def test_error_with_an_unknown_encoding_keeps_its_status(transport: Transport) -> None:
    async with raw_server(b"HTTP/1.1 401 X\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx") as url:
        assert (await transport.send(HttpRequest(url, {}))).status == 401


async def test_invalid_compressed_data_is_retryable(transport: Transport) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc") as url:
        error = await failure(transport, HttpRequest(url, {}))
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.PARSE_ERROR, True)


async def test_stream_is_decompressed_as_it_comes(transport: Transport) -> None:
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(b"data: a\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        raw_server(head + b"%x\r\n%b\r\n" % (len(begun), begun)) as url,
        transport.stream(HttpRequest(url, {})) as streamed,
    ):
        assert await anext(streamed.chunks()) == b"data: a\n\n"  # type: ignore[arg-type]
