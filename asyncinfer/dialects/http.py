"""HTTP as a value: a request to send, the response to it, and what a refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_json

from asyncinfer.dialects.error_body import NO_BODY, ErrorBody, excerpt, message_in, read_error
from asyncinfer.dialects.error_scope import is_about_money, scope_of
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.quotas import quota_in
from asyncinfer.dialects.waits import wait_in_fields, wait_in_headers, wait_in_words
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.masking import mask_headers, mask_url

_TRANSIENT = frozenset({408, 409, 425, 429, 498})  # 498: Groq has no capacity left.
_OVERLOAD = frozenset({429, 498, 503, 529})
# Answers that say one thing by their status and mean another: (status, text in the message, is it transient).
EXCEPTIONS: tuple[tuple[int, str, bool], ...] = (
    (400, "could not parse the json body", True),  # OpenAI, now and then, of valid JSON under load
    (424, "", True),  # Bedrock: the model failed, or its stream did
    (429, "insufficient_quota", False),  # OpenAI: the account is empty, which no wait changes
    (429, "spend_limit_reached", False),  # Anthropic: nothing more this month, or by this contract
    (429, "request too large", False),  # OpenAI: larger than a minute's tokens, and so for ever
)
# The statuses of named refusals, for errors within a success that have no status: google.rpc.Code, OpenAI, Anthropic
# and Mistral (November 2026).
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
    """What to send. `body` is JSON. `timeout`: seconds for the whole exchange, or until a stream begins; 0 for no
    limit. `limits`: the limits of the response.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    method: str = "POST"
    timeout: float = 300.0
    limits: ResponseLimits = ResponseLimits()

    def __repr__(self) -> str:
        """Shows neither keys nor the body, since tracebacks contain the repr."""
        shown = self._asdict() | {"url": mask_url(self.url), "headers": mask_headers(self.headers)}
        return _shown(self, shown | {"body": f"<{len(self.body)} bytes>"})


class HttpResponse(NamedTuple):
    """A response. `headers` ignore case. `first_byte`: seconds from the request to the first byte; None if unknown."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte: float | None = None

    def __repr__(self) -> str:
        """Does not show the body, which may repeat a key."""
        headers = mask_headers({name: mask_url(value) for name, value in self.headers.items()})
        return _shown(self, self._asdict() | {"headers": headers, "body": f"<{len(self.body)} bytes>"})


def _shown(value: object, fields: Mapping[str, Any]) -> str:
    return f"{type(value).__name__}({', '.join(f'{name}={field!r}' for name, field in fields.items())})"


# The headers of every request.
HEADERS = {"Content-Type": "application/json", "User-Agent": "asyncinfer"}


def json_body(body: dict[str, Any], extra: Mapping[str, Any]) -> bytes:
    """The body of a request, with the user's fields before ours; a null takes a field out.

    Raises:
        RequestError: JSON cannot hold it.
    """
    if extra:
        body = {name: value for name, value in {**body, **extra}.items() if name not in extra or value is not None}
    try:
        return as_json(body)
    except ValueError as error:
        raise no_json(error) from None


def no_json(error: Exception) -> RequestError:
    """A request that JSON cannot hold."""
    return invalid_request(f"the request cannot be written as JSON: {error}")


def as_json(value: Any) -> bytes:
    """`value` as JSON.

    Raises:
        ValueError: JSON cannot hold it: another type, half a character, a number that is none, too many levels.
    """
    text = to_json(value)
    if b"NaN" in text or b"Infinity" in text:
        from_json(text, allow_inf_nan=False)
    return text


def merged_under(name: str, ours: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The user's fields; an object among them under `name` is merged with ours, and goes before it field by field."""
    theirs = extra.get(name)
    return {**extra, name: {**ours.get(name, {}), **theirs}} if isinstance(theirs, dict) and theirs else extra


def json_value(response: HttpResponse) -> Any:
    """What a successful response holds, as JSON.

    Raises:
        RequestError: the response is not a success (see `status_error`), or its body is not JSON; it may be retried.
    """
    if response.status != 200:
        raise status_error(response)
    if has_too_many_values(response.body):
        raise malformed_response("holds more values than any answer does")
    try:
        return from_json(response.body)
    except ValueError as error:
        raise malformed_response(f"is not JSON ({error}): {excerpt(response.body)}") from None


