"""What every transport sends, and what it returns."""

from __future__ import annotations

import pytest

from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest
from tests.faults import (
    FaultServer,
    completion,
    duplicate_headers,
    gzipped,
    redirect,
    status,
)
from tests.recorder import Recorder
from tests.transport.requests import to


async def test_response_is_returned_whatever_its_status(transport: Transport) -> None:
    async with FaultServer(lambda ask: status(418, x_pot="tea") if ask.question == "coffee" else None) as server:
        response = await transport.send(to(server.url))
        assert (response.status, response.body) == (200, completion("hi"))
        response = await transport.send(to(server.url, "coffee"))
        assert (response.status, response.headers["X-POT"]) == (418, "tea")


async def test_gzip_is_decompressed(transport: Transport) -> None:
    async with FaultServer(lambda _: gzipped) as server:
        assert (await transport.send(to(server.url))).body == completion("hi")
        assert "gzip" in server.asks[0].headers["Accept-Encoding"]


async def test_first_of_duplicate_headers_is_used(transport: Transport) -> None:
    async with FaultServer(lambda _: duplicate_headers) as server:
        assert (await transport.send(to(server.url))).headers["retry-after"] == "1"


async def test_large_request_body_is_sent_without_a_warning(transport: Transport) -> None:
    """A few images make a request of some megabytes. aiohttp warns of a large body that is given as bytes."""
    async with FaultServer() as server:
        assert (await transport.send(to(server.url, "x" * 3 * 2**20))).status == 200
        assert len(server.asks[0].question) == 3 * 2**20


async def test_redirects_are_not_followed(transport: Transport) -> None:
    """So the key reaches only the server for which it is meant."""
    async with FaultServer() as other, FaultServer(lambda _: redirect(f"{other.url}/chat/completions")) as server:
        assert (await transport.send(to(server.url))).status == 307
        assert not other.asks


async def test_cookies_are_not_sent_back(own: Transport) -> None:
    async with FaultServer(lambda _: status(200, set_cookie="a=b")) as server:
        for _ in range(2):
            await own.send(to(server.url))
        assert "Cookie" not in server.asks[1].headers


@pytest.mark.parametrize(
    ("path", "sent"), [("/a%3Ab%2Fc%7e", "/a%3Ab%2Fc%7e"), ("/a b:\u00e9", "/a%20b:%C3%A9"), ("/%3A b", "/:%20b")]
)
async def test_encoded_url_is_sent_unchanged(transport: Transport, path: str, sent: str) -> None:
    """It may have been signed like that. A URL with characters that cannot be sent is encoded."""
    async with Recorder() as api:
        await transport.send(HttpRequest(api.url + path, {}))
    assert api.sent[0].target == f"/v1{sent}"
