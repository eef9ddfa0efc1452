"""Move HTTP requests and responses: the only place that knows aiohttp, and where its errors become ours."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import lru_cache
from io import BytesIO

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncinfer.dialects.http import HttpRequest, HttpResponse
from asyncinfer.errors import RequestError
from asyncinfer.types.results import InferenceErrorType

MAX_BODY = 256 * 2**20
# A host that cannot be reached is given up sooner than one that takes its time to answer.
_CONNECT_SECONDS = 30.0

# aiohttp warns of larger bodies that it gets as bytes.
_LARGE_BODY = 2**20

# TimeoutError is an OSError. A ValueError tells of a URL or a header that cannot be sent.
_FOREIGN = (aiohttp.ClientError, OSError, ValueError)

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
            response = await session.request(request, _whole(request.timeout))
            try:
                return HttpResponse(response.status, response.headers, await _body(response))
            except BaseException:
                response.close()
                raise
        except _FOREIGN as error:
            raise _as_request_error(error, request.timeout) from error

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[Streamed]:
        """A response whose body is read as it comes.

        Leaving early closes the connection. Raises as `send` does.
        """
        session = self._sessions.get(asyncio.get_running_loop()) or await self._open()
        with _errors_as_ours(request.timeout):
            response = await session.request(request, _between(request.timeout))
        try:
            yield Streamed(response, request.timeout)
        finally:
            response.close()

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

    def __init__(self, response: aiohttp.ClientResponse, timeout: float) -> None:
        self._response, self._timeout = response, timeout
        self.status, self.headers = response.status, response.headers
        self.is_event_stream = response.content_type == "text/event-stream"

    async def response(self) -> HttpResponse:
        with _errors_as_ours(self._timeout):
            return HttpResponse(self.status, self._response.headers, await _body(self._response))

    async def chunks(self) -> AsyncIterator[bytes]:
        with _errors_as_ours(self._timeout):
            async for chunk in self._response.content.iter_any():
                yield chunk


class _Session:
    """One loop's connections. They are held by an async generator, which the loop closes when it ends."""

    def __init__(self) -> None:
        self._holder = self._hold()
        # Bodies that are not whole yet: aiohttp does not tell their readers when it closes a connection.
        self._unfinished: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()

    async def open(self) -> None:
        self._client = await anext(self._holder)

    async def request(self, request: HttpRequest, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        url, body = _url(request.url), request.body
        response = await self._client.request(
            request.method,
            url,
            data=(BytesIO(body) if len(body) > _LARGE_BODY else body) or None,
            headers=request.headers,
            timeout=limits,
            allow_redirects=False,
            proxy=_proxy(url.scheme, url.host or ""),
        )
        if not response.content.is_eof():
            self._unfinished.add(response)
        return response

    async def aclose(self) -> None:
        self._tell_readers()
        await self._holder.aclose()

    def _tell_readers(self) -> None:
        for response in self._unfinished:
            if not response.content.is_eof():
                response.content.set_exception(aiohttp.ClientConnectionError("the engine was closed"))

    def drop(self) -> None:
        """Let go without waiting, when the loop runs no more."""
        self._tell_readers()
        connector = self._client.connector
        self._client.detach()
        if connector is not None:
            # Nothing but its first step is needed: it closes the sockets, and then waits to see them closed.
            with closing(connector.close().__await__()) as steps, suppress(StopIteration, RuntimeError):
                next(steps)

    @staticmethod
    async def _hold() -> AsyncGenerator[aiohttp.ClientSession]:
        # The engine's gate bounds what is under way; a pool with a bound of its own would only add a queue.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
            yield client


def _abandon(sessions: _Sessions) -> None:
    """Close what an engine that was dropped, or never closed, has open. Called from any thread."""
    for loop, session in list(sessions.items()):
        if loop.is_running():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(session.drop)
        else:
            session.drop()
    sessions.clear()


@lru_cache(maxsize=64)
def _url(text: str) -> URL:
    return URL(text)


@lru_cache(maxsize=64)
def _proxy(scheme: str, host: str) -> URL | None:
    """The proxy that the environment names for a host (`https_proxy`, `no_proxy`, ...), credentials included.

    aiohttp's own `trust_env` would also read passwords from ~/.netrc, on the loop.
    """
    named = urllib.request.getproxies().get(scheme)
    if named is None or urllib.request.proxy_bypass(host):
        return None
    return URL(named if "://" in named else f"http://{named}")


@lru_cache(maxsize=16)
def _whole(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds or None, sock_connect=_connect(seconds))


@lru_cache(maxsize=16)
def _between(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_read=seconds or None, sock_connect=_connect(seconds))


def _connect(seconds: float) -> float:
    return min(seconds or _CONNECT_SECONDS, _CONNECT_SECONDS)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= MAX_BODY and "Content-Encoding" not in response.headers:
        return await response.read()
    parts: list[bytes] = []
    left = MAX_BODY
    async for part in response.content.iter_any():
        left -= len(part)
        if left < 0 or (length is not None and length > MAX_BODY):
            raise RequestError(
                f"the response is larger than {MAX_BODY >> 20} MiB", error_type=InferenceErrorType.PARSE_ERROR
            )
        parts.append(part)
    return b"".join(parts)


@contextmanager
def _errors_as_ours(timeout: float) -> Generator[None]:
    try:
        yield
    except _FOREIGN as error:
        raise _as_request_error(error, timeout) from error


def _as_request_error(error: Exception, timeout: float) -> RequestError:
    """What went wrong on the way."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _timed_out(f"no connection within {_connect(timeout):g} s")
    if isinstance(error, TimeoutError):
        return _timed_out(f"no answer within {timeout:g} s (remote_params.connection_timeout)")
    if isinstance(error, aiohttp.ClientResponseError):
        _forget_secrets(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # A certificate that is not trusted is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectionError):
        return RequestError(what, error_type=InferenceErrorType.CONFIG)
    final = isinstance(error, aiohttp.ClientConnectorCertificateError)
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=not final)


def _forget_secrets(error: aiohttp.ClientResponseError) -> None:
    """Its text shows a proxy's password; and it stays behind ours, where its repr would show the key."""
    asked = error.request_info
    headers = CIMultiDictProxy(CIMultiDict[str]())
    error.request_info = asked._replace(headers=headers, real_url=asked.real_url.with_user(None))
    error.args = ()


def _timed_out(what: str) -> RequestError:
    return RequestError(what, error_type=InferenceErrorType.TIMEOUT, is_retryable=True)
