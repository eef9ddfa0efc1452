"""The ASGI interface: types, headers, and work that ends when the client disconnects.

Source: the ASGI specification, "HTTP & WebSocket ASGI Message Format" 2.5.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

from asyncinfer.aio.tasks import done_before

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_HEADER = (b"content-type", b"application/json")
EVENTS_HEADER = (b"content-type", b"text/event-stream; charset=utf-8")
# Proxies that buffer a response, such as nginx, would hold the events back.
STREAM_HEADERS: Headers = [EVENTS_HEADER, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
# The extension of this package's own server with the function that closes the connection of a request.
ABORT = "asyncinfer.abort"


def header(scope: Scope, name: bytes) -> bytes:
    """Return the value of a header; empty bytes without it. `name`: in lower case."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def abort_connection(scope: Scope) -> None:
    """Close the connection of a request at once, if the server can. What was not sent is dropped."""
    extensions: MutableMapping[str, Any] = scope.get("extensions") or {}
    abort: Callable[[], None] | None = extensions.get(ABORT)
    if abort is not None:
        abort()


class ClientDisconnected(Exception):
    """The client has closed the connection. There is nobody to answer to."""


class Reply:
    """The response to one request.

    Attributes:
        status: The status that was sent. None: the response has not begun.
        is_complete: Whether the last part of the body was sent.
        waiting_since: Since when a part waits for the client to read, on the monotonic clock. None: no part waits.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.is_complete = False
        self.waiting_since: float | None = None

    async def send_all(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Send a complete response. Its type is JSON, unless `headers` say otherwise."""
        headers = headers or []
        if not any(name == b"content-type" for name, _ in headers):
            headers = [JSON_HEADER, *headers]
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(body, more=False)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of a response."""
        self.status = status
        await self._send_message({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body. `more`: whether another part follows."""
        self.is_complete = not more
        await self._send_message({"type": "http.response.body", "body": body, "more_body": more})

    async def _send_message(self, message: MutableMapping[str, Any]) -> None:
        self.waiting_since = time.monotonic()
        await self._send(message)
        self.waiting_since = None


async def until_disconnect(receive: Receive, work: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> bool:
    """Do `work` in `scope`, which is cancelled when the client closes the connection.

    Args:
        receive: The ASGI callable of the request, whose body must have been read.
        work: What is done.
        scope: A scope that is not entered yet. Others may cancel it too.

    Returns:
        Whether the work was completed.
    """

    async def disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return await done_before(disconnect, work, scope)
