"""HTTP requests and responses as values, and the errors that responses stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_json

from asyncinfer.dialects.error_body import NO_BODY, ErrorBody, excerpt, message_in, read_error
from asyncinfer.dialects.error_scope import is_billing_error, scope_of
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.quotas import quota_in
from asyncinfer.dialects.waits import wait_in_fields, wait_in_headers, wait_in_words
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.masking import mask_headers, mask_url

_TRANSIENT = frozenset({408, 409, 425, 429, 498})  # 498: Groq has no capacity left.
_OVERLOAD = frozenset({429, 498, 503, 529})
# Errors whose message outweighs their status: (status, text in the message, whether the error is transient).
EXCEPTIONS: tuple[tuple[int, str, bool], ...] = (
    (400, "could not parse the json body", True),  # OpenAI sometimes says this about valid JSON, under load.
    (424, "", True),  # Bedrock: the model or its stream failed.
    (429, "insufficient_quota", False),  # OpenAI: the account has no credit. Waiting does not help.
    (429, "spend_limit_reached", False),  # Anthropic: the limit of the month or of the contract is reached.
    (429, "request too large", False),  # OpenAI: the request has more tokens than the limit per minute.
)
# The statuses of error codes, for errors without a status in a successful response: google.rpc.Code, OpenAI,
# Anthropic and Mistral (November 2026).
_STATUS_OF_CODE = {
    "resource_exhausted": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limited": 429,
    "too_many_requests": 429,
    "unavailable": 503,
    "service_unavailable": 503,
    "overloaded_error": 529,
}
_NO_HEADERS: Mapping[str, str] = {}


class ResponseLimits(NamedTuple):
    """The limits of one response.

    Args:
        max_bytes: The largest body, after decompression. A stream may have four times as much.
        max_ratio: The largest ratio of decompressed to compressed size. Applies to bodies above 1 MiB.
        stream_idle_timeout: Seconds for which a stream may bring no part of the answer; 0 for no limit, None for the
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

    def __repr__(self) -> str:
        """Return a text without the body, which may repeat a key."""
        headers = mask_headers({name: mask_url(value) for name, value in self.headers.items()})
        return _shown(self, self._asdict() | {"headers": headers, "body": f"<{len(self.body)} bytes>"})


def _shown(value: object, fields: Mapping[str, Any]) -> str:
    return f"{type(value).__name__}({', '.join(f'{name}={field!r}' for name, field in fields.items())})"


# The headers of every request.
HEADERS = {"Content-Type": "application/json", "User-Agent": "asyncinfer"}


def json_body(body: dict[str, Any], extra: Mapping[str, Any]) -> bytes:
    """Return the body of a request, as JSON.

    Args:
        extra: Fields from the user. They replace fields of `body`. A null removes the field.

    Raises:
        RequestError: The body cannot be written as JSON.
    """
    if extra:
        body = {name: value for name, value in {**body, **extra}.items() if name not in extra or value is not None}
    try:
        return as_json(body)
    except ValueError as error:
        raise unencodable_request(error) from None


def unencodable_request(error: Exception) -> RequestError:
    """Return the error for a request that cannot be written as JSON."""
    return invalid_request(f"the request cannot be written as JSON: {error}")


def as_json(value: Any) -> bytes:
    """Return `value` as JSON.

    Raises:
        ValueError: JSON cannot represent `value`: an unknown type, half a surrogate pair, NaN or infinity, or too many
            levels.
    """
    text = to_json(value)
    if b"NaN" in text or b"Infinity" in text:
        from_json(text, allow_inf_nan=False)
    return text


