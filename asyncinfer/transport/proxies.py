"""The proxies that the environment names."""

from __future__ import annotations

import urllib.request
from base64 import b64encode
from functools import lru_cache

from yarl import URL

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.masking import MaskedStr


def uses_proxy(scheme: str, host: str) -> bool:
    """Whether requests to a host go through a proxy.

    Raises:
        RequestError: The environment names a proxy of an unknown kind.
    """
    try:
        return proxy_for(scheme, host) is not None
    except ValueError as error:
        raise RequestError(str(error), error_type=InferenceErrorType.CONFIG) from None


@lru_cache(maxsize=64)
def proxy_for(scheme: str, host: str) -> URL | None:
    """The proxy that the environment names for a host (`https_proxy`, `no_proxy`, ...), credentials included.

    aiohttp's own `trust_env` would also read passwords from ~/.netrc, on the event loop.

    Raises:
        ValueError: The proxy is of an unknown kind.
    """
    named = urllib.request.getproxies().get(scheme)
    if named is None or urllib.request.proxy_bypass(host):
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https"):
        raise ValueError(f"{scheme}_proxy names a {proxy.scheme} proxy; only http and https proxies are supported")
    return proxy


def proxy_headers(proxy: URL | None) -> dict[str, str]:
    """The header for the credentials of a proxy."""
    return credentials_header("Proxy-Authorization", proxy) if proxy is not None else {}


def credentials_header(name: str, url: URL) -> dict[str, str]:
    """The header of this name for the credentials in a URL; empty without credentials."""
    if url.user is None and url.password is None:
        return {}
    return {name: MaskedStr("Basic " + b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode())}
