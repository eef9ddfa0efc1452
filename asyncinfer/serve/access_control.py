"""Decides whether a request may use the server: its key, and the host that it was sent to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address

from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.asgi import Scope, header
from asyncinfer.serve.settings import ServerSettings

_BEARER = b"bearer "


class AccessControl:
    """Checks the headers of requests.

    Each key is compared by its digest with all keys of the server, so that the response time reveals nothing about a
    key.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._digests = [_digest(key.get_secret_value().encode()) for key in settings.api_keys]
        hosts = settings.allowed_hosts
        self._hosts = frozenset(host.lower() for host in hosts) if hosts is not None else None

    def check_host(self, scope: Scope) -> None:
        """Raise an ApiError if the request was sent to a host name that is not allowed."""
        if self._hosts is None:
            return
        host = host_of(header(scope, b"host").decode("latin-1"))
        if host not in self._hosts and not _is_address(host):
            message = "This host name is not allowed. Use localhost or an IP address."
            raise ApiError(HTTPStatus.FORBIDDEN, message, code="invalid_host")

    def check_key(self, scope: Scope) -> None:
        """Raise an ApiError if the request has no valid key, and the server has keys."""
        if not self._digests:
            return
        given = header(scope, b"authorization")
        if given[: len(_BEARER)].lower() != _BEARER:
            message = "This server needs an API key, in the header: Authorization: Bearer KEY."
            raise ApiError(HTTPStatus.UNAUTHORIZED, message, code="invalid_api_key")
        if not _is_one_of(_digest(given[len(_BEARER) :].strip()), self._digests):
            raise ApiError(HTTPStatus.UNAUTHORIZED, "The API key is not valid.", code="invalid_api_key")


def host_of(value: str) -> str:
    """Return the host in a `Host` header, without the port."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.rpartition(":")[0].lower() if ":" in value else value.lower()


def is_loopback(host: str) -> bool:
    """Whether only programs on the same machine can reach a server that listens on this host."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


@lru_cache(maxsize=64)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _is_one_of(digest: bytes, allowed: Sequence[bytes]) -> bool:
    found = False
    for candidate in allowed:
        found |= hmac.compare_digest(digest, candidate)
    return found
