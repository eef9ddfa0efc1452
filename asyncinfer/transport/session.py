"""A transport over an `aiohttp.ClientSession`, for client certificates, tracing, Unix sockets or tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from asyncinfer.errors import ConfigError, EngineConfigError, InferenceErrorType
from asyncinfer.transport import compat, timeouts
from asyncinfer.transport.content_encoding import ACCEPTED
from asyncinfer.transport.errors import FOREIGN, with_request_errors
from asyncinfer.transport.exchange import read_response
from asyncinfer.transport.exchange_transport import ExchangeTransport
from asyncinfer.transport.file_body import pieces_of
from asyncinfer.transport.memory import budget_for_bodies
from asyncinfer.transport.open_bodies import OpenBodies
from asyncinfer.transport.pooled_exchange import BUFFER
from asyncinfer.transport.proxies import credentials_header, proxy_for, proxy_headers
from asyncinfer.transport.request_head import check_headers
from asyncinfer.transport.routes import parse_url
from asyncinfer.types.http import HttpRequest, HttpResponse
from asyncinfer.types.masking import mask_headers, mask_url, without_traceback
from asyncinfer.types.upload import FileBody

# The largest body that aiohttp takes as bytes without a warning (bytes).
_MAX_BYTES_BODY = 2**20


class SessionTransport(ExchangeTransport):
    """Sends requests through a session of the user, and never closes it.

    The session decides about connections, proxies, TLS, cookies, default headers, tracing and middlewares. Its timeout,
    its `raise_for_status`, its decompression and its limits on headers are replaced by those of each request. Its
    connector should allow as many connections as requests are sent at once: waiting for a connection counts towards a
    request's timeout.

    A session takes an unsolicited response, which some broken servers send, for the response to the next request. The
    pooled transport closes such a connection.

    Args:
        session: It can be used only on its own event loop.
        proxies_from_environment: Use the proxies that the environment names, instead of the session's.

    Raises:
        ConfigError: `session` is not an `aiohttp.ClientSession`.
    """

    def __init__(self, session: aiohttp.ClientSession, *, proxies_from_environment: bool = False) -> None:
        if not isinstance(session, aiohttp.ClientSession):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"session should be an aiohttp.ClientSession (found {type(session).__name__})")
        self._session, self._use_proxies = session, proxies_from_environment
        self._loop = compat.session_loop(session)
        self.memory = budget_for_bodies()
        self._bodies = OpenBodies()

    def release_idle(self) -> None:
        if self._session.connector is not None:
            compat.close_idle(self._session.connector)

    async def aclose(self) -> None:
        """End the responses that are being read. The session stays open."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            self.end_reads()
        else:
            with suppress(RuntimeError):  # The loop is closed already.
                self._loop.call_soon_threadsafe(self.end_reads)

    def end_reads(self) -> None:
        """End the responses that are being read. Called on the session's loop."""
        self._bodies.end()

    async def _exchanges(self) -> SessionTransport:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise _unusable(
                "session: it belongs to another event loop than this call. Make the session on the event loop that "
                "uses the engine. Blocking methods, such as `infer`, may run on another event loop: use the `a` methods"
            )
        if self._session.closed:
            raise _unusable("session: it is closed; keep it open as long as the engine is used")
        return self

    async def begin(self, request: HttpRequest, deadline: asyncio.Timeout) -> SessionExchange:
        """Send a request, and wait for the head of its response. The deadline stays as it is."""
        body = request.body if len(request.body) <= _MAX_BYTES_BODY else BytesIO(request.body)
        return await self._begin(request, body or None)

    async def upload(self, request: HttpRequest, body: FileBody) -> HttpResponse:
        await self._exchanges()
        return await with_request_errors(self._upload(request, body), request.timeout)

    async def _upload(self, request: HttpRequest, body: FileBody) -> HttpResponse:
        loop, seconds = asyncio.get_running_loop(), request.timeout
        async with asyncio.timeout(seconds or None) as deadline:

            def progressed() -> None:
                if seconds:
                    deadline.reschedule(loop.time() + seconds)

            headers = {**request.headers, "Content-Length": str(body.size)}
            async with pieces_of(body, progressed) as pieces:
                exchange = await self._begin(request._replace(headers=headers), pieces)
                try:
                    return await read_response(exchange, request.limits, self.memory)
                finally:
                    exchange.close()

    async def _begin(self, request: HttpRequest, body: Any) -> SessionExchange:
        """Send a request with this body, and wait for the head of its response."""
        target = _target(request, use_proxies=self._use_proxies)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            response = await self._session.request(
                request.method,
                target.url,
                data=body,
                headers=target.headers,
                skip_auto_headers=("User-Agent", "Content-Type"),
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                read_bufsize=BUFFER,
                timeout=_timeout(request.timeout),
                proxy=target.proxy,
                proxy_headers=target.proxy_headers,
                **compat.session_head_limits(),
            )
        except FOREIGN:
            raise
        except Exception as error:
            # An error of a middleware, of a trace or within aiohttp. Its frames show the URL.
            if mask_url(request.url) != request.url:
                without_traceback(error)
            raise
        exchange = SessionExchange(response, loop.time() - began)
        self._bodies.add(exchange)
        return exchange


class SessionExchange:
    """A response of a session."""

    __slots__ = ("__weakref__", "_response", "content", "first_byte", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, first_byte: float) -> None:
        self._response, self.first_byte = response, first_byte
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content: aiohttp.StreamReader = response.content

    def close(self) -> None:
        """Close the connection, unless the whole body has been read."""
        self._response.close()


class _Target(NamedTuple):
    """Where a request goes. The URLs hold no credentials; these are in the headers."""

    url: URL
    headers: dict[str, str]
    proxy: URL | None
    proxy_headers: dict[str, str]

    def __repr__(self) -> str:
        return f"_Target({mask_url(str(self.url))!r})"


def _target(request: HttpRequest, *, use_proxies: bool) -> _Target:
    """Where a request goes.

    Raises:
        ValueError: The URL is not valid, or a header cannot be sent.
    """
    url = parse_url(request.url)
    proxy = proxy_for(url.scheme, url.host or "", url.port) if use_proxies else None
    to_proxy = proxy_headers(proxy)
    # Without TLS there is no tunnel, and the proxy reads the headers of the request itself.
    own = {"Accept-Encoding": ACCEPTED, **credentials_header("Authorization", url)}
    headers = mask_headers({**own, **(to_proxy if url.scheme == "http" else {}), **request.headers})
    check_headers(headers)
    return _Target(url.with_user(None), headers, proxy.with_user(None) if proxy is not None else None, to_proxy)


@lru_cache(maxsize=16)
def _timeout(timeout: float) -> aiohttp.ClientTimeout:
    """The limits that aiohttp applies. Waiting for a connection of the pool counts only towards the whole request."""
    seconds, silence = timeouts.connect_seconds(timeout), None if timeout else timeouts.MAX_SILENCE
    return aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=silence)


def _unusable(why: str) -> EngineConfigError:
    return EngineConfigError(why, error_type=InferenceErrorType.CONFIG)
