"""Writes the head of a request: its first line and its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from asyncinfer.transport.routes import Route
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.masking import MaskedBytes, mask_headers

# Characters that would end a header, so that a value could inject another one.
_ILLEGAL = re.compile(r"[\x00\r\n]")


class HeadWriter:
    """Writes the heads of requests. Most requests differ from the previous one only in their length."""

    def __init__(self) -> None:
        self._last: tuple[HttpRequest | None, bytes] = (None, b"")

    def write(self, request: HttpRequest, route: Route) -> bytes:
        """The head of a request, with the empty line at its end.

        Raises:
            ValueError: A header cannot be sent.
        """
        before, start = self._last
        if before is None or not _has_same_start(before, request):
            start = write_start(request, route)
            self._last = request._replace(body=b""), start
        if request.body or request.method != "GET":
            return MaskedBytes(b"%bContent-Length: %d\r\n\r\n" % (start, len(request.body)))
        return MaskedBytes(start + b"\r\n")


def _has_same_start(one: HttpRequest, other: HttpRequest) -> bool:
    return one.headers is other.headers and one.url == other.url and one.method == other.method


def write_start(request: HttpRequest, route: Route) -> bytes:
    """The head of a request without its length.

    Raises:
        ValueError: A header cannot be sent.
    """
    headers = mask_headers({**route.headers, **request.headers})
    check_headers(headers)
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return MaskedBytes(f"{request.method} {route.target} HTTP/1.1\r\n{''.join(lines)}".encode())


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise a ValueError if a header cannot be sent."""
    for name, value in headers.items():
        if _ILLEGAL.search(value):
            raise ValueError(f"the header {name} holds a line break, or a zero byte")
