"""What response headers tell of an endpoint's rate limits.

`x-ratelimit-*`: OpenAI, "Rate limits in headers", and others alike.
`anthropic-ratelimit-*`: Anthropic, "Rate limits: response headers". Both read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from asyncinfer.control.rate_limit import Observation

# Our name of each limit, and how each provider's headers spell it: most, left, time of the reset.
_HEADERS = (
    ("requests", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("tokens", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    *(
        (name, *(f"anthropic-ratelimit-{name.replace('_', '-')}-{part}" for part in ("limit", "remaining", "reset")))
        for name in ("requests", "input_tokens", "output_tokens")
    ),
)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
# What is beyond these is no limit a minute, or is counted in ways that are not known here.
_LARGEST, _LATEST = 10**12, 100_000.0
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


def limits_in(headers: Mapping[str, str]) -> dict[str, Observation]:
    """The limits that `headers` tell of, by name; those that cannot be read are left out."""
    found: dict[str, Observation] = {}
    for name, limit, remaining, reset in _HEADERS:
        if limit in headers and remaining in headers:
            try:
                seconds = _seconds(headers.get(reset, "60"), headers.get("date"))
                seen = Observation(int(headers[limit]), max(0, int(headers[remaining])), seconds)
            except (ValueError, OverflowError):
                continue
            if seen.remaining <= seen.limit <= _LARGEST and seen.reset <= _LATEST:
                found[name] = seen
    return found


def _seconds(reset: str, today: str | None) -> float:
    """The time of a reset: `6m0s`, `20ms`, `12.5`, or a moment such as `2026-11-24T10:00:00Z`."""
    match = _DURATION.fullmatch(reset)
    if match is not None and reset:
        return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    if "T" not in reset:
        return max(0.0, float(reset))
    moment = datetime.fromisoformat(reset)
    return max(0.0, moment.timestamp() - parsedate_to_datetime(today or "").timestamp())
