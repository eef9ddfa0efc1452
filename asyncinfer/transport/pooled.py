"""Move HTTP requests and responses: the only place that knows aiohttp, and where its errors become ours.

Connections, their pool, TLS, proxies and the parser are aiohttp's. Its `ClientSession` is left out: cookies, redirects,
middlewares and a task for each body are for browsers' sakes, are not wanted here, and cost more than half of a request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import urllib.request
import weakref
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from asyncinfer.dialects.http import HttpRequest, HttpResponse, ResponseLimits
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError
from asyncinfer.transport.addresses import NotPublicError
from asyncinfer.transport.body import read_body, read_error_body, stream_reader
from asyncinfer.transport.content_encoding import ACCEPTED
from asyncinfer.transport.descriptors import (
    ConnectionQueue,
    PrivateAddressError,
    is_shortage,
    open_public_socket,
    open_socket,
)
from asyncinfer.transport.idle import IdleTimer
from asyncinfer.transport.memory import MemoryBudget
from asyncinfer.transport.resolver import OwnThreadsResolver
from asyncinfer.types.masking import MaskedBytes, MaskedStr, mask_headers, mask_url

log = logging.getLogger("asyncinfer")

# The memory budget for all response bodies of one event loop (bytes). One body at a time may exceed it.
_MEMORY = 256 * 2**20
# A request without a timeout fails if the server sends nothing for this long (seconds).
_MAX_SILENCE = 3600.0
# Interim responses (RFC 9110 section 15.2) before the response itself. Each is a line or two.
_MAX_INTERIM = 100
# A host that cannot be reached is given up sooner than one that takes its time to answer.
_CONNECT_SECONDS = 30.0

# A larger body is not copied behind its head; and of a response no more than so much, twice over, waits to be read.
_LARGE_BODY = _BUFFER = 2**16
# A URL that is encoded as it is to be sent, and may be signed so; yarl would undo what is not strictly needed.
_ENCODED = re.compile(r"[!-~]*%[!-~]*")
# The parts of an invalid HTTP response that aiohttp quotes in its errors.
_QUOTED = re.compile(r"[:=\s]*(\bb)?['\"].*", re.DOTALL)
# Characters that would end a header, so that a value could inject another one.
_ILLEGAL = re.compile(r"[\x00\r\n]")

# TimeoutError is an OSError. A ValueError means that a URL or a header cannot be sent.
_FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)

# If no connection can be opened, requests wait until another one ends. They fail if none ends for this long (seconds).
_MAX_SHORTAGE = 300.0
_NO_DESCRIPTOR = (
    "this process can open no further connection: its file descriptors, or the machine's ports, are used up"
)
_RAISE_LIMIT = "Raise the limit (ulimit -n), or lower remote_params.num_workers"

_Sessions = dict[asyncio.AbstractEventLoop, "_Session"]


class Transport:
    """Sends requests over pooled connections: a session for each event loop, opened by its first request.

    A session is closed with the transport, with its loop, or when the transport is dropped. Redirects are
    not followed, so that a key goes nowhere but where it was meant to.

    When the process runs out of file descriptors, requests wait until the connection of another request ends. That wait
    does not count towards the timeout.

    Args:
        public_only: Refuse to connect to addresses that are not public, proxies included.
    """

    def __init__(self, *, public_only: bool = False) -> None:
        self._socket_factory = open_public_socket if public_only else open_socket
        self._lock = threading.Lock()
        self._sessions: _Sessions = {}
        weakref.finalize(self, _abandon, self._sessions)

    async def send(self, request: HttpRequest) -> HttpResponse:
        """The response, whatever its status. Only the beginning of an error's body is read.

        Raises:
            RequestError: The connection failed, the request timed out, or the body exceeds the limits.
        """
        session = self._sessions.get(asyncio.get_running_loop()) or await self._open()
        try:
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await session.begin(request, deadline)
                try:
                    return await exchange.response(request.limits, session.memory)
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
            async with asyncio.timeout(request.timeout or None) as deadline:
                exchange = await session.begin(request, deadline)
        streamed = Streamed(exchange, request, session.memory)
        try:
            yield streamed
        finally:
            streamed.close()

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
        session = _Session(self._socket_factory)
        await session.open()
        with self._lock:
            for loop in [loop for loop in self._sessions if loop.is_closed()]:
                self._sessions.pop(loop).drop()
            self._sessions[asyncio.get_running_loop()] = session
        return session


class Streamed:
    """A response under way. `response` waits for all of it; `chunks` gives it as it comes."""

    def __init__(self, exchange: _Exchange, request: HttpRequest, memory: MemoryBudget) -> None:
        self._exchange, self._timeout, self._limits, self._memory = exchange, request.timeout, request.limits, memory
        self.status, self.headers = exchange.status, exchange.headers
        self.media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._idle = IdleTimer(exchange.content, _idle_seconds(request))

    async def response(self) -> HttpResponse:
        """The whole response, within the timeout of a request."""
        with _errors_as_ours(self._timeout):
            async with asyncio.timeout(self._timeout or None):
                return await self._exchange.response(self._limits, self._memory)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. The caller must call `progressed` for each part of an answer.

        Raises:
            RequestError: As in `Transport.send`, and if the stream brings no part of an answer for too long.
        """
        with _errors_as_ours(self._timeout):
            reader = stream_reader(self._idle.read, self.headers.get("Content-Encoding"), self._limits)
            while chunk := await reader.next():
                yield chunk

    def progressed(self) -> None:
        """A part of the answer has come: restart the idle timer."""
        self._idle.restart()

    def close(self) -> None:
        """Stop reading; closes the connection, if the body has not ended."""
        self._idle.close()
        self._exchange.close()


