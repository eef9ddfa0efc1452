"""HTTP requests and responses as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.masking import mask_headers, mask_url


class ResponseLimits(NamedTuple):
    """The limits of one response.

    Args:
        max_bytes: The largest body, after decompression. A stream may have four times as much.
        max_ratio: The largest ratio of decompressed to compressed size. Applies to bodies above 1 MiB.
        stream_idle_timeout: Seconds for which a stream may send no part of the answer; 0 for no limit, None for the
            timeout of the request.
    """

    max_bytes: int = 64 * 2**20
    max_ratio: int = 100
    stream_idle_timeout: float | None = None


class HttpRequest(NamedTuple):
    """A request.

    Args:
        body: JSON text.
        timeout: Seconds for the whole exchange, or until a stream begins; 0 for no limit.
        limits: The limits of the response.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    method: str = "POST"
    timeout: float = 300.0
    limits: ResponseLimits = ResponseLimits()

    def __repr__(self) -> str:
        """Return a text without keys and without the body, because tracebacks contain the repr."""
        shown = self._asdict() | {"url": mask_url(self.url), "headers": mask_headers(self.headers)}
        return _shown(self, shown | {"body": f"<{len(self.body)} bytes>"})


class HttpResponse(NamedTuple):
    """A response.

    Args:
        headers: The names of headers are case-insensitive.
        first_byte: Seconds from the request to the first byte; None if unknown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte: float | None = None

    @property
    def is_success(self) -> bool:
        return is_success(self.status)

    def __repr__(self) -> str:
        """Return a text without the body, which may repeat a key."""
        headers = mask_headers({name: mask_url(value) for name, value in self.headers.items()})
        return _shown(self, self._asdict() | {"headers": headers, "body": f"<{len(self.body)} bytes>"})


def is_success(status: int) -> bool:
    """Whether a response with this status has an answer. Some frameworks answer every POST request with 201."""
    return 200 <= status < 300


def _shown(value: object, fields: Mapping[str, Any]) -> str:
    return f"{type(value).__name__}({', '.join(f'{name}={field!r}' for name, field in fields.items())})"


def malformed_response(what: str) -> RequestError:
    """Return the retryable error for a successful response that cannot be read. A proxy or a crash may have cut it.

    Args:
        what: What is wrong, as the rest of a sentence that begins with "the response".
    """
    return RequestError(f"the response {what}", error_type=InferenceErrorType.PARSE_ERROR, is_retryable=True)
