"""Uploads: bodies that are streamed from a file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncinfer import RequestError
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.upload import FileBody

SIZE = 3 * 2**20 + 7


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(b"0123456" * (SIZE // 7) + b"x" * (SIZE % 7))
    return path


async def test_body_is_the_file_between_its_ends(transport: Transport, content: Path) -> None:
    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        assert "Transfer-Encoding" not in request.headers
        assert int(request.headers["Content-Length"]) == len(body)
        assert body == b"before" + content.read_bytes() + b"after"
        return web.json_response({"id": request.headers["X-Own"]})

    app = web.Application(client_max_size=2 * SIZE)
    app.router.add_put("/", receive)
    async with TestServer(app) as server:
        request = HttpRequest(str(server.make_url("/")), {"X-Own": "yes"}, method="PUT")
        response = await transport.upload(request, FileBody(content, SIZE + 11, b"before", b"after"))
    assert (response.status, response.body) == (200, b'{"id": "yes"}')


async def test_early_response_ends_the_upload(transport: Transport, content: Path) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=413, text="too large")

    app = web.Application()
    app.router.add_post("/", refuse)
    async with TestServer(app) as server:
        request = HttpRequest(str(server.make_url("/")), {})
        # The server may also close the connection before its response is read.
        with suppress(RequestError):
            response = await transport.upload(request, FileBody(content, SIZE))
            assert response.status == 413


async def test_file_that_became_shorter_is_an_error(transport: Transport, content: Path) -> None:
    async def receive(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application(client_max_size=2 * SIZE)
    app.router.add_post("/", receive)
    async with TestServer(app) as server:
        with pytest.raises(RequestError):
            await transport.upload(HttpRequest(str(server.make_url("/")), {}), FileBody(content, SIZE + 100))
