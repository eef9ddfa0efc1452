"""Move HTTP requests and responses: the only place that knows aiohttp, and where its errors become ours.

Connections, their pool, TLS, proxies and the parser are aiohttp's. Its `ClientSession` is left out: cookies, redirects,
middlewares and a task for each body are for browsers' sakes, are not wanted here, and cost more than half of a request.
"""

from __future__ import annotations

import asyncio
import re
import threading
import urllib.request
import weakref
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from asyncinfer.aio.resolver import OwnThreadsResolver
from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.errors import RequestError
from asyncinfer.types.results import InferenceErrorType

MAX_BODY = 256 * 2**20
# A host that cannot be reached is given up sooner than one that takes its time to answer.
_CONNECT_SECONDS = 30.0

# A larger body is not copied behind its head; and of a response no more than so much, twice over, waits to be read.
_LARGE_BODY = _BUFFER = 2**16
# A URL that is encoded as it is to be sent, and may be signed so; yarl would undo what is not strictly needed.
_ENCODED = re.compile(r"[!-~]*%[!-~]*")
# What would end a header early, and begin another.
_ILLEGAL = re.compile(r"[\x00\r\n]")

# TimeoutError is an OSError. A ValueError tells of a URL or a header that cannot be sent.
_FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)

_Sessions = dict[asyncio.AbstractEventLoop, "_Session"]


class Transport:
    """Sends requests over pooled connections: a session for each event loop, opened by its first request.

    A session is closed with the transport, with its loop, or when the transport is dropped. Redirects are
    not followed, so that a key goes nowhere but where it was meant to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: _Sessions = {}
        weakref.finalize(self, _abandon, self._sessions)

    async def send(self, request: HttpRequest) -> HttpResponse:
        """The response, whatever its status.

        Raises:
            RequestError: the connection failed, the time was up, or the body is larger than 256 MiB.
        """
        session = self._sessions.get(asyncio.get_running_loop()) or await self._open()
        try:
            async with asyncio.timeout(request.timeout or None):
                exchange = await session.begin(request)
                try:
                    return HttpResponse(exchange.status, exchange.headers, await exchange.body())
                finally:
                    exchange.close()
        except _FOREIGN as error:
            failure = _as_request_error(error, request.timeout)
        raise failure  # from nothing: what aiohttp says may show a key, or a proxy's password

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[Streamed]:
        """A response whose body is read as it comes.

        Leaving early closes the connection. Raises as `send` does.
        """
        session = self._sessions.get(asyncio.get_running_loop()) or await self._open()
        with _errors_as_ours(request.timeout):
            async with asyncio.timeout(request.timeout or None):
                exchange = await session.begin(request, silence=request.timeout or None)
        try:
            yield Streamed(exchange, request.timeout)
        finally:
            exchange.close()

    async def aclose(self) -> None:
        """Close the connections of every loop."""
        with self._lock:
            own = self._sessions.pop(asyncio.get_running_loop(), None)
            # Not waited for: another loop may be blocked by a sync twin that waits for this one.
            _abandon(self._sessions)
        if own is not None:
            await own.aclose()

    async def _open(self) -> _Session:
        """This loop's session, from now on."""
        session = _Session()
        await session.open()
        with self._lock:
            for loop in [loop for loop in self._sessions if loop.is_closed()]:
                self._sessions.pop(loop).drop()
            self._sessions[asyncio.get_running_loop()] = session
        return session


class Streamed:
    """A response under way. `response` waits for all of it; `chunks` gives it as it comes."""

    def __init__(self, exchange: _Exchange, timeout: float) -> None:
        self._exchange, self._timeout = exchange, timeout
        self.status, self.headers = exchange.status, exchange.headers
        self.media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    async def response(self) -> HttpResponse:
        with _errors_as_ours(self._timeout):
            return HttpResponse(self.status, self.headers, await self._exchange.body())

    async def chunks(self) -> AsyncIterator[bytes]:
        left = MAX_BODY
        with _errors_as_ours(self._timeout):
            async for chunk in self._exchange.content.iter_any():
                left -= len(chunk)
                if left < 0:
                    raise _too_large()
                yield chunk


