"""The proxies that the environment names."""

from __future__ import annotations

import os
import urllib.request
from base64 import b64encode
from functools import lru_cache

from yarl import URL

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.transport.no_proxy import is_bypassed
from asyncinfer.types.masking import MaskedStr

_PORTS = {"http": 80, "https": 443}
_LOWER = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# What the proxy of a host depends on. In a CGI program (with REQUEST_METHOD), Python ignores HTTP_PROXY.
_VARIABLES = (*_LOWER, *(name.upper() for name in _LOWER), "REQUEST_METHOD")
_SOCKS = (
    "For a SOCKS proxy, give the engine a session over it: session=aiohttp.ClientSession(connector="
    "aiohttp_socks.ProxyConnector.from_url(...)), from the package aiohttp-socks"
)


def uses_proxy(scheme: str, host: str, port: int | None = None) -> bool:
    """Whether requests to a host go through a proxy. `port`: by default, that of the scheme.

    Raises:
        RequestError: The environment names a proxy of an unknown kind.
    """
    try:
        return proxy_for(scheme, host, port) is not None
    except ValueError as error:
        raise RequestError(str(error), error_type=InferenceErrorType.CONFIG) from None


class _ProxyFinder:
    """Finds the proxies of hosts, and keeps what it finds until the variables of the environment change.

    `http_proxy` and `https_proxy` apply to URLs of their scheme, and `all_proxy` to those for which there is no other.
    Names in upper case are also read. See `no_proxy` for the exceptions. Without these variables, the settings of macOS
    or Windows apply. aiohttp's own `trust_env` would also read passwords from ~/.netrc, on the event loop.
    """

    def __call__(self, scheme: str, host: str, port: int | None = None) -> URL | None:
        """The proxy that the environment names for a host, credentials included; None to connect directly.

        Raises:
            ValueError: The proxy is of an unknown kind, or its URL is not valid.
        """
        return _find(hash(tuple(map(os.environ.get, _VARIABLES))), scheme, host, port)

    def cache_clear(self) -> None:
        """Forget what was found. Only changed settings of macOS or Windows need that."""
        _find.cache_clear()


proxy_for = _ProxyFinder()


@lru_cache(maxsize=64)
def _find(_environment: int, scheme: str, host: str, port: int | None) -> URL | None:
    """As `_ProxyFinder`. `_environment`: a hash of the variables, which does not show the password of a proxy."""
    found = urllib.request.getproxies()
    variable = next((name for name in (scheme, "all") if found.get(name)), None)
    if variable is None or not host or _is_exception(found.get("no", ""), host, port or _PORTS.get(scheme)):
        return None
    return _proxy_url(f"{variable}_proxy", found[variable].strip())


def _is_exception(no_proxy: str, host: str, port: int | None) -> bool:
    """Whether a host is reached directly, by `no_proxy` or by the settings of macOS or Windows."""
    return is_bypassed(no_proxy, host, port) or bool(urllib.request.proxy_bypass(host))


def _proxy_url(variable: str, text: str) -> URL:
    """The URL of a proxy. Without a scheme, it is an http proxy.

    Raises:
        ValueError: It is not valid, or of an unknown kind. The message does not show it, because of its password.
    """
    try:
        url = URL(text if "://" in text else f"http://{text}")
        valid = bool(url.host) and url.port != 0
    except ValueError:
        raise ValueError(f"{variable} is not the URL of a proxy, such as http://host:port") from None
    if url.scheme not in _PORTS:
        socks = f". {_SOCKS}" if url.scheme.startswith("socks") else ""
        raise ValueError(f"{variable} names a {url.scheme} proxy; only http and https proxies are supported{socks}")
    if not valid:
        raise ValueError(f"{variable} is not the URL of a proxy, such as http://host:port")
    return url


def proxy_headers(proxy: URL | None) -> dict[str, str]:
    """The header for the credentials of a proxy."""
    return credentials_header("Proxy-Authorization", proxy) if proxy is not None else {}


def credentials_header(name: str, url: URL) -> dict[str, str]:
    """The header of this name for the credentials in a URL; empty without credentials."""
    if url.user is None and url.password is None:
        return {}
    return {name: MaskedStr("Basic " + b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode())}