def json_object(response: HttpResponse) -> dict[str, Any]:
    """The JSON object of a successful response. Raises as `json_value` does, and if the JSON is not an object."""
    data = json_value(response)
    if not isinstance(data, dict):
        raise malformed_response(f"is not a JSON object: {excerpt(response.body)}")
    return cast(dict[str, Any], data)


def malformed_response(what: str) -> RequestError:
    """A success whose body cannot be read: a proxy or a crash may have cut it."""
    return RequestError(f"the response {what}", error_type=InferenceErrorType.PARSE_ERROR, is_retryable=True)


def no_answer(response: HttpResponse) -> RequestError:
    """A success that holds no answer, or one that cannot be read."""
    return malformed_response(f"holds no answer: {message_in(response.body)}")


def truncated_stream(why: str = "") -> RequestError:
    """The error for a stream that ended before the answer was complete."""
    what = f"the stream broke off{f': {why}' if why else ''}"
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=True)


def status_error(response: HttpResponse, now: float | None = None) -> RequestError:
    """The error for a response that is not a success.

    Args:
        now: The current time in seconds since the epoch, for dates in the headers of a response without a `Date`.
    """
    status, error = response.status, read_error(response.body)
    if 300 <= status < 400:
        where = mask_url(response.headers.get("location", "elsewhere"))
        return refusal(status, f"HTTP {status}: redirects to {where}; set remote_params.api_url to where the API is")
    kind = response.headers.get("x-amzn-errortype", "").partition(":")[0]  # AWS sends the code in a header.
    error = error._replace(codes=error.codes | {kind.lower()}) if kind else error
    said = f"HTTP {status}: {error.message}{f' ({kind})' if kind else ''}"
    return refusal(status, said, error, response.headers, now)


def error_within(
    body: bytes | str, intro: str = "the API answered with an error", status: int | None = None
) -> RequestError:
    """The error for an error body that came within a success, or within a stream.

    Args:
        status: The HTTP status of such an error, if the dialect knows it.
    """
    error = read_error(body)
    if status is None:
        named = (_STATUS_OF_CODE[code] for code in sorted(error.codes & _STATUS_OF_CODE.keys()))
        status = error.status or next(named, None)
    return refusal(status, f"{intro}: {error.message}", error)


def refusal(
    status: int | None,
    said: str,
    error: ErrorBody = NO_BODY,
    headers: Mapping[str, str] = _NO_HEADERS,
    now: float | None = None,
) -> RequestError:
    """Classify an error of an API. An error without a status is retryable unless its body says otherwise.

    Args:
        said: The message for the user.
        now: As in `status_error`.
    """
    wait = wait_in_headers(headers, now)
    wait = wait if wait is not None else wait_in_fields(error)
    transient = _is_transient(status, said, error, wait)
    if transient and wait is None:
        wait = wait_in_words(error.text)
    may_be_quota = transient and (status is None or status in _OVERLOAD)
    quota = quota_in(error, headers, wait, now) if may_be_quota else None
    return RequestError(
        said,
        error_type=InferenceErrorType.API_STATUS,
        status_code=status,
        is_retryable=transient,
        is_overload=transient and (status in _OVERLOAD or quota is not None),
        retry_after=wait if quota is None else quota.reset,
        scope=ErrorScope.UNKNOWN if transient else scope_of(status, error),
        is_quota=quota is not None,
    )


def _is_transient(status: int | None, said: str, error: ErrorBody, wait: float | None) -> bool:
    """Whether the request may succeed when it is sent again."""
    for known, text, transient in EXCEPTIONS:
        if status == known and text in said.lower():
            return transient
    if status is None:
        return scope_of(None, error) is ErrorScope.UNKNOWN
    if status == 402:
        # With a wait, OpenRouter means that the credits are only reserved for requests in flight.
        return wait is not None
    return (status in _TRANSIENT and not (status == 429 and is_about_money(error))) or status >= 500
