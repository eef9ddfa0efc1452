"""Converts errors of aiohttp and of the operating system to `RequestError`."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import aiohttp

from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError
from asyncinfer.transport import timeouts
from asyncinfer.transport.addresses import NotPublicError
from asyncinfer.transport.base import UnreachableError
from asyncinfer.transport.compat import HttpProcessingError
from asyncinfer.transport.descriptors import PrivateAddressError, is_shortage

T = TypeVar("T")

# TimeoutError is an OSError. A ValueError means that a URL or a header cannot be sent.
FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
# The subclasses of `ClientConnectorError` that are not here mean that a server answered.
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError)
_ADVICE = {
    aiohttp.ClientConnectorDNSError: ". Check the host name in the URL, and the network",
    aiohttp.ClientConnectorCertificateError: ". Check the host name in the URL. If the certificate is from a private "
    "authority, name the file with the certificate of that authority in the environment variable SSL_CERT_FILE",
}
# OpenSSL's errors for an answer that is not TLS.
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG")
# The parts of an invalid HTTP response that aiohttp quotes in its errors.
_QUOTED = re.compile(r"[:=\s]*(\bb)?['\"].*", re.DOTALL)


async def with_request_errors(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return the result of `work`, and convert its errors of `FOREIGN`.

    An error of aiohttp, or its frames, may show a key or the password of a proxy. The converted error is raised after
    the `except` block, so that it does not contain the original one as its context. A context manager cannot do that.

    Args:
        seconds: The timeout of the request; 0 for no limit. Only the message shows it.

    Raises:
        RequestError: `work` failed.
    """
    try:
        return await work
    except FOREIGN as error:
        failure = as_request_error(error, seconds)
    raise failure


def as_request_error(error: Exception, timeout: float) -> RequestError:
    """The `RequestError` for an error of `FOREIGN`. `timeout`: that of the request."""
    if isinstance(error, TimeoutError):
        return _timeout_error(error, timeout)
    if isinstance(getattr(error, "os_error", None), PrivateAddressError):
        return NotPublicError()
    text = _text(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    has_no_tls = isinstance(error, aiohttp.ClientConnectorSSLError) and _NO_TLS.search(text) is not None
    if has_no_tls:
        what += ". The server at this port does not use TLS. Begin the URL with http://, or correct the port"
    what += next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
    # The error for a certificate that is not trusted is also a ValueError. It is handled below.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectionError):
        return RequestError(what, error_type=InferenceErrorType.CONFIG, scope=ErrorScope.ACCOUNT)
    final = has_no_tls or isinstance(error, aiohttp.ClientConnectorCertificateError)
    scope = ErrorScope.ACCOUNT if final else ErrorScope.UNKNOWN
    kind = UnreachableError if type(error) in _UNREACHABLE else RequestError
    return kind(
        what,
        error_type=InferenceErrorType.CONNECTION,
        is_retryable=not final,
        is_overload=isinstance(error, OSError) and is_shortage(error, connected_before=False),
        scope=scope,
    )


def _timeout_error(error: TimeoutError, timeout: float) -> RequestError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return not_connected(timeout)
    if not timeout:
        return timed_out(f"the server sent nothing for {timeouts.MAX_SILENCE:g} s")
    return timed_out(f"no answer within {timeout:g} s (remote_params.connection_timeout)")


def timed_out(what: str) -> RequestError:
    """The error for a time limit that was reached."""
    return RequestError(what, error_type=InferenceErrorType.TIMEOUT, is_retryable=True)


def not_connected(timeout: float) -> RequestError:
    """The error for a connection that could not be opened in time. `timeout`: that of the request."""
    return timed_out(f"no connection within {timeouts.connect_seconds(timeout):g} s")


def _text(error: Exception) -> str:
    """The error's own text, without parts that may hold secrets."""
    if isinstance(error, aiohttp.ClientPayloadError) and "Not enough data" in str(error):
        return "the response is shorter than its Content-Length"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{error.status} {error.message}"  # `str` shows the URL of the proxy, with its password.
    if isinstance(error, aiohttp.ClientResponseError):
        return _without_quotes(f"{error.status} {error.message}")  # `str` shows the URL of the request.
    if isinstance(error, HttpProcessingError | aiohttp.ClientPayloadError):
        return _without_quotes(str(error))
    return str(error)


def _without_quotes(text: str) -> str:
    """The text without the bytes of the response that it quotes."""
    return " ".join(_QUOTED.sub("", text).split())