class _Exchange:
    """A response on its connection, which goes back to the pool as soon as the body has ended."""

    __slots__ = ("__weakref__", "_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: Mapping[str, str], content: aiohttp.StreamReader
    ) -> None:
        self._connection, self.status, self.headers, self.content = connection, status, headers, content
        content.on_eof(self._ended)

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            RequestError: it is too large.
        """
        length = int(self.headers.get("Content-Length") or -1)
        if length > MAX_BODY:
            raise _too_large()
        if length >= 0 and "Content-Encoding" not in self.headers:
            return await self.content.read()
        parts: list[bytes] = []
        left = MAX_BODY
        async for part in self.content.iter_any():
            left -= len(part)
            if left < 0:
                raise _too_large()
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection, if the body has not ended."""
        self._connection.close()

    def _ended(self) -> None:
        transport = self._connection.transport
        if transport is None or transport.get_write_buffer_size():
            self._connection.close()  # The server has answered before it had read all of the request.
        else:
            self._connection.release()


class _Way(NamedTuple):
    """How to reach a URL: what aiohttp connects by, what the first line of a request names, and the headers that say
    more of the way than of the request.
    """

    to: aiohttp.ClientRequest
    target: str
    headers: dict[str, str]


class _Session:
    """One loop's connections. They are held by an async generator, which the loop closes when it ends."""

    def __init__(self) -> None:
        self._holder = self._hold()
        self._way = lru_cache(maxsize=64)(_way)
        self._last: tuple[HttpRequest | None, bytes] = (None, b"")
        # Bodies that are not whole yet: aiohttp does not tell their readers when it closes a connection.
        self._unfinished: weakref.WeakSet[_Exchange] = weakref.WeakSet()

    async def open(self) -> None:
        self._connector = await anext(self._holder)

    async def begin(self, request: HttpRequest, *, silence: float | None = None) -> _Exchange:
        """Send a request, and wait for the head of its response, each part of which may take `silence` seconds."""
        way = self._way(request.url)
        head = self._head(request, way)
        connection = await self._connect(way, request.timeout)
        try:
            exchange = await _exchange(connection, head, request.body, silence)
        except BaseException:
            connection.close()
            raise
        if not exchange.content.is_eof():
            self._unfinished.add(exchange)
        return exchange

    def _head(self, request: HttpRequest, way: _Way) -> bytes:
        """The head of a request. Most requests are like the one before, but for their length."""
        before, start = self._last
        if before is None or not _alike(before, request):
            start = _start(request, way)
            self._last = request._replace(body=b""), start
        if request.body or request.method != "GET":
            return b"%bContent-Length: %d\r\n\r\n" % (start, len(request.body))
        return start + b"\r\n"

    async def _connect(self, way: _Way, seconds: float) -> Connection:
        """A connection with nothing left to read: what came unasked would be taken for the answer."""
        try:
            while True:
                connection = await self._connector.connect(way.to, [], _connecting(seconds))
                if connection.protocol is not None and not connection.protocol.should_close:
                    return connection
                connection.close()
        except TimeoutError:
            raise _timed_out(f"no connection within {_connect_seconds(seconds):g} s") from None

    async def aclose(self) -> None:
        self._tell_readers()
        await self._holder.aclose()

    def _tell_readers(self) -> None:
        for exchange in self._unfinished:
            if not exchange.content.is_eof():
                exchange.content.set_exception(aiohttp.ClientConnectionError("the engine was closed"))

    def drop(self) -> None:
        """Let go without waiting, when the loop runs no more."""
        self._tell_readers()
        # Nothing but its first step is needed: it closes the sockets, and then waits to see them closed.
        with closing(self._connector.close().__await__()) as steps, suppress(StopIteration, RuntimeError):
            next(steps)

    @staticmethod
    async def _hold() -> AsyncGenerator[aiohttp.BaseConnector]:
        # The engine's gate bounds what is under way; a pool with a bound of its own would only add a queue.
        async with aiohttp.TCPConnector(limit=0, resolver=OwnThreadsResolver()) as connector:
            yield connector


