"""How a URL is reached: the address, the proxy, and the headers that follow from the URL."""

from __future__ import annotations

import re
from typing import NamedTuple

import aiohttp
from yarl import URL

from asyncinfer.transport import compat
from asyncinfer.transport.content_encoding import ACCEPTED
from asyncinfer.transport.proxies import credentials_header, proxy_for, proxy_headers
from asyncinfer.types.masking import MaskedStr, mask_url

# A URL that is encoded already. It may have been signed in this form, so it is sent unchanged: yarl would decode the
# characters that need no encoding.
_ENCODED = re.compile(r"[!-~]*%[!-~]*")


class Route(NamedTuple):
    """How to reach a URL.

    Args:
        to: What aiohttp connects to.
        target: The target in the first line of a request.
        headers: The headers that follow from the URL.
    """

    to: aiohttp.ClientRequest
    target: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Route({mask_url(self.target)!r})"


def parse_url(text: str) -> URL:
    """The URL, encoded as it is to be sent.

    Raises:
        ValueError: It is not a URL with a host.
    """
    url = URL(text, encoded=_ENCODED.fullmatch(text) is not None)
    if not url.raw_host:
        raise ValueError(f"no host in {mask_url(text)!r}")
    return url


def route_to(text: str) -> Route:
    """The route to a URL.

    Raises:
        ValueError: The URL, or the URL of the proxy, is not valid.
    """
    url = parse_url(text)
    proxy = proxy_for(url.scheme, url.host or "", url.port)
    # aiohttp's frames and connection keys show the URL of the proxy, so the credentials are passed separately.
    to_proxy = proxy_headers(proxy)
    to = compat.connect_request(
        url.with_user(None), proxy.with_user(None) if proxy is not None else None, to_proxy or None
    )
    headers = dict(to.headers) | {"Accept-Encoding": ACCEPTED} | credentials_header("Authorization", url)
    if proxy is None or url.scheme == "https":
        return Route(to, MaskedStr(url.raw_path_qs), headers)
    return Route(to, MaskedStr(to.url), headers | to_proxy)
