"""Writes the bodies of requests, reads those of responses, and classifies the errors of APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import from_json, to_json

from asyncinfer.dialects.error_body import NO_BODY, ErrorBody, excerpt, message_in, read_error
from asyncinfer.dialects.error_scope import is_billing_error, scope_of
from asyncinfer.dialects.json_size import has_too_many_values
from asyncinfer.dialects.json_text import read_json
from asyncinfer.dialects.quotas import quota_in
from asyncinfer.dialects.waits import wait_in_fields, wait_in_headers, wait_in_words
from asyncinfer.errors import ErrorScope, InferenceErrorType, RequestError, invalid_request
from asyncinfer.types.http import HttpResponse, malformed_response
from asyncinfer.types.masking import mask_url

_TRANSIENT = frozenset({408, 409, 425, 429, 498})  # 498: Groq has no capacity left.
_OVERLOAD = frozenset({429, 498, 503, 529})
# Errors whose message takes precedence over the status: (status, text in the message, whether the error is transient).
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


def as_response_json(value: Any) -> bytes:
    """Return `value` as the JSON of a response. Numbers that JSON has no form for, such as infinity, become null."""
    return to_json(value, inf_nan_mode="null")


def merged_under(name: str, body: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return `extra`, with the fields of `body[name]` added to the object `extra[name]`, unless the user set them."""
    theirs = extra.get(name)
    return {**extra, name: {**body.get(name, {}), **theirs}} if isinstance(theirs, dict) and theirs else extra


def json_value(response: HttpResponse) -> Any:
    """Return the JSON value of a successful response.

    Raises:
        RequestError: The response is not a success (see `status_error`), or its body is not JSON (retryable).
    """
    if not response.is_success:
        raise status_error(response)
    if has_too_many_values(response.body):
        raise malformed_response("has more values than any answer has")
    try:
        return read_json(response.body)
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