async def _exchange(connection: Connection, head: bytes, body: bytes, silence: float | None) -> _Exchange:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError()
    protocol.set_response_params(read_until_eof=True, auto_decompress=True, read_timeout=silence, read_bufsize=_BUFFER)
    if len(body) < _LARGE_BODY:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)
    protocol.start_timeout()
    while True:
        message, content = await protocol.read()
        if not 100 <= message.code < 200 or message.code == 101:
            return _Exchange(connection, message.code, message.headers, content)


def _abandon(sessions: _Sessions) -> None:
    """Close what an engine that was dropped, or never closed, has open. Called from any thread."""
    for loop, session in list(sessions.items()):
        if loop.is_running():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(session.drop)
        else:
            session.drop()
    sessions.clear()


def _way(text: str) -> _Way:
    """Raises ValueError for a URL that leads nowhere."""
    url = URL(text, encoded=_ENCODED.fullmatch(text) is not None)
    if not url.raw_host:
        raise ValueError(f"no host in {text!r}")
    bare, proxy = url.with_user(None), _proxy(url.scheme, url.host or "")
    ours = ("User-Agent", "Content-Type")
    to = aiohttp.ClientRequest("GET", bare, proxy=proxy, skip_auto_headers=ours, loop=asyncio.get_running_loop())
    headers = dict(to.headers) | _credentials("Authorization", url)
    if proxy is None or url.scheme == "https":
        return _Way(to, url.raw_path_qs, headers)
    return _Way(to, str(to.url), headers | _credentials("Proxy-Authorization", proxy))


def _credentials(header: str, url: URL) -> dict[str, str]:
    """The header for what a URL holds of them."""
    if url.user is None and url.password is None:
        return {}
    return {header: "Basic " + b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()}


def _alike(one: HttpRequest, other: HttpRequest) -> bool:
    return one.headers is other.headers and one.url == other.url and one.method == other.method


def _start(request: HttpRequest, way: _Way) -> bytes:
    """The first lines of a request.

    Raises:
        ValueError: a header cannot be sent.
    """
    lines = [f"{request.method} {way.target} HTTP/1.1"]
    for name, value in {**way.headers, **request.headers}.items():
        if _ILLEGAL.search(value):
            raise ValueError(f"the header {name} holds a line break, or a zero byte")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n").encode()


@lru_cache(maxsize=64)
def _proxy(scheme: str, host: str) -> URL | None:
    """The proxy that the environment names for a host (`https_proxy`, `no_proxy`, ...), credentials included.

    aiohttp's own `trust_env` would also read passwords from ~/.netrc, on the loop.
    """
    named = urllib.request.getproxies().get(scheme)
    if named is None or urllib.request.proxy_bypass(host):
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https"):
        raise ValueError(f"{scheme}_proxy names a {proxy.scheme} proxy; only http and https ones are spoken to")
    return proxy


@lru_cache(maxsize=16)
def _connecting(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=_connect_seconds(seconds), sock_connect=_connect_seconds(seconds))


def _connect_seconds(seconds: float) -> float:
    return min(seconds or _CONNECT_SECONDS, _CONNECT_SECONDS)


@contextmanager
def _errors_as_ours(timeout: float) -> Generator[None]:
    try:
        yield
        return
    except _FOREIGN as error:
        failure = _as_request_error(error, timeout)
    raise failure from None


def _as_request_error(error: Exception, timeout: float) -> RequestError:
    """What went wrong on the way."""
    if isinstance(error, TimeoutError):
        return _timed_out(f"no answer within {timeout:g} s (remote_params.connection_timeout)")
    # Its own text shows the URL, of a proxy with the password.
    text = f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    # A certificate that is not trusted is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectionError):
        return RequestError(what, error_type=InferenceErrorType.CONFIG)
    final = isinstance(error, aiohttp.ClientConnectorCertificateError)
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=not final)


def _too_large() -> RequestError:
    what = f"the response is larger than {MAX_BODY >> 20} MiB"
    return RequestError(what, error_type=InferenceErrorType.PARSE_ERROR)


def _timed_out(what: str) -> RequestError:
    return RequestError(what, error_type=InferenceErrorType.TIMEOUT, is_retryable=True)
