"""How long transports wait."""

from __future__ import annotations

import asyncio

import pytest

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.transport import timeouts
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest
from tests.faults import (
    Fault,
    FaultServer,
    drip,
    drip_head,
    drip_packed,
    repeat,
    sse,
    stall,
)
from tests.transport.requests import deaf_port, failure, raw_server, to


@pytest.mark.parametrize("fault", [stall, drip, drip_head, drip_packed])
async def test_time_of_an_exchange_is_limited(transport: Transport, fault: Fault) -> None:
    async with FaultServer(lambda _: fault) as server:
        error = await failure(transport, to(server.url, timeout=0.05))
        assert (error.error_type, error.is_retryable) == (InferenceErrorType.TIMEOUT, True)
        assert "no answer within 0.05 s (remote_params.connection_timeout)" in str(error)
        await server.until(lambda: server.abandoned == 1)


async def test_time_to_connect_has_its_own_limit(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "CONNECT_SECONDS", 0.05)
    with deaf_port() as port:
        error = await failure(transport, to(f"http://127.0.0.1:{port}/v1"))
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.TIMEOUT, True)
    assert "no connection within 0.05 s" in str(error)


async def test_number_of_interim_responses_is_limited(pooled: Transport) -> None:
    """Even if the server keeps sending them."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    async with raw_server(interim * 200) as url:
        error = await failure(pooled, HttpRequest(url, {}))
    assert "sent 100 interim responses" in str(error)
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)


async def test_silence_of_the_server_is_limited_without_a_timeout(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`connection_timeout: 0` allows any time, as long as the server sends something."""
    monkeypatch.setattr(timeouts, "MAX_SILENCE", 0.05)
    async with FaultServer(lambda _: stall) as server:
        error = await failure(transport, to(server.url, timeout=0))
    assert error.error_type == InferenceErrorType.TIMEOUT
    assert "the server sent nothing for 0.05 s" in str(error)


async def test_time_between_two_parts_of_a_stream_is_limited(transport: Transport) -> None:
    """A slow stream may take longer than the limit; a silent stream may not."""
    async with FaultServer(lambda ask: drip if ask.question == "slow" else sse(["a"], stall)) as server:
        async with transport.stream(to(server.url, "slow", timeout=0.2)) as streamed:
            came = 0
            async for chunk in streamed.chunks():
                came += len(chunk)
                streamed.progressed()
                if came == 30:
                    break
        async with transport.stream(to(server.url, timeout=0.05)) as streamed:
            with pytest.raises(RequestError, match=r"no part of an answer for 0\.05 s") as caught:
                _ = [chunk async for chunk in streamed.chunks()]
        assert caught.value.error_type == InferenceErrorType.TIMEOUT


async def test_time_of_a_slow_reader_does_not_count_as_idle_time_of_the_stream(transport: Transport) -> None:
    """Only the time in which the reader waits for the server counts."""
    fault = repeat(b"a", times=20, end=b"b")
    async with FaultServer(lambda _: fault) as server, transport.stream(to(server.url, timeout=0.5)) as streamed:
        chunks = streamed.chunks()
        came = await anext(chunks)  # type: ignore[arg-type]
        await asyncio.sleep(0.6)
        came += b"".join([chunk async for chunk in chunks])
    assert came == b"a" * 20 + b"b"
