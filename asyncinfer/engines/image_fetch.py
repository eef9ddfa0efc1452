"""Fetch the images that conversations name by their URL, for models that run in this process.

Whoever writes the conversations chooses the URLs. So they lead to http and https only, and to public addresses only
unless the settings say otherwise; each redirect is checked like the URL itself. Errors quote nothing that was fetched.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

from asyncinfer.dialects.http import HttpRequest, HttpResponse, ResponseLimits
from asyncinfer.errors import RequestError
from asyncinfer.net.addresses import NotPublicError, is_public
from asyncinfer.net.body import ResponseTooLargeError
from asyncinfer.transport import Transport, uses_proxy
from asyncinfer.types.files import MAX_FILE
from asyncinfer.types.results import InferenceErrorType, unanswerable

# For an image with all of its redirects.
SECONDS = 60.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "asyncinfer", "Accept": "image/*"}
_SHOWN = 200


class ImageFetcher:
    """Fetches images over connections of its own, which its end closes.

    Args:
        allow_private: Allow addresses that are not public.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._direct = Transport(public_only=not allow_private)
        self._through_proxy = Transport()

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
            RequestError: The URL may not be fetched, or the server does not give the image.
        """
        begin, target = asyncio.get_running_loop().time(), url
        for _ in range(_MAX_REDIRECTS + 1):
            left = begin + SECONDS - asyncio.get_running_loop().time()
            response = await self._get(target, max(left, 0.001))
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return _body(response, target)
            target = _joined(target, location)
        raise unanswerable(f"the image at {shown(url)} redirects more than {_MAX_REDIRECTS} times")

    async def _get(self, url: str, seconds: float) -> HttpResponse:
        transport = await self._transport_for(url)
        limits = ResponseLimits(max_bytes=MAX_FILE)
        try:
            return await transport.send(HttpRequest(url, _HEADERS, method="GET", timeout=seconds, limits=limits))
        except ResponseTooLargeError:
            what = f"is larger than {MAX_FILE >> 20} MiB, or compressed too strongly"
            raise unanswerable(f"the image at {shown(url)} {what}") from None
        except RequestError as error:
            failure = _failure(url, error)
        raise failure

    async def _transport_for(self, url: str) -> Transport:
        """How to reach a URL. A proxy connects to the target itself, so that the target is checked before."""
        parts = _parts(url)
        if self._allow_private or not uses_proxy(parts.scheme, parts.hostname or ""):
            return self._direct
        await _check_host(url, parts.hostname or "")
        return self._through_proxy


def shown(url: str) -> str:
    """A URL as messages quote it: without credentials and query, which may be secret."""
    head = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    return repr(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"[:_SHOWN])


def _parts(url: str) -> SplitResult:
    """The parts of a URL that may be fetched.

    Raises:
        RequestError: It is not a URL for http or https.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts
    except ValueError:  # an address or a port that is not valid
        pass
    raise unanswerable(f"an image's URL begins with http://, https:// or data:, not {shown(url)[:40]}")


async def _check_host(url: str, host: str) -> None:
    """Raise a RequestError unless a host has only public addresses."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, UnicodeError):
        why = "the host cannot be resolved here, so that its address cannot be checked before the proxy is used"
        raise unanswerable(_refused(url, why)) from None
    if not all(is_public(str(address[0])) for *_, address in found):
        raise unanswerable(_refused(url, "its address is not public"))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise unanswerable(f"the image at {shown(url)} redirects to a URL that is not valid") from None


def _body(response: HttpResponse, url: str) -> bytes:
    status = response.status
    if 200 <= status < 300:
        return response.body
    raise RequestError(
        f"the image at {shown(url)} cannot be had: HTTP {status}",
        error_type=InferenceErrorType.CONNECTION,
        status_code=status,
        is_retryable=status == 429 or status >= 500,
    )


def _failure(url: str, error: RequestError) -> RequestError:
    """An error of the transport, in words about an image."""
    if isinstance(error, NotPublicError):
        return unanswerable(_refused(url, str(error)))
    if error.error_type == InferenceErrorType.CONFIG:
        return unanswerable(f"the image's URL {shown(url)} cannot be used: it, or the proxy for it, is not valid")
    timed_out = error.error_type == InferenceErrorType.TIMEOUT
    why = f"no whole answer within {SECONDS:g} s" if timed_out else str(error)
    return RequestError(
        f"the image at {shown(url)} cannot be had: {why}",
        error_type=error.error_type,
        is_retryable=error.is_retryable,
        is_overload=error.is_overload,
    )


def _refused(url: str, why: str) -> str:
    return f"the image at {shown(url)} is not fetched: {why}; see model.allow_private_urls"
