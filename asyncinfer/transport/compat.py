"""Every use of aiohttp beyond its documented API.

Checked on aiohttp 3.14.5. For another version, `missing` says what it lacks; `default.default_transport` then uses a
`ClientSession`, which needs of this module only `fail_body`, `session_loop`, `session_head_limits`, `close_idle` and
`close_sockets`.

What is used, and why:

- `ClientRequest` and `BaseConnector.connect`: a connection from aiohttp's pool, with its TLS, its proxies and its name
  resolution. A `ClientSession` would add cookies, redirects, middlewares and a task for each body, which cost more than
  half of a request.
- `Connection._key`: tells whether a free connection serves the request that waits for one.
- `ResponseHandler`: reads the responses of a connection. `should_close` shows data that came without a request;
  aiohttp's own pool does not look at it, and would take such data for the next response.
- `StreamReader.set_exception`: ends a read when a stream was idle for too long, or when the transport is closed.
- `HttpProcessingError`: what the parser raises for an invalid response.
- `max_line_size`, `max_field_size` and `max_headers`: the limits of the head of a response. Older versions lack some of
  them. A session takes them with each request.
- `BaseConnector._conns`: the connections that no request uses, to close them when descriptors are scarce.
- The first step of `BaseConnector.close()`: closes the sockets at once, where nothing can be awaited.
- `ClientSession._loop`: the public property `loop` is deprecated, and warns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from functools import lru_cache
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.http import HttpProcessingError
else:
    try:
        from aiohttp.http import HttpProcessingError
    except ImportError:
        HttpProcessingError = aiohttp.ClientResponseError

__all__ = [
    "CHECKED",
    "VERSION",
    "HttpProcessingError",
    "close_idle",
    "close_sockets",
    "connect",
    "connect_request",
    "expect_response",
    "fail_body",
    "missing",
    "next_message",
    "pool_key",
    "session_head_limits",
    "session_loop",
    "start_timeout",
]

CHECKED = "3.14.5"
"""The version of aiohttp on which this module was checked."""
VERSION = aiohttp.__version__
"""The version of aiohttp that is installed."""

# The limits of the head of a response: bytes of its first line, bytes of a header, and the number of headers. These are
# curl's (CURL_MAX_HTTP_HEADER and MAX_HTTP_RESP_HEADER_COUNT, curl 8.21). aiohttp's own limits, 8190 bytes and 128
# headers, are lower than those of other clients: gateways send larger heads, and httpx reads 100 KiB in all.
_HEAD_LIMITS = {"max_line_size": 100 * 2**10, "max_field_size": 100 * 2**10, "max_headers": 5000}

# What the pooled transport needs: a module, a name in it, and the parameters that are given by name.
_NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("aiohttp", "ClientRequest", ("proxy", "proxy_headers", "skip_auto_headers", "loop")),
    ("aiohttp", "ClientRequest.connection_key", ()),
    ("aiohttp", "BaseConnector.connect", ("req", "traces", "timeout")),
    ("aiohttp", "TCPConnector", ("limit", "resolver", "socket_factory")),
    ("aiohttp.connector", "Connection", ("key", "protocol")),
    ("aiohttp.connector", "Connection.protocol", ()),
    ("aiohttp.connector", "Connection.transport", ()),
    ("aiohttp.connector", "Connection.release", ()),
    ("aiohttp.connector", "Connection.close", ()),
    (
        "aiohttp.client_proto",
        "ResponseHandler.set_response_params",
        ("read_until_eof", "auto_decompress", "read_timeout", "read_bufsize"),
    ),
    ("aiohttp.client_proto", "ResponseHandler.start_timeout", ()),
    ("aiohttp.client_proto", "ResponseHandler.read", ()),
    ("aiohttp.client_proto", "ResponseHandler.should_close", ()),
    ("aiohttp", "StreamReader.set_exception", ()),
    ("aiohttp", "StreamReader.on_eof", ()),
    ("aiohttp.http", "HttpProcessingError", ()),
)


@lru_cache(maxsize=1)
def missing() -> tuple[str, ...]:
    """What the pooled transport needs and this aiohttp lacks."""
    return tuple(f"{module}.{name}" for module, name, parameters in _NEEDED if not _has(module, name, parameters))


def _has(module: str, name: str, parameters: tuple[str, ...]) -> bool:
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return not parameters or signature(found).parameters.keys() >= set(parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


@lru_cache(maxsize=4)
def _head_limits(function: Callable[..., object]) -> dict[str, Any]:
    """The limits of the head of a response that `function` takes. Versions of aiohttp differ."""
    accepted = signature(function).parameters
    return {name: limit for name, limit in _HEAD_LIMITS.items() if name in accepted}


def session_head_limits() -> dict[str, Any]:
    """The limits of the head of a response, as arguments of a `ClientSession`'s request."""
    return _head_limits(aiohttp.ClientSession._request)  # pyright: ignore[reportPrivateUsage]


