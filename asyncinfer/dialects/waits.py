"""Reads the wait that a refusal requests: from headers, from fields of the body, or from the text of the message.

`Retry-After`: RFC 9110 section 10.2.3 (June 2022). `retry-after-ms`: as OpenAI's SDK reads it (openai-python 3.57,
November 2026); `x-ms-retry-after-ms`: Azure. `retryDelay`: Google's google/rpc/error_details.proto, `RetryInfo`.
`RateLimit`: draft-ietf-httpapi-ratelimit-headers-10 (September 2025), which Hugging Face sends. `retry_after` in
bodies: Discord, Cloudflare, OpenRouter and LiteLLM. Words: OpenAI and Groq "Please try again in 7m12s", Azure "Please
retry after 37 seconds", Gemini "Please retry in 20.04s", and similar texts of Bedrock and others. Read in November
2026.

Waits are between zero and a year. `asyncinfer.control` limits them further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, cast

from asyncinfer.dialects.error_body import ErrorBody
from asyncinfer.types.limits import rate_limit_items
from asyncinfer.types.times import clamp_seconds, parse_duration, parse_number, seconds_until

_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
# Fields of bodies, in lower case and without `-` and `_`, with their unit in seconds.
_FIELDS = {
    "retrydelay": 1.0,
    "retryafter": 1.0,
    "retryafterseconds": 1.0,
    "retryaftersecs": 1.0,
    "retryaftersec": 1.0,
    "retryinseconds": 1.0,
    "retryafterms": 0.001,
    "retryaftermilliseconds": 0.001,
}
_UNITS = {
    "milliseconds": 0.001,
    "millisecond": 0.001,
    "msec": 0.001,
    "ms": 0.001,
    "seconds": 1.0,
    "second": 1.0,
    "secs": 1.0,
    "sec": 1.0,
    "s": 1.0,
    "minutes": 60.0,
    "minute": 60.0,
    "mins": 60.0,
    "min": 60.0,
    "m": 60.0,
    "hours": 3600.0,
    "hour": 3600.0,
    "hrs": 3600.0,
    "hr": 3600.0,
    "h": 3600.0,
    "days": 86400.0,
    "day": 86400.0,
    "d": 86400.0,
}
_VERB = r"\b(?:re-?try(?:ing)?|try again|tried again|wait(?:ing)?|resets?|available|resume[sd]?|back)\b"
_AMOUNT = rf"[0-9]{{1,12}}(?:\.[0-9]{{1,12}})?\s{{0,4}}(?:{'|'.join(_UNITS)})(?![a-z])"
# `try again in 1m12.5s`, `wait for another 20 seconds`, `resets after 1 hour and 5 minutes`.
_WORDS = re.compile(
    rf"{_VERB}(?:[\s:]{{1,4}}(?:again|at|least|about|approximately|another|the|request|your|is|will|after|in|for)){{0,4}}"
    rf"[\s:]{{1,4}}({_AMOUNT}(?:[\s,]{{0,3}}(?:and\s)?{_AMOUNT}){{0,4}})"
)
_PARTS = re.compile(rf"([0-9]+(?:\.[0-9]+)?)\s{{0,4}}({'|'.join(_UNITS)})(?![a-z])")
# `retry after 30`: seconds, as in the header `Retry-After`.
_BARE = re.compile(
    r"\bretry[ _-]?after[\s:=\"']{1,5}([0-9]{1,12}(?:\.[0-9]{1,12})?)(?=[\s\"',;)}]{0,5}$|\.(?:\s|$)|[,;)}\"'])"
)
_MOST = 10**18  # A larger number in a field is not a time.
_LONGEST = 4000  # characters of a message that are searched


def wait_in_headers(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the wait in seconds that the headers request; None if they request none.

    Args:
        now: The current time in seconds since the epoch, for a date in `Retry-After` of a response without a `Date`.
    """
    for name in _MILLISECONDS:
        if (milliseconds := _number(headers.get(name, ""))) is not None:
            return clamp_seconds(milliseconds / 1000)
    given = headers.get("retry-after", "")
    seconds = _number(given)
    if seconds is not None:
        return clamp_seconds(seconds)
    seconds = seconds_until(given, headers.get("date"), now)
    return seconds if seconds is not None else _until_reset(headers.get("ratelimit", ""))


def wait_in_fields(error: ErrorBody) -> float | None:
    """Return the longest wait in seconds that fields of the body request; None if they request none."""
    return max(_waits(error), default=None)


def wait_in_words(text: str) -> float | None:
    """Return the wait in seconds that a message requests; None if it requests none. The message is in lower case."""
    text = text[:_LONGEST]
    if (found := _WORDS.search(text)) is not None:
        return clamp_seconds(sum(float(amount) * _UNITS[unit] for amount, unit in _PARTS.findall(found[1])))
    bare = _BARE.search(text)
    return clamp_seconds(float(bare[1])) if bare is not None else None


def _until_reset(limits: str) -> float | None:
    """Return the seconds until all used-up limits in a `RateLimit` header have reset; None if no limit is used up."""
    used_up = [parameters for _, parameters in rate_limit_items(limits) if parse_number(parameters.get("r", "")) == 0]
    resets = [parse_number(parameters.get("t", "")) for parameters in used_up]
    return max((clamp_seconds(seconds) for seconds in resets if seconds is not None), default=None)


def _number(text: str) -> float | None:
    """Read a number. If a proxy has joined several numbers with commas, the first one is used."""
    return parse_number(text.partition(",")[0])


def _waits(error: ErrorBody) -> Iterator[float]:
    for key, value in error.fields:
        unit = _FIELDS.get(key.replace("_", "").replace("-", ""))
        seconds = _seconds(value) if unit is not None else None
        if unit is not None and seconds is not None and seconds >= 0:
            yield clamp_seconds(seconds * unit)


def _seconds(value: Any) -> float | None:
    """Return the seconds in a field: a number, a text, a duration, or protobuf's `{"seconds", "nanos"}`."""
    if not isinstance(value, dict):
        return _scalar(value)
    parts = cast(dict[str, Any], value)
    seconds = _scalar(parts.get("seconds"))
    return seconds + (_scalar(parts.get("nanos")) or 0.0) / 1e9 if seconds is not None else None


def _scalar(value: Any) -> float | None:
    if isinstance(value, str):
        found = parse_number(value)
        return found if found is not None else parse_duration(value)
    # bool is a subclass of int, so its type is checked exactly.
    if isinstance(value, float) or (type(value) is int and abs(value) < _MOST):
        return float(value) if isfinite(value) else None
    return None
