"""What response headers tell of an endpoint's rate limits.

`x-ratelimit-*`: OpenAI, "Rate limits in headers", and others alike. Cerebras ("Rate limits") adds the window;
Fireworks ("Rate limits") tells prompts and answers apart; Together ("Rate limits") counts by the second; SambaNova
("Rate limits") and OpenRouter ("Limits") may tell the reset as a moment. `anthropic-ratelimit-*`: Anthropic, "Rate
limits: response headers". All read in November 2026.

Limits a day are left to the refusals: a bucket that takes a day to fill would hold up what the endpoint takes at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from asyncinfer.control.rate_limit import Observation

_PARTS = ("limit", "remaining", "reset")


def _openai(name: str, suffix: str = "", within: float = 60.0) -> tuple[str, str, str, str, float]:
    limit, remaining, reset = (f"x-ratelimit-{part}{suffix}" for part in _PARTS)
    return name, limit, remaining, reset, within


def _anthropic(name: str) -> tuple[str, str, str, str, float]:
    limit, remaining, reset = (f"anthropic-ratelimit-{name.replace('_', '-')}-{part}" for part in _PARTS)
    return name, limit, remaining, reset, 60.0


# Our name of each limit; how each provider's headers spell the most, what is left, and the time of the reset; and how
# long that is, in seconds, where they do not tell. Of two that tell of one limit the last is heeded.
_HEADERS = (
    _openai("requests"),  # Together, OpenRouter
    ("tokens", "x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset", 1.0),  # Together
    _openai("requests", "-requests"),
    _openai("tokens", "-tokens"),
    _openai("requests", "-requests-minute"),  # Cerebras
    _openai("tokens", "-tokens-minute"),
    _openai("input_tokens", "-tokens-prompt"),  # Fireworks
    _openai("output_tokens", "-tokens-generated"),
    *(_anthropic(name) for name in ("requests", "input_tokens", "output_tokens")),
)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
# What is beyond these is no limit a minute, or is counted in ways that are not known here.
_LARGEST, _LATEST = 10**12, 100_000.0
_EPOCH = 1e9  # What is more is no time to wait, but a moment: the first was in 2001.
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


def limits_in(headers: Mapping[str, str]) -> dict[str, Observation]:
    """The limits that `headers` tell of, by name; those that cannot be read are left out."""
    found: dict[str, Observation] = {}
    for name, limit, remaining, reset, within in _HEADERS:
        # A bare limit, of which many servers tell, may be one of any length.
        if limit in headers and remaining in headers and (reset in headers or limit != "x-ratelimit-limit"):
            try:
                seconds = _seconds(headers.get(reset, str(within)), headers.get("date"))
                seen = Observation(int(headers[limit]), max(0, int(headers[remaining])), seconds)
            except (ValueError, OverflowError):
                continue
            if seen.remaining <= seen.limit <= _LARGEST and seen.reset <= _LATEST:
                found[name] = seen
    return found


def _seconds(reset: str, today: str | None) -> float:
    """The time of a reset: `6m0s`, `20ms`, `12.5`, or a moment such as `2026-11-24T10:00:00Z`, also as seconds or
    milliseconds of the epoch.
    """
    match = _DURATION.fullmatch(reset)
    if match is not None and reset:
        return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    if "T" in reset:
        moment = datetime.fromisoformat(reset).timestamp()
    elif (moment := float(reset)) < _EPOCH:
        return max(0.0, moment)
    elif moment >= 1000 * _EPOCH:
        moment /= 1000
    return max(0.0, moment - parsedate_to_datetime(today or "").timestamp())
