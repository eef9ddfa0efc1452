"""Fetches the images that conversations name by URL, for models in this process.

The URLs come from untrusted conversations. So only http and https are allowed, and only public addresses, unless the
settings allow others. Each redirect is checked like the URL itself. Errors quote no data that was fetched.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

from asyncinfer.errors import InferenceErrorType, RequestError, invalid_request
from asyncinfer.transport.addresses import NotPublicError, has_only_public_addresses
from asyncinfer.transport.base import Transport
from asyncinfer.transport.body import ResponseTooLargeError
from asyncinfer.transport.default import default_transport
from asyncinfer.transport.plain_urls import AmbiguousUrlError, plain_host
from asyncinfer.transport.proxies import uses_proxy
from asyncinfer.types.files import MAX_FILE
from asyncinfer.types.http import HttpRequest, HttpResponse, ResponseLimits

# The time for one image, redirects included.
SECONDS = 60.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "asyncinfer", "Accept": "image/*"}
_SHOWN = 200


class ImageFetcher:
    """Fetches images. Leaving its context closes its transports.

    Args:
        allow_private: Allow addresses that are not public.
        direct: Sends requests that need no proxy. It must refuse addresses that are not public, unless `allow_private`.
        through_proxy: Sends requests through the proxy that the environment names, if `direct` must not.
    """

    def __init__(
        self, *, allow_private: bool = False, direct: Transport | None = None, through_proxy: Transport | None = None
    ) -> None:
        self._allow_private = allow_private
        self._direct = direct or default_transport(public_only=not allow_private)
        self._through_proxy = through_proxy or default_transport()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._direct.aclose()
        await self._through_proxy.aclose()

    async def fetch(self, url: str) -> bytes:
        """The bytes at a URL.

        Raises:
            RequestError: The URL may not be fetched, or the server did not return the image.
        """
        begin, target = asyncio.get_running_loop().time(), url
        for _ in range(_MAX_REDIRECTS + 1):
            left = begin + SECONDS - asyncio.get_running_loop().time()
            response = await self._get(target, max(left, 0.001))
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return _body(response, target)
            target = _joined(target, location)
        raise invalid_request(f"the image at {shown(url)} redirects more than {_MAX_REDIRECTS} times")

    async def _get(self, url: str, seconds: float) -> HttpResponse:
        transport = await self._transport_for(url)
        limits = ResponseLimits(max_bytes=MAX_FILE)
        try:
            return await transport.send(HttpRequest(url, _HEADERS, method="GET", timeout=seconds, limits=limits))
        except ResponseTooLargeError:
            what = f"is larger than {MAX_FILE >> 20} MiB, or its compression ratio is too high"
            raise invalid_request(f"the image at {shown(url)} {what}") from None
        except RequestError as error:
            failure = _failure(url, error)
        raise failure

    async def _transport_for(self, url: str) -> Transport:
        """The transport for a URL. A proxy resolves the host itself, so the host is checked here before it is used."""
        parts = _parts(url)
        if self._allow_private or not uses_proxy(parts.scheme, parts.hostname or "", parts.port):
            return self._direct
        await _check_host(url)
        return self._through_proxy


def shown(url: str) -> str:
    """A URL for messages: without credentials and query, which may be secret."""
    head = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    return repr(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"[:_SHOWN])


def _parts(url: str) -> SplitResult:
    """Split a URL.

    Raises:
        RequestError: It is not an http or https URL.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # an address or a port that is not valid
        pass
    raise invalid_request(f"the URL of an image must begin with http://, https:// or data:, not {shown(url)[:40]}")


async def _check_host(url: str) -> None:
    """Raise a RequestError unless the host of a URL has only public addresses."""
    try:
        host = plain_host(url, allow_user=True)
    except AmbiguousUrlError as problem:
        raise invalid_request(_refused(url, f"a proxy may read it in another way: {problem}")) from None
    try:
        is_public = await has_only_public_addresses(host)
    except (OSError, UnicodeError):
        why = "its host cannot be resolved here, so its address cannot be checked before the proxy is used"
        raise invalid_request(_refused(url, why)) from None
    if not is_public:
        raise invalid_request(_refused(url, "its address is not public"))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise invalid_request(f"the image at {shown(url)} redirects to a URL that is not valid") from None


def _body(response: HttpResponse, url: str) -> bytes:
    status = response.status
    if 200 <= status < 300:
        return response.body
    raise RequestError(
        f"the image at {shown(url)} cannot be fetched: HTTP {status}",
        error_type=InferenceErrorType.CONNECTION,
        status_code=status,
        is_retryable=status == 429 or status >= 500,
    )


def _failure(url: str, error: RequestError) -> RequestError:
    """The error of a row for an error of the transport."""
    if isinstance(error, NotPublicError):
        return invalid_request(_refused(url, str(error)))
    if error.error_type == InferenceErrorType.CONFIG:
        return invalid_request(f"the image's URL {shown(url)} cannot be used: it, or the proxy for it, is not valid")
    timed_out = error.error_type == InferenceErrorType.TIMEOUT
    why = f"no complete response within {SECONDS:g} s" if timed_out else str(error)
    return RequestError(
        f"the image at {shown(url)} cannot be fetched: {why}",
        error_type=error.error_type,
        is_retryable=error.is_retryable,
        is_overload=error.is_overload,
    )


def _refused(url: str, why: str) -> str:
    return f"the image at {shown(url)} is not fetched: {why}; see model.allow_private_urls"
