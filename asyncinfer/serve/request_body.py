"""Reads the body of a request: its size, its type, and how much JSON it has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from pydantic_core import from_json

from asyncinfer.serve.api_errors import ApiError, bad_request
from asyncinfer.serve.asgi import ClientDisconnected, Receive, Scope, header

# Parsing and validating an object takes a few microseconds, and blocks the event loop.
_MAX_CONTAINERS = 20_000
_MAX_VALUES = 100_000
# Each value may have a key, and each string has two quotes.
_MAX_QUOTES = 4 * (_MAX_VALUES + _MAX_CONTAINERS)


async def read_object(scope: Scope, receive: Receive, limit: int) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    Args:
        limit: The maximum size of the body, in bytes.

    Raises:
        ApiError: The body is too large, or it is not a JSON object.
        ClientDisconnected: The client disconnected before it had sent everything.
    """
    media_type = header(scope, b"content-type").partition(b";")[0].strip().lower()
    # A web page can send other types to a local server without asking the browser for permission.
    if media_type != b"application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The header Content-Type should be application/json.")
    return parsed_object(await _read(scope, receive, limit))


def parsed_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ApiError: The text is not a JSON object, is nested too deeply, or has too many values.
    """
    if _is_too_much(body) and _is_too_much(_without_strings(body)):
        raise bad_request(f"The body has more than {_MAX_CONTAINERS} objects and arrays, or {_MAX_VALUES} values.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad_request(f"The body is not JSON that can be read: {error}.") from None
    if not isinstance(value, dict):
        raise bad_request("The body should be a JSON object.")
    return cast(dict[str, Any], value)


def _is_too_much(text: bytes) -> bool:
    return text.count(b"{") + text.count(b"[") > _MAX_CONTAINERS or text.count(b",") > _MAX_VALUES


def _without_strings(body: bytes) -> bytes:
    """Return JSON without the content of its strings; all of it if there are too many strings.

    Only methods of bytes look at the whole body: their time depends only on its size.
    """
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return body if plain.count(b'"') > _MAX_QUOTES else b"".join(plain.split(b'"')[::2])


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size, is_complete = 0, False
    while not is_complete:
        message: Mapping[str, Any] = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        is_complete = not message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limit:,} bytes.")
