"""Detects refusals for a used-up quota per hour, per day or longer, and the time until it resets.

Google: google.rpc `QuotaFailure`, whose `quotaId` names the period, and `RetryInfo`, which requests half a minute for
any period; daily quotas reset at midnight in California (Gemini API, "Rate limits"). OpenRouter ("Limits",
"Errors and Debugging"): `free-models-per-day`, with the reset in `metadata.headers`. OpenAI and Groq: "on requests
per day (RPD)", "on tokens per day (TPD)", with the wait until a part of the quota is free again. Cerebras and SambaNova
("Rate limits"): headers that end with `-day`. Bedrock: "Too many tokens per day". All read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from asyncinfer.dialects.error_body import ErrorBody, safe_str
from asyncinfer.types.times import parse_date, parse_number, seconds_until_reset

# Limits per second or minute never request a wait as long as this (seconds).
LONG_WAIT = 600.0
_LONG = "hour|day|week|month"
# The period of a limit. If a message names several periods, the first one is used.
_PERIOD = re.compile(
    rf"(?:per|every|each|requests? an?|/)[\s_-]?(?:[0-9]{1, 2} )?(second|sec|minute|min|{_LONG})(?![a-rt-z])"
    r"|\b(hourly|daily|weekly|monthly|today|tomorrow|[rt]p[smhd])\b"
)
_SHORT = frozenset({"second", "sec", "minute", "min", "rps", "tps", "rpm", "tpm"})
# Every text that names a long period contains one of these words. Searching for them first is faster.
_HINTS = ("day", "tomorrow", "daily", "hour", "week", "month", "rpd", "tpd", "rph", "tph")
# Sentences that advertise a larger plan may name other periods, so they are skipped.
_SENTENCES = re.compile(r"[.!?]\s|\n")
_OFFERS = re.compile(r"\b(?:unlock|upgrad|increase|purchas|buy)")
# The fields of Google's errors that name a quota, and the patterns of long periods in their values.
_NAMES = frozenset({"quotaid", "quotametric", "quota_limit", "quota_metric", "quota_unit"})
_LONG_NAME = re.compile(rf"per[_-]?(?:{_LONG})|/(?:h|d|mon)\b")
_DAILY_NAME = re.compile(r"per[_-]?day|/d\b")
_REMAINING = re.compile(r"(?:x-)?ratelimit-remaining(?:-[\w-]+)?|anthropic-ratelimit-[\w-]+-remaining")
_LONG_HEADER = re.compile(rf"-(?:{_LONG})s?$")
_MOST_HEADERS = 200


class Quota(NamedTuple):
    """A used-up quota. `reset`: seconds until all or a part of it is available again; None if unknown."""

    reset: float | None


class _Reset(NamedTuple):
    """The reset of a used-up limit. `named`: whether the name of its header contains a long period."""

    seconds: float
    named: bool


def quota_in(
    error: ErrorBody, headers: Mapping[str, str], wait: float | None, now: float | None = None
) -> Quota | None:
    """Return the used-up quota of a refusal; None if the limit is per second or minute, or its period is unknown.

    Args:
        wait: The wait in seconds that the refusal requests.
        now: The current time in seconds since the epoch, for a response without a `Date`.
    """
    today = headers.get("date")
    resets = [*_used_up(headers, today, now), *_used_up(_headers_within(error), today, now)]
    named = max((reset.seconds for reset in resets if reset.named), default=None)
    if named is not None:
        return Quota(named)
    names = _quota_names(error)
    if any(_LONG_NAME.search(name) for name in names):
        daily = any(_DAILY_NAME.search(name) for name in names)
        midnight = _until_midnight_in_california(today, now) if daily else None
        return Quota(wait if wait is not None and wait >= LONG_WAIT else midnight)
    reset = wait if wait is not None else max((reset.seconds for reset in resets), default=None)
    return Quota(reset) if _names_long_period(error.text) or (reset or 0.0) >= LONG_WAIT else None


def _names_long_period(text: str) -> bool:
    if not any(hint in text for hint in _HINTS):
        return False
    for sentence in _SENTENCES.split(text):
        if (found := _PERIOD.search(sentence)) and not _OFFERS.search(sentence):
            return not _SHORT.issuperset({found[1] or found[2]})
    return False


def _quota_names(error: ErrorBody) -> list[str]:
    return [value.lower() for key, value in error.fields if key in _NAMES and isinstance(value, str)]


def _headers_within(error: ErrorBody) -> dict[str, str]:
    """Return the headers of the server behind a router. OpenRouter puts them into `metadata`."""
    found: dict[str, str] = {}
    for key, value in error.fields:
        if key == "headers" and isinstance(value, dict):
            fields = cast(dict[str, Any], value)
            found |= {name.lower(): safe_str(value) for name, value in fields.items()}
    return found


def _used_up(headers: Mapping[str, str], today: str | None, now: float | None) -> Iterator[_Reset]:
    for given in list(headers)[:_MOST_HEADERS]:
        name = given.lower()
        if not _REMAINING.fullmatch(name):
            continue
        left = parse_number(headers[given])
        seconds = seconds_until_reset(headers.get(name.replace("remaining", "reset"), ""), today, now)
        if left is not None and left <= 0 and seconds is not None:
            yield _Reset(seconds, _LONG_HEADER.search(name) is not None)


def _until_midnight_in_california(today: str | None, now: float | None) -> float | None:
    """Return the seconds until midnight in California, when Google's daily quotas reset."""
    seconds = parse_date(today) if today else None
    begin = seconds if seconds is not None else now
    try:
        date = datetime.fromtimestamp(begin, ZoneInfo("America/Los_Angeles")) if begin is not None else None
    except (KeyError, ValueError, OverflowError, OSError):  # No time zones are installed, or `begin` is out of range.
        return None
    if date is None:
        return None
    midnight = datetime(date.year, date.month, date.day, tzinfo=date.tzinfo) + timedelta(days=1)
    return midnight.timestamp() - date.timestamp()