def _idle_seconds(request: HttpRequest) -> float:
    own = request.limits.stream_idle_timeout
    return request.timeout if own is None else own


class _Exchange:
    """A response on its connection, which goes back to the pool as soon as the body has ended."""

    __slots__ = ("__weakref__", "_connection", "_queue", "content", "first_byte", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        queue: ConnectionQueue,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
        first_byte: float,
    ) -> None:
        self._connection, self._queue, self.first_byte = connection, queue, first_byte
        self.status, self.headers, self.content = status, headers, content
        content.on_eof(self._ended)

    async def response(self, limits: ResponseLimits, memory: MemoryBudget) -> HttpResponse:
        """The whole response.

        Raises:
            RequestError: Its body exceeds the limits.
        """
        if self.status >= 400:
            body = await read_error_body(self.content, self.headers, limits)
        else:
            body = await read_body(self.content, self.headers, limits, memory)
        return HttpResponse(self.status, self.headers, body, self.first_byte)

    def close(self) -> None:
        """Close the connection, if the body has not ended."""
        if self._connection.protocol is not None:
            _end(self._connection, self._queue)

    def _ended(self) -> None:
        connection = self._connection
        transport = connection.transport
        # If the server answered before it read the whole request, the connection cannot be reused.
        is_reusable = transport is not None and not transport.get_write_buffer_size()
        _end(connection, self._queue, is_reusable=is_reusable and not self._queue.wants_other(_key(connection)))


def _end(connection: Connection, queue: ConnectionQueue, *, is_reusable: bool = False) -> None:
    """Return a connection to the pool, or close it, and wake the next request in the queue."""
    if is_reusable:
        connection.release()
    else:
        connection.close()
    if queue:
        queue.ended()


def _key(connection: Connection) -> Any:
    """The key of the pool. Connections with the same key are interchangeable."""
    return connection._key  # pyright: ignore[reportPrivateUsage]


class _Way(NamedTuple):
    """How to reach a URL: what aiohttp connects by, what the first line of a request names, and the headers that say
    more of the way than of the request.
    """

    to: aiohttp.ClientRequest
    target: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"_Way({mask_url(self.target)!r})"