def connect_request(url: URL, proxy: URL | None, proxy_headers: Mapping[str, str] | None) -> aiohttp.ClientRequest:
    """A request that says only where to connect, with aiohttp's own headers for such a URL.

    Raises:
        ValueError: The URL is not valid.
    """
    return aiohttp.ClientRequest(
        "GET",
        url,
        proxy=proxy,
        proxy_headers=proxy_headers,
        skip_auto_headers=("User-Agent", "Content-Type"),
        loop=asyncio.get_running_loop(),
    )


async def connect(
    connector: aiohttp.BaseConnector, to: aiohttp.ClientRequest, limits: aiohttp.ClientTimeout
) -> Connection:
    """A connection with nothing left to read. Data that came without a request are not the next response.

    Raises:
        TimeoutError: No connection could be opened in time.
        aiohttp.ClientError: No connection could be opened.
    """
    while True:
        connection = await connector.connect(to, [], limits)
        if connection.protocol is not None and not connection.protocol.should_close:
            return connection
        connection.close()


def pool_key(connection: Connection) -> Any:
    """The key of the pool. Connections with the same key are interchangeable."""
    return connection._key  # pyright: ignore[reportPrivateUsage]


def expect_response(connection: Connection, silence: float | None, buffer: int) -> Any:
    """Make a connection ready for a response; returns what `next_message` reads from.

    aiohttp would decompress without a limit, in the callback of the socket, so decompression is off.

    Args:
        silence: How long the server may send nothing (seconds); None for no limit.
        buffer: How much of a body waits to be read (bytes). The socket pauses at twice this size.
    """
    protocol = connection.protocol
    if protocol is None:
        raise aiohttp.ServerDisconnectedError
    limits = _head_limits(type(protocol).set_response_params)
    protocol.set_response_params(
        read_until_eof=True, auto_decompress=False, read_timeout=silence, read_bufsize=buffer, **limits
    )
    return protocol


def start_timeout(protocol: Any) -> None:
    """The request is written: from now on, the server may be silent for as long as `expect_response` says."""
    protocol.start_timeout()


def next_message(protocol: Any) -> Awaitable[tuple[Any, aiohttp.StreamReader]]:
    """The next response, interim responses included: its head, with `code` and `headers`, and its body."""
    return protocol.read()


def fail_body(content: aiohttp.StreamReader, error: BaseException) -> None:
    """Make the current or next read of a body raise `error`."""
    content.set_exception(error)


def session_loop(session: aiohttp.ClientSession) -> asyncio.AbstractEventLoop | None:
    """The event loop of a session; None if it is unknown."""
    return getattr(session, "_loop", None)


def close_idle(connector: aiohttp.BaseConnector) -> int:
    """Close the connections that no request uses. Their descriptors are free in the next iteration of the loop.

    Returns:
        How many were closed.
    """
    idle: dict[Any, Any] = getattr(connector, "_conns", {})
    transports = [
        protocol.transport for kept in idle.values() for protocol, _ in kept if protocol.transport is not None
    ]
    idle.clear()
    for transport in transports:
        transport.abort()
    return len(transports)


def close_sockets(connector: aiohttp.BaseConnector) -> None:
    """Close the sockets of a connector without waiting for them to be closed."""
    with closing(connector.close().__await__()) as steps, suppress(StopIteration, RuntimeError):
        next(steps)
