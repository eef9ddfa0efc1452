"""A server that speaks OpenAI's chat completions and does, request by request, what a test tells it.

    async with FaultServer(lambda ask: status(503) if ask.attempt == 1 else None) as server:
        engine = RemoteInferenceEngine(..., remote_params=RemoteParams(api_url=server.url))

The script gets each request as an `Ask` and returns a fault; None means an answer. What arrived is in
`server.asks`. The server lives on the loop that enters it, and listens at 127.0.0.1 on a free port.
"""

from __future__ import annotations

import gzip as gz
import json
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
from aiohttp import web

from tests.fakes import answer_to


@dataclass(frozen=True)
class Ask:
    """One request: the last message's text, how often that was asked, when, over which connection, with what."""

    question: str
    attempt: int
    at: float
    connection: int
    headers: dict[str, str]
    body: dict[str, Any]


Fault = Callable[[web.Request, Ask], Awaitable[web.StreamResponse]]
Script = Callable[[Ask], Fault | None]


class FaultServer:
    """`peak` is the most requests that were under way at once."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script
        self.asks: list[Ask] = []
        self.asked: Counter[str] = Counter()
        self.in_flight = self.peak = 0
        self.abandoned = 0
        """Requests whose client hung up before they were answered."""
        self._connections: dict[object, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def connections(self) -> int:
        """How many connections brought a request."""
        return len(self._connections)

    @property
    def open_connections(self) -> int:
        """How many are open now."""
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, at most ten seconds, for what other tasks of this loop bring about."""
        with anyio.fail_after(10):
            while not condition():
                await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        await web.SockSite(self._runner, listener, backlog=1024).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, await request.json())

    async def _models(self, request: web.Request) -> web.StreamResponse:
        names = ["chatty", "text-embedding-x"]
        return await self._serve(request, {}, web.json_response({"data": [{"id": name} for name in names]}))

    async def _serve(
        self, request: web.Request, body: dict[str, Any], usual: web.StreamResponse | None = None
    ) -> web.StreamResponse:
        ask = self._note(request, body)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            fault = self.script(ask) if self.script is not None else None
            if fault is not None:
                return await fault(request, ask)
            return usual or web.Response(body=completion(ask.question), content_type="application/json")
        except (anyio.get_cancelled_exc_class(), ConnectionError):
            self.abandoned += 1
            raise
        finally:
            self.in_flight -= 1

    def _note(self, request: web.Request, body: dict[str, Any]) -> Ask:
        question = body["messages"][-1]["content"] if body else request.path
        question = question if isinstance(question, str) else json.dumps(question)
        self.asked[question] += 1
        connection = self._connections.setdefault(request.transport, len(self._connections))
        ask = Ask(question, self.asked[question], time.monotonic(), connection, dict(request.headers), body)
        self.asks.append(ask)
        return ask


def completion(question: str) -> bytes:
    """The answer to a question, as the API writes it."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": answer_to(question)}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    return json.dumps(answer).encode()


# Whole responses


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """A refusal in OpenAI's form; `retry_after="1"` becomes the header `Retry-After: 1`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def reply(_: web.Request, __: Ask) -> web.Response:
        return web.json_response({"error": {"message": message}}, status=code, headers=named)

    return reply


def with_headers(headers: Mapping[str, str]) -> Fault:
    """A good answer with more headers."""

    async def reply(_: web.Request, ask: Ask) -> web.Response:
        return web.Response(body=completion(ask.question), content_type="application/json", headers=headers)

    return reply


def echo(code: int) -> Fault:
    """A refusal that repeats the key it got, in its text and in a header."""

    async def reply(request: web.Request, _: Ask) -> web.Response:
        key = request.headers["Authorization"]
        said = {"error": {"message": f"no good: {key}"}}
        return web.json_response(said, status=code, headers={"Location": f"http://localhost/?key={key}"})

    return reply


def come_back_at(seconds: float) -> Fault:
    """A 429 whose Retry-After is a date, so many seconds after that of the response."""

    async def reply(request: web.Request, ask: Ask) -> web.StreamResponse:
        today = time.time()
        date = formatdate(today, usegmt=True)
        return await status(429, date=date, retry_after=formatdate(today + seconds, usegmt=True))(request, ask)

    return reply


def says(body: bytes, content_type: str = "application/json", code: int = 200) -> Fault:
    """Any body under any type."""

    async def reply(_: web.Request, __: Ask) -> web.Response:
        return web.Response(body=body, content_type=content_type, status=code)

    return reply


null = says(b"null")
no_choices = says(b'{"choices": []}')
no_json = says(b"I am fine, thank you", "text/plain")
html = says(b"<html><head><title>Oops</title></head><body>the <b>proxy</b> is ill</body></html>", "text/html", 502)
html_as_success = says(b"<html><body>log in to the hotel's network</body></html>", "text/html")
error_as_success = says(b'{"error": {"code": 502, "message": "upstream is down"}}')