class _Session:
    """One loop's connections. They are held by an async generator, which the loop closes when it ends."""

    def __init__(self, socket_factory: Callable[[Any], socket.socket]) -> None:
        self.memory = MemoryBudget(_MEMORY)
        self._holder = self._hold(socket_factory)
        self._queue = ConnectionQueue()
        self._reached: set[Any] = set()
        self._reported_shortage = False
        self._way = lru_cache(maxsize=64)(_way)
        self._last: tuple[HttpRequest | None, bytes] = (None, b"")
        # Bodies that are not whole yet: aiohttp does not tell their readers when it closes a connection.
        self._unfinished: weakref.WeakSet[_Exchange] = weakref.WeakSet()

    async def open(self) -> None:
        self._connector = await anext(self._holder)

    async def begin(self, request: HttpRequest, deadline: asyncio.Timeout) -> _Exchange:
        """Send a request, and wait for the head of its response. `deadline`: the timeout of the request."""
        way = self._way(request.url)
        head = self._head(request, way)
        connection = await self._connect(way, request.timeout, deadline)
        try:
            silence = None if request.timeout else _MAX_SILENCE
            exchange = await _exchange(connection, self._queue, head, request.body, silence)
        except BaseException:
            _end(connection, self._queue)
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
            return MaskedBytes(b"%bContent-Length: %d\r\n\r\n" % (start, len(request.body)))
        return MaskedBytes(start + b"\r\n")

    async def _connect(self, way: _Way, seconds: float, deadline: asyncio.Timeout) -> Connection:
        """A connection. If no further one can be opened, wait until another one ends."""
        key = way.to.connection_key
        if self._queue:  # Requests that wait already come first.
            await self._wait(key, seconds, deadline)
        begin = asyncio.get_running_loop().time()
        while True:
            try:
                connection = await self._open_connection(way, seconds)
            except OSError as error:
                if not is_shortage(error, connected_before=key in self._reached):
                    raise
            else:
                self._reached.add(key)
                return connection
            self._check_wait(begin)
            await self._wait(key, seconds, deadline)

    async def _wait(self, key: Any, seconds: float, deadline: asyncio.Timeout) -> None:
        """Wait in the queue, and extend the request's deadline by that time."""
        deadline.reschedule(None)
        await self._queue.wait(key)
        if seconds:
            deadline.reschedule(asyncio.get_running_loop().time() + seconds)

    def _check_wait(self, begin: float) -> None:
        """Raise a RequestError if no connection has ended for too long."""
        if not self._reported_shortage:
            self._reported_shortage = True
            log.warning("%s; requests wait until a connection ends. %s", _NO_DESCRIPTOR, _RAISE_LIMIT)
        if asyncio.get_running_loop().time() - max(begin, self._queue.last_ended) > _MAX_SHORTAGE:
            what = f"{_NO_DESCRIPTOR}, and no connection ended for {_MAX_SHORTAGE:g} s. {_RAISE_LIMIT}"
            error_type = InferenceErrorType.CONNECTION
            raise RequestError(what, error_type=error_type, is_retryable=True, is_overload=True)

    async def _open_connection(self, way: _Way, seconds: float) -> Connection:
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
    async def _hold(socket_factory: Callable[[Any], socket.socket]) -> AsyncGenerator[aiohttp.BaseConnector]:
        # The engine's gate bounds what is under way; a pool with a bound of its own would only add a queue.
        resolver = OwnThreadsResolver()
        async with aiohttp.TCPConnector(limit=0, resolver=resolver, socket_factory=socket_factory) as connector:
            yield connector


