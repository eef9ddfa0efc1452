"""HTTP as a value: a request to send, the response to it, and what a refusal means.

`Retry-After`: RFC 9110 section 10.2.3 (June 2022). `retry-after-ms`: as OpenAI's SDK reads it (openai-python
2.54, November 2026); `x-ms-retry-after-ms`: Azure. `retryDelay`: Google's google/rpc/error_details.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from html import unescape
from math import isfinite
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_json

from asyncinfer.errors import RequestError
from asyncinfer.types.results import InferenceErrorType, unanswerable

_TRANSIENT = frozenset({408, 409, 425, 429})
_OVERLOAD = frozenset({429, 503, 529})
# Answers that say one thing by their status and mean another: (status, text in the message, is it transient).
EXCEPTIONS: tuple[tuple[int, str, bool], ...] = (
    (400, "could not parse the json body", True),  # OpenAI, now and then, of valid JSON under load
    (424, "", True),  # Bedrock: the model failed, or its stream did
    (429, "insufficient_quota", False),  # OpenAI: the account is empty, which no wait changes
    (429, "spend_limit_reached", False),  # Anthropic: nothing more this month, or by this contract
    (429, "request too large", False),  # OpenAI: larger than a minute's tokens, and so for ever
)
_SHOWN = 300
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')


class HttpRequest(NamedTuple):
    """What to send. `body` is JSON. `timeout`: seconds for the whole exchange, or for a stream between two parts
    of it; 0 for none.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    method: str = "POST"
    timeout: float = 300.0


class HttpResponse(NamedTuple):
    """What came back. `headers` are looked up in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# What every request says of itself.
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
    return unanswerable(f"the request cannot be told as JSON: {error}")


def as_json(value: Any) -> bytes:
    """`value` as JSON.

    Raises:
        ValueError: JSON cannot hold it: another type, half a character, a number that is none, too many levels.
    """
    told = to_json(value)
    if b"NaN" in told or b"Infinity" in told:
        from_json(told, allow_inf_nan=False)
    return told


def merged_under(name: str, ours: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The user's fields; an object among them under `name` is merged with ours, and goes before it field by field."""
    theirs = extra.get(name)
    return {**extra, name: {**ours.get(name, {}), **theirs}} if isinstance(theirs, dict) and theirs else extra


def json_value(response: HttpResponse) -> Any:
    """What a successful response holds, as JSON.

    Raises:
        RequestError: it is no success (see `status_error`), or its body is no JSON; trying again may help.
    """
    if response.status != 200:
        raise status_error(response)
    try:
        return from_json(response.body)
    except ValueError as error:
        raise garbled(f"is not JSON ({error}): {_excerpt(response.body)}") from None


def json_object(response: HttpResponse) -> dict[str, Any]:
    """The JSON object that a successful response holds. Raises as `json_value` does, and where it is no object."""
    data = json_value(response)
    if not isinstance(data, dict):
        raise garbled(f"is no JSON object: {_excerpt(response.body)}")
    return cast(dict[str, Any], data)


def garbled(what: str) -> RequestError:
    """A success whose body cannot be read: a proxy or a crash may have cut it."""
    return RequestError(f"the response {what}", error_type=InferenceErrorType.PARSE_ERROR, is_retryable=True)


def no_answer(response: HttpResponse) -> RequestError:
    """A success that holds no answer, or one that cannot be read."""
    return garbled(f"holds no answer: {message_in(response.body)}")


def broken_off(why: str = "") -> RequestError:
    """A stream that ended before its end."""
    what = f"the stream broke off{f': {why}' if why else ''}"
    return RequestError(what, error_type=InferenceErrorType.CONNECTION, is_retryable=True)


