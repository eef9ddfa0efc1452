"""How transports report errors."""

from __future__ import annotations

import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.errors import ErrorScope
from asyncinfer.transport.base import Transport
from asyncinfer.transport.errors import as_request_error
from tests.faults import (
    Fault,
    FaultServer,
    duplicate_length,
    hang_up,
    no_http,
    reset,
    reset_in_body,
    sse,
    truncated,
)
from tests.transport.requests import KEY, all_text, failure, to


@pytest.mark.parametrize(
    "fault", [reset, reset_in_body, truncated, hang_up, duplicate_length, no_http], ids=lambda f: f.__name__
)
async def test_connection_error_is_retryable(transport: Transport, fault: Fault) -> None:
    async with FaultServer(lambda _: fault) as server:
        error = await failure(transport, to(server.url))
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
    assert KEY not in all_text(error)


async def test_closed_port_is_retryable(transport: Transport) -> None:
    async with FaultServer() as server:
        pass
    error = await failure(transport, to(server.url))
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONNECTION, True)
    assert f"127.0.0.1:{server.port}" in str(error)


async def test_https_to_a_server_without_tls_says_so(own: Transport) -> None:
    async with FaultServer() as server:
        error = await failure(own, to(server.url.replace("http://", "https://")))
    assert "The server at this port does not use TLS" in str(error)
    assert (error.is_retryable, error.scope) == (False, ErrorScope.ACCOUNT), "another run fails in the same way"
    assert KEY not in all_text(error)


async def test_unknown_host_and_untrusted_certificate_come_with_advice() -> None:
    key = ConnectionKey("llm.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    unknown = aiohttp.ClientConnectorDNSError(key, OSError("Name or service not known"))
    assert "Check the host name in the URL, and the network" in str(as_request_error(unknown, 1))
    untrusted = aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("self-signed certificate"))
    assert "SSL_CERT_FILE" in str(as_request_error(untrusted, 1))


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/v1", "http://127.0.0.1:abc/v1", "http:///v1"])
async def test_invalid_url_is_a_configuration_error(transport: Transport, url: str) -> None:
    error = await failure(transport, to(url))
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONFIG, False)


async def test_invalid_header_is_a_configuration_error(transport: Transport) -> None:
    async with FaultServer() as server:
        request = to(server.url)._replace(headers={"Authorization": f"Bearer {KEY}\n"})
        error = await failure(transport, request)
    assert (error.error_type, error.is_retryable) == (InferenceErrorType.CONFIG, False)
    assert KEY not in all_text(error)


async def test_error_within_a_stream_is_a_request_error(transport: Transport) -> None:
    async with FaultServer(lambda _: sse(["a"], reset)) as server:
        async with transport.stream(to(server.url)) as streamed:
            assert streamed.media_type == "text/event-stream"
            with pytest.raises(RequestError) as caught:
                _ = [chunk async for chunk in streamed.chunks()]
        assert caught.value.error_type == InferenceErrorType.CONNECTION


async def test_error_does_not_keep_the_original_error(transport: Transport) -> None:
    """The error of aiohttp, or its frames, may show a key."""
    async with FaultServer(lambda _: sse(["a"], reset)) as server:
        assert (await failure(transport, to(server.url))).__context__ is None
        async with transport.stream(to(server.url)) as streamed:
            with pytest.raises(RequestError) as caught:
                _ = [chunk async for chunk in streamed.chunks()]
        assert caught.value.__context__ is None
