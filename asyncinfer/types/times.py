"""Reads numbers, durations and dates in headers and error bodies, and writes durations for messages.

The functions return None for a value that they cannot read. None of them raises. Durations are at most a year.

`Retry-After` and HTTP dates: RFC 9110 sections 10.2.3 and 5.6.7 (June 2022). Durations such as `6m0s` and `20ms`: Go's
`time.Duration.String`, which OpenAI and Groq use. `PT1M30S`: ISO 8601. Read in November 2026.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite

YEAR = 365 * 86400.0
_EPOCH = 1e9  # A larger number is a time, not a duration. As seconds since the epoch, this one is in 2001.
_MILLISECONDS_OF_EPOCH = 1000 * _EPOCH
_LONGEST = 64  # Characters. A longer text is not a number or a date.
_SHORT = 16
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PART = r"(?:([0-9]+(?:\.[0-9]+)?){})?"
_DURATION = re.compile("".join(_PART.format(unit) for unit in ("w", "d", "h", "m(?!s)", "s", "ms")))
_ISO_DURATION = re.compile(f"P{_PART.format('W')}{_PART.format('D')}(?:T{''.join(map(_PART.format, 'HMS'))})?")
_UNITS = (604800.0, 86400.0, 3600.0, 60.0, 1.0, 0.001)


def parse_number(text: str) -> float | None:
    """Read a finite decimal number."""
    if text.isascii() and text.isdigit() and len(text) < _SHORT:  # The usual case.
        return float(text)
    text = text.strip()
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if isfinite(value) else None


def clamp_seconds(seconds: float) -> float:
    """Return `seconds`, limited to the range from zero to a year."""
    return min(max(0.0, seconds), YEAR)


def parse_duration(text: str) -> float | None:
    """Read the seconds of a duration such as `1h30m`, `20ms` or `PT30S`."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    match = (_ISO_DURATION if text[0] == "P" else _DURATION).fullmatch(text)
    if match is None:
        return None
    parts = [float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=False) if part]
    return clamp_seconds(sum(parts)) if parts else None


def duration_text(seconds: float) -> str:
    """Return a duration for messages: `45 s`, `12 min`, `10 h 5 min`, `3 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{minutes // 1440} days"


@lru_cache(maxsize=64)  # Responses of the same second have the same dates.
def parse_date(text: str) -> float | None:
    """Read an HTTP or ISO 8601 date, as seconds since the epoch. A date without a time zone is in UTC."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    try:
        date = datetime.fromisoformat(text) if text[0].isdigit() else parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        return None


def seconds_until(text: str, today: str | None, now: float | None = None) -> float | None:
    """Return the seconds until a date.

    Args:
        today: The `Date` header of the response, which is the time of the server.
        now: The current time in seconds since the epoch, for a response without a `Date`.
    """
    begin, end = _begin(today, now), parse_date(text)
    return clamp_seconds(end - begin) if begin is not None and end is not None else None


def seconds_until_reset(text: str, today: str | None, now: float | None = None) -> float | None:
    """Return the seconds until a rate limit resets.

    Args:
        text: A number of seconds, a duration, a date, or a time in seconds or milliseconds since the epoch.
        today: As in `seconds_until`.
        now: As in `seconds_until`.
    """
    seconds = None if text.endswith(("s", "m", "h")) else parse_number(text)
    if seconds is None:
        seconds = parse_duration(text)
        return seconds if seconds is not None else seconds_until(text, today, now)
    if seconds < _EPOCH:
        return clamp_seconds(seconds)
    begin = _begin(today, now)
    end = seconds / 1000 if seconds >= _MILLISECONDS_OF_EPOCH else seconds
    return clamp_seconds(end - begin) if begin is not None else None


def _begin(today: str | None, now: float | None) -> float | None:
    begin = parse_date(today) if today else None
    return begin if begin is not None else now
