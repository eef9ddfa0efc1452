"""Images of a conversation, fetched from where it says, for the models of this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.engines import images
from asyncinfer.engines.images import images_of, with_images
from asyncinfer.run.request import Request
from tests.file_server import Answer, FileServer


@pytest.fixture(scope="module")
def server() -> Iterator[FileServer]:
    files = {
        "/a.png": b"an image",
        "/%C3%A9%20b.png": b"another",
        "/moved": Answer(b"", 302, {"Location": "/a.png", "Content-Length": "0"}),
        "/busy": Answer(b"", 503),
        "/cut": Answer(b"half", 200, {"Content-Length": "8"}),
        "/cut-chunks": Answer(b"8\r\nhalf", 200, {"Transfer-Encoding": "chunked"}),
    }
    with FileServer(files) as started:
        yield started


def asked(*items: dict[str, Any]) -> Request:
    content = [*items, {"type": "text", "content": "What?"}]
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": content}]})
    return Request(conversation, GenerationParams(), ModelParams())


def at(url: str) -> dict[str, Any]:
    return {"type": "image_url", "content": url}


async def test_are_fetched_in_their_order(server: FileServer, tmp_path: Path) -> None:
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
    request = asked(*items)
    found = await with_images(request)
    assert images_of(found.conversation) == [
        b"an image",
        b"a file",
        b"inline",
        b"given",
        b"an image",
        b"another",
        b"another",
    ]
    assert images_of(request.conversation) == [b"given"], "what was asked is not changed"


async def test_are_not_looked_for_in_a_conversation_of_text() -> None:
    request = asked()
    assert await with_images(request) is request


@pytest.mark.parametrize(
    ("path", "status", "may_pass"),
    [("/nowhere", 404, False), ("/busy", 503, True), ("/cut", None, True), ("/cut-chunks", None, True)],
)
async def test_that_the_server_does_not_give_fail_the_row(
    server: FileServer, path: str, status: int | None, may_pass: bool
) -> None:
    with pytest.raises(RequestError, match=f"the image at '{server.url}{path}' cannot be had") as caught:
        await with_images(asked(at(server.url + path)))
    assert (caught.value.status_code, caught.value.is_retryable) == (status, may_pass)


async def test_of_a_server_that_is_not_there_may_be_had_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.png"
        with pytest.raises(RequestError, match="cannot be had") as caught:
            await with_images(asked(at(url)))
    assert caught.value.is_retryable


async def test_that_are_too_large_are_refused(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_FILE", 4)
    with pytest.raises(RequestError, match="is larger than"):
        await with_images(asked(at(f"{server.url}/a.png")))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "/etc/passwd", "http://[", "http://127.0.0.1:x/a"])
async def test_of_no_url_are_refused(url: str) -> None:
    with pytest.raises(RequestError) as caught:
        await with_images(asked(at(url)))
    assert not caught.value.is_retryable
