"""Proxies that the environment names."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from asyncinfer import InferenceErrorType, RequestError, transport
from asyncinfer.transport.base import Transport
from asyncinfer.transport.proxies import proxy_for
from tests.faults import (
    FaultServer,
    completion,
)
from tests.transport.conftest import made
from tests.transport.requests import KEY, all_text, failure, to


async def test_proxy_is_taken_from_the_environment(own: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy() as (port, heard):
        monkeypatch.setenv("http_proxy", f"http://ann:pw@127.0.0.1:{port}")
        assert (await own.send(to("http://api.invalid/v1"))).body == b"{}"
    assert heard[0].startswith("POST http://api.invalid/v1/chat/completions HTTP/1.1")
    assert f"Proxy-Authorization: Basic {b64encode(b'ann:pw').decode()}" in heard[0]


async def test_tls_goes_through_a_tunnel(own: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of this test refuses to open it. It sees no key, and the error shows no password."""
    async with proxy(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n") as (port, heard):
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        error = await failure(own, to("https://api.invalid/v1"))
    assert heard[0].startswith("CONNECT api.invalid:443 HTTP/1.1")
    assert KEY not in heard[0] + all_text(error)
    assert error.error_type == InferenceErrorType.CONNECTION


async def test_silent_proxy_times_out(own: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(b"") as (port, _):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(RequestError) as caught:
            async with own.stream(to("https://api.invalid/v1")._replace(timeout=0.1)):
                pass
    assert caught.value.error_type == InferenceErrorType.TIMEOUT


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "ftp"])
async def test_proxy_of_an_unknown_kind_is_a_configuration_error(
    own: Transport, monkeypatch: pytest.MonkeyPatch, variable: str, kind: str
) -> None:
    """The request is not sent directly. For a SOCKS proxy, the message says what to do."""
    monkeypatch.setenv(variable, f"{kind}://ann:pass-word@127.0.0.1:1080")
    async with FaultServer() as server:
        error = await failure(own, to(server.url))
        assert not server.asks
    assert (error.error_type, kind in str(error)) == (InferenceErrorType.CONFIG, True)
    assert ("aiohttp_socks.ProxyConnector" in str(error)) == kind.startswith("socks")
    assert error.scope == "account"
    assert "pass-word" not in all_text(error)


@pytest.mark.parametrize(
    "value", ["http://ann:pass-word@h:99999", "http://ann:pass/word@h:80", "http://[::1", "http://"]
)
async def test_invalid_url_of_a_proxy_is_a_configuration_error(
    own: Transport, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("http_proxy", value)
    error = await failure(own, to("http://api.invalid/v1"))
    assert (error.error_type, "http_proxy" in str(error)) == (InferenceErrorType.CONFIG, True)
    assert "pass" not in all_text(error)


@pytest.mark.parametrize("variable", ["all_proxy", "ALL_PROXY", "HTTP_PROXY"])
async def test_all_proxy_is_used_where_there_is_no_other(
    own: Transport, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with proxy() as (port, heard):
        monkeypatch.setenv(variable, f"127.0.0.1:{port}")
        assert (await own.send(to("http://api.invalid/v1"))).body == b"{}"
    assert heard[0].startswith("POST http://api.invalid/v1/chat/completions HTTP/1.1")


async def test_proxy_of_the_scheme_comes_before_all_proxy(own: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy() as (port, heard), proxy() as (other, unheard):
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{other}")
        await own.send(to("http://api.invalid/v1"))
    assert (len(heard), len(unheard)) == (1, 0)


async def test_error_of_a_proxy_shows_no_password(own: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as (port, _):
        monkeypatch.setenv("https_proxy", f"http://ann:pass-word@127.0.0.1:{port}")
        text = all_text(await failure(own, to("https://api.invalid/v1")))
    assert "pass-word" not in text
    assert b64encode(b"ann:pass-word").decode() not in text


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("bypass", ["127.0.0.1", "localhost,127.0.0.1", "*", "127.0.0.0/8", "127.0.0.1:{port}"])
async def test_no_proxy_bypasses_the_proxy(
    own: Transport, monkeypatch: pytest.MonkeyPatch, variable: str, bypass: str
) -> None:
    async with proxy() as (port, heard), FaultServer() as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv(variable, bypass.format(port=server.port))
        assert (await own.send(to(server.url))).body == completion("hi")
    assert not heard


async def test_no_proxy_for_another_port_does_not_bypass_the_proxy(
    own: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy() as (port, heard):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1:1")
        await own.send(to("http://127.0.0.1:2/v1"))
    assert heard[0].startswith("POST http://127.0.0.1:2/v1/chat/completions")


def test_changed_environment_is_read_after_the_cache_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("http", "api.invalid") is None
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    transport._proxy.cache_clear()
    assert str(proxy_for("http", "api.invalid")) == "http://proxy.invalid:3128"


@asynccontextmanager
async def proxy(
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
) -> AsyncGenerator[tuple[int, list[str]]]:
    """The port of a proxy that gives each request one answer, and the heads of the requests."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        yield listening.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
async def test_transport_that_is_made_after_a_change_uses_the_new_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A user of a notebook corrects the environment, and makes a new engine."""
    async with FaultServer() as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with made("pooled") as first:
            assert (await failure(first, to(server.url))).error_type == InferenceErrorType.CONNECTION
        monkeypatch.setenv(variable, "127.0.0.1")
        async with made("pooled") as second:
            assert (await second.send(to(server.url))).status == 200
        monkeypatch.delenv(variable)
        async with made("pooled") as third:
            assert (await failure(third, to(server.url))).error_type == InferenceErrorType.CONNECTION