async def _exchange(
    connection: Connection, queue: ConnectionQueue, head: bytes, body: bytes, silence: float | None
) -> _Exchange:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError()
    # aiohttp would decompress without a bound, in the callback of the socket.
    protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=silence, read_bufsize=_BUFFER)
    loop = asyncio.get_running_loop()
    began = loop.time()
    if len(body) < _LARGE_BODY:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)
    protocol.start_timeout()
    for _ in range(_MAX_INTERIM):
        message, content = await protocol.read()
        if not 100 <= message.code < 200 or message.code == 101:
            return _Exchange(connection, queue, message.code, message.headers, content, loop.time() - began)
    raise aiohttp.ClientConnectionError(f"the server sent {_MAX_INTERIM} interim responses without a final one")


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
        raise ValueError(f"no host in {mask_url(text)!r}")
    bare, proxy = url.with_user(None), _proxy(url.scheme, url.host or "")
    # aiohttp's frames and connection keys show the URL of the proxy, so the credentials are passed separately.
    to_proxy = _credentials("Proxy-Authorization", proxy) if proxy is not None else {}
    to = aiohttp.ClientRequest(
        "GET",
        bare,
        proxy=proxy.with_user(None) if proxy is not None else None,
        proxy_headers=to_proxy or None,
        skip_auto_headers=("User-Agent", "Content-Type"),
        loop=asyncio.get_running_loop(),
    )
    headers = dict(to.headers) | {"Accept-Encoding": ACCEPTED} | _credentials("Authorization", url)
    if proxy is None or url.scheme == "https":
        return _Way(to, MaskedStr(url.raw_path_qs), headers)
    return _Way(to, MaskedStr(to.url), headers | to_proxy)


def _credentials(header: str, url: URL) -> dict[str, str]:
    """The header for what a URL holds of them."""
    if url.user is None and url.password is None:
        return {}
    return {header: MaskedStr("Basic " + b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode())}


def _alike(one: HttpRequest, other: HttpRequest) -> bool:
    return one.headers is other.headers and one.url == other.url and one.method == other.method


def _start(request: HttpRequest, way: _Way) -> bytes:
    """The first lines of a request.

    Raises:
        ValueError: a header cannot be sent.
    """
    headers = mask_headers({**way.headers, **request.headers})
    for name, value in headers.items():
        if _ILLEGAL.search(value):
            raise ValueError(f"the header {name} holds a line break, or a zero byte")
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return MaskedBytes(f"{request.method} {way.target} HTTP/1.1\r\n{''.join(lines)}".encode())


def uses_proxy(scheme: str, host: str) -> bool:
    """Whether requests to a host go through a proxy.

    Raises:
        RequestError: The environment names a proxy of an unknown kind.
    """
    try:
        return _proxy(scheme, host) is not None
    except ValueError as error:
        raise RequestError(str(error), error_type=InferenceErrorType.CONFIG) from None


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
        if not timeout:
            return _timed_out(f"the server sent nothing for {_MAX_SILENCE:g} s")
        return _timed_out(f"no answer within {timeout:g} s (remote_params.connection_timeout)")
    if isinstance(getattr(error, "os_error", None), PrivateAddressError):
        return NotPublicError()
    # Its own text shows the URL, of a proxy with the password.
    text = f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    if isinstance(error, aiohttp.ClientPayloadError) and "Not enough data" in text:
        text = "the response is shorter than its Content-Length"
    elif isinstance(error, HttpProcessingError | aiohttp.ClientPayloadError):
        text = " ".join(_QUOTED.sub("", text).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    # A certificate that is not trusted is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectionError):
        return RequestError(what, error_type=InferenceErrorType.CONFIG, scope=ErrorScope.ACCOUNT)
    final = isinstance(error, aiohttp.ClientConnectorCertificateError)
    scope = ErrorScope.ACCOUNT if final else ErrorScope.UNKNOWN
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=not final, scope=scope)


def _timed_out(what: str) -> RequestError:
    return RequestError(what, error_type=InferenceErrorType.TIMEOUT, is_retryable=True)
