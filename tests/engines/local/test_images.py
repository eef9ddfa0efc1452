"""Images of a conversation are loaded for local models: from URLs, files, data URLs and bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import pytest
from PIL import Image

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.dialects.media import media_type
from asyncinfer.engines.local import image_fetch
from asyncinfer.engines.local.image_fetch import ImageFetcher
from asyncinfer.engines.local.images import decode_image, image_bytes, load_images
from asyncinfer.engines.local.request import Request
from asyncinfer.transport import descriptors, proxies
from asyncinfer.transport.base import StreamedResponse, Transport
from asyncinfer.types.http import HttpRequest, HttpResponse
from tests.file_server import Answer, FileServer

_FILE = BytesIO()
Image.effect_noise((32, 32), 50).save(_FILE, "PNG")
PNG = _FILE.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[FileServer]:
    files = {
        "/a.png": b"an image",
        "/%C3%A9%20b.png": b"another",
        "/moved": Answer(b"", 302, {"Location": "/a.png", "Content-Length": "0"}),
        "/elsewhere": Answer(b"", 302, {"Location": "http://127.0.0.1:1/a.png", "Content-Length": "0"}),
        "/loop": Answer(b"", 307, {"Location": "/loop", "Content-Length": "0"}),
        "/to-ftp": Answer(b"", 302, {"Location": "ftp://127.0.0.1/a.png", "Content-Length": "0"}),
        "/to-file": Answer(b"", 302, {"Location": "file:///etc/passwd", "Content-Length": "0"}),
        "/to-data": Answer(b"", 302, {"Location": "data:image/png;base64,aW5saW5l", "Content-Length": "0"}),
        "/busy": Answer(b"", 503),
        "/cut": Answer(b"half", 200, {"Content-Length": "8"}),
        "/cut-chunks": Answer(b"8\r\nhalf", 200, {"Transfer-Encoding": "chunked"}),
    }
    with FileServer(files) as started:
        yield started


def request_with(*items: dict[str, Any], **model: Any) -> Request:
    content = [*items, {"type": "text", "content": "What?"}]
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": content}]})
    return Request(conversation, GenerationParams(), ModelParams.model_validate({"allow_private_urls": True, **model}))


def at(url: str) -> dict[str, Any]:
    return {"type": "image_url", "content": url}


async def test_images_are_loaded_in_order(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"a file")
    items = [
        at(f"{server.url}/a.png"),
        {"type": "image_path", "content": str(tmp_path / "b.png")},
        at("data:image/png;base64,aW5saW5l"),
        {"type": "image_binary", "binary": b"given"},
        at(f"{server.url}/moved"),
        at(f"{server.url}/\u00e9 b.png"),
        at(f"{server.url}/%C3%A9%20b.png"),
    ]
    request = request_with(*items)
    found = await load_images(request)
    assert image_bytes(found.conversation) == [
        b"an image",
        b"a file",
        b"inline",
        b"given",
        b"an image",
        b"another",
        b"another",
    ]
    assert image_bytes(request.conversation) == [b"given"], "the original request is not changed"


async def test_request_without_images_is_returned_unchanged() -> None:
    request = request_with()
    assert await load_images(request) is request


@pytest.mark.parametrize(
    ("path", "status", "retryable"),
    [("/nowhere", 404, False), ("/busy", 503, True), ("/cut", None, True), ("/cut-chunks", None, True)],
)
async def test_image_that_the_server_does_not_deliver_fails_the_row(
    server: FileServer, path: str, status: int | None, retryable: bool
) -> None:
    with pytest.raises(RequestError, match=f"the image at '{server.url}{path}' cannot be fetched") as caught:
        await load_images(request_with(at(server.url + path)))
    assert (caught.value.status_code, caught.value.is_retryable) == (status, retryable)


async def test_unreachable_server_is_a_retryable_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.png"
        with pytest.raises(RequestError, match="cannot be fetched") as caught:
            await load_images(request_with(at(url)))
    assert caught.value.is_retryable


async def test_file_that_is_too_large_is_rejected(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_fetch, "MAX_FILE", 4)
    with pytest.raises(RequestError, match="is larger than"):
        await load_images(request_with(at(f"{server.url}/a.png")))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "/etc/passwd", "http://[", "http://127.0.0.1:x/a"])
async def test_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        await load_images(request_with(at(url)))
    assert not caught.value.is_retryable


async def test_images_are_fetched_through_the_given_transports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_fetch, "uses_proxy", lambda _, host, port: host == "93.184.216.34")
    direct, through_proxy = RecordingTransport(), RecordingTransport()
    async with ImageFetcher(direct=direct, through_proxy=through_proxy) as fetcher:
        assert await fetcher.fetch("https://images.example.com/a.png") == b"an image"
        assert await fetcher.fetch("https://93.184.216.34/b.png") == b"an image"
    assert (direct.sent, direct.closed) == (["https://images.example.com/a.png"], True)
    assert (through_proxy.sent, through_proxy.closed) == (["https://93.184.216.34/b.png"], True)


class RecordingTransport(Transport):
    """Answers every request with an image."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request.url)
        return HttpResponse(200, {}, b"an image")

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[StreamedResponse]:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed = True