async def mistyped(_: web.Request, ask: Ask) -> web.Response:
    """A good answer that calls itself text."""
    return web.Response(body=completion(ask.question), content_type="text/plain")


async def gzipped(_: web.Request, ask: Ask) -> web.Response:
    """A good answer, compressed."""
    packed = gz.compress(completion(ask.question))
    return web.Response(body=packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})


def redirect(url: str) -> Fault:
    """The API is elsewhere."""

    async def reply(_: web.Request, __: Ask) -> web.Response:
        return web.Response(status=307, headers={"Location": url})

    return reply


def oversized(size: int, *, told: bool = True, packed: bool = False) -> Fault:
    """A body of `size` bytes, `told` of by a Content-Length or not; `packed`, it is small until it is unpacked."""

    async def reply(request: web.Request, _: Ask) -> web.StreamResponse:
        body = gz.compress(b" " * size) if packed else b" " * size
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if packed else {})
        if told:
            response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        return response

    return reply


# Broken connections


async def reset(request: web.Request, _: Ask) -> web.StreamResponse:
    """The connection is reset before a word is said."""
    return _break(request, b"")


async def reset_in_body(request: web.Request, _: Ask) -> web.StreamResponse:
    """The connection is reset when half an answer is out."""
    return _break(request, b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"cho')


async def truncated(request: web.Request, _: Ask) -> web.StreamResponse:
    """The connection is closed in good order, with less sent than was announced."""
    return _write(request, b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [{"mess')


async def hang_up(request: web.Request, _: Ask) -> web.StreamResponse:
    """A half-open keep-alive: the idle connection is closed just as the next request comes."""
    return _write(request, b"")


async def duplicate_headers(_: web.Request, ask: Ask) -> web.StreamResponse:
    """Headers twice, as two proxies in a row write them."""
    response = web.Response(body=completion(ask.question), content_type="application/json")
    for name, value in (("Via", "a"), ("Via", "b"), ("Retry-After", "1"), ("Retry-After", "2")):
        response.headers.add(name, value)
    return response


async def duplicate_length(request: web.Request, _: Ask) -> web.StreamResponse:
    """Two lengths: where the answer ends is anybody's guess."""
    return _write(request, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}")


async def no_http(request: web.Request, _: Ask) -> web.StreamResponse:
    """Something else listens at this port."""
    return _write(request, b"220 mail.example.com ESMTP\r\n")


async def key_as_http(request: web.Request, _: Ask) -> web.StreamResponse:
    """The key it got, where the status should be."""
    return _write(request, f"{request.headers['Authorization']}\r\n".encode())


def after(seconds: float) -> Fault:
    """A good answer, after a delay."""

    async def reply(_: web.Request, ask: Ask) -> web.Response:
        await anyio.sleep(seconds)
        return web.Response(body=completion(ask.question), content_type="application/json")

    return reply


async def stall(_: web.Request, __: Ask) -> web.StreamResponse:
    """Nothing, ever."""
    await anyio.sleep_forever()
    raise AssertionError


async def drip(request: web.Request, _: Ask) -> web.StreamResponse:
    """A byte now and then, without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await anyio.sleep(0.01)


async def drip_head(request: web.Request, _: Ask) -> web.StreamResponse:
    """A header whose value never ends; a byte comes now and then."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        request.transport.write(b"a")
        await anyio.sleep(0.01)


async def drip_packed(request: web.Request, _: Ask) -> web.StreamResponse:
    """Endless compressed white space; a few bytes come now and then."""
    response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
    await response.prepare(request)
    packer = zlib.compressobj(wbits=31)
    while True:
        await response.write(packer.compress(b" ") + packer.flush(zlib.Z_SYNC_FLUSH))
        await anyio.sleep(0.01)


def repeat(
    data: bytes,
    content_type: str = "text/event-stream",
    *,
    begin: bytes = b"",
    times: int | None = None,
    end: bytes = b"",
) -> Fault:
    """The same bytes every few milliseconds: a number of times and then the end, or endlessly."""

    async def reply(request: web.Request, __: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        await response.write(begin)
        for _ in count() if times is None else range(times):
            await response.write(data)
            await anyio.sleep(0.005)
        await response.write(end)
        return response

    return reply


def _write(request: web.Request, data: bytes) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(data)
    request.transport.close()
    return web.Response()


def _break(request: web.Request, data: bytes) -> web.StreamResponse:
    """Send `data`, then an RST instead of a FIN."""
    assert request.transport is not None
    request.transport.write(data)
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
    return web.Response()


# Streams


def sse(parts: Sequence[str], then: Fault | None = None) -> Fault:
    """A stream of these pieces of text; after them its end, or a fault."""

    async def reply(request: web.Request, ask: Ask) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await _event(response, {"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]})
        if then is not None:
            return await then(request, ask)
        await _event(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        await _event(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    return reply


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(data).encode() + b"\n\n")