def merged_under(name: str, ours: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return `extra` with the object under `name` merged into ours. The user's fields replace ours, field by field."""
    theirs = extra.get(name)
    return {**extra, name: {**ours.get(name, {}), **theirs}} if isinstance(theirs, dict) and theirs else extra


def json_value(response: HttpResponse) -> Any:
    """Return the JSON value of a successful response.

    Raises:
        RequestError: The response is not a success (see `status_error`), or its body is not JSON (retryable).
    """
    if response.status != 200:
        raise status_error(response)
    if has_too_many_values(response.body):
        raise malformed_response("has more values than any answer has")
    try:
        return from_json(response.body)
    except ValueError as error:
        raise malformed_response(f"is not JSON ({error}): {excerpt(response.body)}") from None


def json_object(response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a successful response.

    Raises:
        RequestError: As in `json_value`, and if the JSON is not an object.
    """
    data = json_value(response)
    if not isinstance(data, dict):
        raise malformed_response(f"is not a JSON object: {excerpt(response.body)}")
    return cast(dict[str, Any], data)


def malformed_response(what: str) -> RequestError:
    """Return the retryable error for a successful response that cannot be read. A proxy or a crash may have cut it.

    Args:
        what: What is wrong, as the rest of a sentence that begins with "the response".
    """
    return RequestError(f"the response {what}", error_type=InferenceErrorType.PARSE_ERROR, is_retryable=True)


def missing_answer(response: HttpResponse) -> RequestError:
    """Return the error for a successful response without an answer that can be read."""
    return malformed_response(f"has no answer: {message_in(response.body)}")


def truncated_stream(why: str = "") -> RequestError:
    """Return the retryable error for a stream that ended before the answer was complete."""
    what = f"the stream broke off{f': {why}' if why else ''}"
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=True)


def status_error(response: HttpResponse, now: float | None = None) -> RequestError:
    """Return the error for a response that is not a success.

    Args:
        now: The current time in seconds since the epoch, for dates in the headers of a response without a `Date`.
    """
    status, error = response.status, read_error(response.body)
    if 300 <= status < 400:
        where = mask_url(response.headers.get("location", "another URL"))
        return api_error(
            status, f"HTTP {status}: redirects to {where}; set remote_params.api_url to the URL of the API"
        )
    kind = response.headers.get("x-amzn-errortype", "").partition(":")[0]  # AWS sends the code in a header.
    error = error._replace(codes=error.codes | {kind.lower()}) if kind else error
    message = f"HTTP {status}: {error.message}{f' ({kind})' if kind else ''}"
    return api_error(status, message, error, response.headers, now)


def error_within(
    body: bytes | str, intro: str = "the API answered with an error", status: int | None = None
) -> RequestError:
    """Return the error for an error body within a successful response or within a stream.

    Args:
        status: The HTTP status of such an error, if the dialect knows it.
    """
    error = read_error(body)
    if status is None:
        named = (_STATUS_OF_CODE[code] for code in sorted(error.codes & _STATUS_OF_CODE.keys()))
        status = error.status or next(named, None)
    return api_error(status, f"{intro}: {error.message}", error)


def api_error(
    status: int | None,
    message: str,
    error: ErrorBody = NO_BODY,
    headers: Mapping[str, str] = _NO_HEADERS,
    now: float | None = None,
) -> RequestError:
    """Classify an error of an API. An error without a status is retryable unless its body says otherwise.

    Args:
        message: The message for the user.
        now: As in `status_error`.
    """
    wait = wait_in_headers(headers, now)
    wait = wait if wait is not None else wait_in_fields(error)
    transient = _is_transient(status, message, error, wait)
    if transient and wait is None:
        wait = wait_in_words(error.text)
    may_be_quota = transient and (status is None or status in _OVERLOAD)
    quota = quota_in(error, headers, wait, now) if may_be_quota else None
    return RequestError(
        message,
        error_type=InferenceErrorType.API_STATUS,
        status_code=status,
        is_retryable=transient,
        is_overload=transient and (status in _OVERLOAD or quota is not None),
        retry_after=wait if quota is None else quota.reset,
        scope=ErrorScope.UNKNOWN if transient else scope_of(status, error),
        is_quota=quota is not None,
    )


def _is_transient(status: int | None, message: str, error: ErrorBody, wait: float | None) -> bool:
    """Whether the same request may succeed later."""
    for known, text, transient in EXCEPTIONS:
        if status == known and text in message.lower():
            return transient
    if status is None:
        return scope_of(None, error) is ErrorScope.UNKNOWN
    if status == 402:
        # With a wait, OpenRouter means that the credits are only reserved for requests in flight.
        return wait is not None
    return (status in _TRANSIENT and not (status == 429 and is_billing_error(error))) or status >= 500