class TestUrlsByDefault:
    """Only public addresses are allowed: untrusted rows must not reach services that only this machine can reach."""

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "\u2460\u2461\u2466.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "ann:pass-word@127.0.0.1",
        ],
    )
    async def test_url_to_this_machine_is_rejected(self, server: FileServer, host: str) -> None:
        port = server.url.rpartition(":")[2]
        before = len(server.asked)
        with pytest.raises(RequestError, match="its address is not public|cannot be used") as caught:
            await load_images(request_with(at(f"http://{host}:{port}/a.png"), allow_private_urls=False))
        assert (caught.value.is_retryable, len(server.asked)) == (False, before)
        assert "pass-word" not in str(caught.value)

    @pytest.mark.parametrize(
        "host", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[fd00::1]", "[fe80::1]"]
    )
    async def test_url_to_a_private_network_is_rejected(self, host: str) -> None:
        with pytest.raises(RequestError, match="its address is not public"):
            await load_images(request_with(at(f"http://{host}/latest/meta-data/"), allow_private_urls=False))

    async def test_host_name_with_a_private_address_is_rejected(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The address of the connection is checked, not that of an earlier lookup."""
        port = int(server.url.rpartition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(RequestError, match="its address is not public"):
            await load_images(request_with(at(f"http://images.example.com:{port}/a.png"), allow_private_urls=False))

    async def test_redirect_to_a_private_address_is_rejected(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(descriptors, "is_public", public_once())
        before = len(server.asked)
        with pytest.raises(RequestError, match="its address is not public"):
            await load_images(request_with(at(f"{server.url}/elsewhere"), allow_private_urls=False))
        assert server.asked[before:] == ["/elsewhere"]

    async def test_url_is_checked_before_a_proxy_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage")
            writer.close()

        proxies.proxy_for.cache_clear()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            for host in ("10.0.0.1", "localhost", "cannot-be-resolved.invalid", "10.0.0.1\\@93.184.216.34"):
                with pytest.raises(RequestError, match=r"model\.allow_private_urls"):
                    await load_images(request_with(at(f"http://{host}/a.png"), allow_private_urls=False))
            assert not heard
            found = await load_images(request_with(at("http://93.184.216.34/a.png"), allow_private_urls=False))
            assert image_bytes(found.conversation) == [b"image"]
            assert heard[0].startswith(b"GET http://93.184.216.34/a.png HTTP/1.1")
        proxies.proxy_for.cache_clear()


def public_once() -> Callable[[str], bool]:
    """A check that accepts only the first address as public."""
    answers = iter([True])
    return lambda _: next(answers, False)


@pytest.mark.parametrize("path", ["/to-ftp", "/to-file", "/to-data"])
async def test_redirects_to_other_schemes_are_rejected(server: FileServer, path: str) -> None:
    with pytest.raises(RequestError, match="must begin with http://, https:// or data:") as caught:
        await load_images(request_with(at(server.url + path)))
    assert not caught.value.is_retryable


async def test_endless_redirects_are_rejected(server: FileServer) -> None:
    before = len(server.asked)
    with pytest.raises(RequestError, match="redirects more than 5 times"):
        await load_images(request_with(at(f"{server.url}/loop")))
    assert len(server.asked) - before == 6


async def test_messages_show_neither_credentials_nor_queries(server: FileServer) -> None:
    url = server.url.replace("http://", "http://ann:pass-word@") + "/nowhere?signature=very-secret#very-secret"
    with pytest.raises(
        RequestError, match=f"the image at '{server.url}/nowhere' cannot be fetched: HTTP 404"
    ) as caught:
        await load_images(request_with(at(url)))
    assert "secret" not in str(caught.value)


class TestMessages:
    """Error messages contain no bytes that were read: a row could name a file or service with secret content."""

    SECRET = b"root:x:0:0:very-secret"

    async def test_error_of_a_service_without_http_shows_no_data(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self.SECRET + b"\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as service:
            port = service.sockets[0].getsockname()[1]
            with pytest.raises(RequestError, match="cannot be fetched") as caught:
                await load_images(request_with(at(f"http://127.0.0.1:{port}/a.png")))
        assert "root" not in str(caught.value)

    @pytest.mark.parametrize(
        "data", [SECRET, PNG[:8] + b"\0\0\0\rroot" + SECRET, PNG[:-30] + SECRET * 3], ids=["text", "chunk", "data"]
    )
    def test_error_of_a_file_that_is_not_an_image_shows_no_data(self, data: bytes) -> None:
        for read in (decode_image, media_type):
            if read is media_type and data.startswith(PNG[:8]):
                continue
            with pytest.raises(RequestError) as caught:
                read(data)
            assert "root" not in str(caught.value)
            assert caught.value.__cause__ is None


class TestPixels:
    async def test_pixels_of_each_image_are_limited(self) -> None:
        items = [{"type": "image_binary", "binary": data} for data in (png(100, 100), png(9000, 9000))]
        message = (
            r"messages\[0\]\.content\[1\]: the image has 81,000,000 pixels; model\.max_image_pixels allows 64,000,000"
        )
        with pytest.raises(RequestError, match=message) as caught:
            await load_images(request_with(*items))
        assert not caught.value.is_retryable

    async def test_pixels_beyond_the_limit_of_pillow_are_rejected(self) -> None:
        with pytest.raises(RequestError, match=r"model\.max_image_pixels"):
            await load_images(request_with({"type": "image_binary", "binary": png(100_000, 100_000)}))

    async def test_pixels_of_a_conversation_are_limited(self) -> None:
        items = [{"type": "image_binary", "binary": png(100, 100)}] * 5
        with pytest.raises(RequestError, match=r"50,000 pixels together; 4 times model\.max_image_pixels"):
            await load_images(request_with(*items, max_image_pixels=10_000))
        assert (
            len(image_bytes((await load_images(request_with(*items[1:], max_image_pixels=10_000))).conversation)) == 4
        )

    @pytest.mark.parametrize("kind", ["ICO", "ICNS", "EPS"])
    def test_formats_with_embedded_content_are_not_read(self, kind: str) -> None:
        data = BytesIO()
        Image.new("RGB", (64, 64)).save(data, kind)
        with pytest.raises(RequestError, match="Pillow does not support this file format"):
            decode_image(data.getvalue())

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
    def test_usual_formats_are_read(self, kind: str) -> None:
        data = BytesIO()
        Image.new("RGB", (3, 2), "red").save(data, kind)
        assert decode_image(data.getvalue()).size == (3, 2)


def png(width: int, height: int) -> bytes:
    """A small PNG file whose header states this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x01\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compress(b"")) + chunk(b"IEND", b"")