def status_error(response: HttpResponse, now: float | None = None) -> RequestError:
    """What a response that is no success means. `now`: the time of day in seconds since the epoch, for dates in
    `Retry-After` where the response has no `Date` of its own.
    """
    status = response.status
    if 300 <= status < 400:
        where = response.headers.get("location", "elsewhere")
        return refusal(status, f"HTTP {status}: redirects to {where}; set remote_params.api_url to where the API is")
    after = retry_after(response.headers, now)
    after = after if after is not None else _retry_info(response.body)
    kind = response.headers.get("x-amzn-errortype", "").partition(":")[0]  # AWS's code, beside the message
    return refusal(status, f"HTTP {status}: {message_in(response.body)}{f' ({kind})' if kind else ''}", after)


def refusal(status: int | None, said: str, after: float | None = None) -> RequestError:
    """What the API means by a status and a message; without a status, that trying again may help."""
    transient = status is None or status in _TRANSIENT or status >= 500
    # OpenRouter says by a time to wait that the credits are only reserved for what is under way.
    transient |= status == 402 and after is not None
    for known, text, transient_all_the_same in EXCEPTIONS:
        if status == known and text in said.lower():
            transient = transient_all_the_same
    return RequestError(
        said,
        error_type=InferenceErrorType.API_STATUS,
        status_code=status,
        is_retryable=transient,
        is_overload=transient and status in _OVERLOAD,
        retry_after=after,
    )


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The wait that the endpoint asks for, in seconds."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := _number(headers.get(name))) is not None:
            return milliseconds / 1000
    given = headers.get("retry-after")
    if given is None:
        return None
    seconds = _number(given)
    return seconds if seconds is not None else _until(given, headers.get("date"), now)


def _retry_info(body: bytes) -> float | None:
    """The wait that Google's APIs ask for in an error's details, as `google.rpc.RetryInfo`."""
    found = _RETRY_DELAY.search(body)
    return float(found[1]) if found is not None else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if isfinite(number) else None


def _until(date: str, today: str | None, now: float | None) -> float | None:
    """The seconds to `date` from `today`, or from `now` where there is none."""
    try:
        begin = parsedate_to_datetime(today).timestamp() if today else now
        return max(0.0, parsedate_to_datetime(date).timestamp() - begin) if begin is not None else None
    except (ValueError, OverflowError):
        return None


def message_in(body: bytes) -> str:
    """What an error's body says, whoever wrote it: OpenAI, FastAPI, a proxy's HTML page."""
    try:
        data: Any = from_json(body)
    except ValueError:
        return _excerpt(body) or "(no text)"
    if isinstance(data, list) and data:
        data = cast(list[Any], data)[0]
    return _message(data) or _excerpt(body) or "(no text)"


def _message(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    fields = cast(dict[str, Any], data)
    error: Any = fields.get("error", fields)
    if isinstance(error, str):
        return error[:_SHOWN]
    if isinstance(error, dict):
        inner = cast(dict[str, Any], error)
        names = ("message", "detail", "msg", "Message")  # the last is AWS's, now and then
        text = next((inner[name] for name in names if inner.get(name)), None) or fields.get("message")
        code = _code(inner)
        if text:
            kind = f" ({code})" if isinstance(code, str) and code not in str(text) else ""
            return f"{str(text)[:_SHOWN]}{kind}{_behind(inner)}"
    return ""


def _code(error: dict[str, Any]) -> Any:
    """What an error is called; Anthropic tells it among the details."""
    details = error.get("details")
    inner = cast(dict[str, Any], details) if isinstance(details, dict) else {}
    return error.get("code") or inner.get("error_code")


def _behind(error: Mapping[str, Any]) -> str:
    """What the server behind a router said, which OpenRouter puts into the error's metadata."""
    metadata = error.get("metadata")
    raw = cast(dict[str, Any], metadata).get("raw") if isinstance(metadata, dict) else None
    return f": {_excerpt(raw.encode())}" if isinstance(raw, str) and raw else ""


def _excerpt(body: bytes) -> str:
    """The text of a body, tags and white space folded."""
    text = body[: 4 * _SHOWN].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = unescape(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", text))
    return " ".join(text.split())[:_SHOWN]
