"""Reads an endpoint's rate limits from response headers.

The headers, and the documentation that describes them (as of November 2026):

- `x-ratelimit-*`: OpenAI, "Rate limits in headers". Others use the same names: Cerebras ("Rate limits") adds the
  window, Fireworks ("Rate limits") limits prompts and answers separately, Together ("Rate limits") counts per second,
  SambaNova ("Rate limits") and OpenRouter ("Limits") may give the reset as a point in time. Mistral does not document
  its headers; users report `x-ratelimit-limit-req-minute` and `x-ratelimit-limit-tokens-minute`.
- `anthropic-ratelimit-*`: Anthropic, "Rate limits: response headers".
- `ratelimit-*`: API gateways such as Kong, after draft-ietf-httpapi-ratelimit-headers-06 (December 2022).
- `ratelimit` with `ratelimit-policy`: version 10 of the same draft (September 2025). Hugging Face sends them.

Limits per day are ignored: a bucket that takes a day to fill would delay requests that the endpoint accepts at once.
When such a limit is used up, a refusal reports it.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncinfer.types.limits import LimitObservation, rate_limit_items
from asyncinfer.types.times import parse_number, seconds_until_reset

_PARTS = ("limit", "remaining", "reset")


def _openai(name: str, suffix: str = "", within: float = 60.0) -> tuple[str, str, str, str, float]:
    limit, remaining, reset = (f"x-ratelimit-{part}{suffix}" for part in _PARTS)
    return name, limit, remaining, reset, within


def _anthropic(name: str) -> tuple[str, str, str, str, float]:
    limit, remaining, reset = (f"anthropic-ratelimit-{name.replace('_', '-')}-{part}" for part in _PARTS)
    return name, limit, remaining, reset, 60.0


# Each entry: the name of the limit; the headers with its size, the remaining units and the reset; and the seconds until
# the reset if that header is missing. If two entries give the same limit, the later one is used.
_HEADERS = (
    ("requests", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", 60.0),
    _openai("requests"),  # Together, OpenRouter
    ("tokens", "x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset", 1.0),  # Together
    _openai("requests", "-requests"),
    _openai("tokens", "-tokens"),
    _openai("requests", "-requests-minute"),  # Cerebras
    _openai("requests", "-req-minute"),  # Mistral
    _openai("tokens", "-tokens-minute"),  # Cerebras, Mistral
    _openai("input_tokens", "-tokens-prompt"),  # Fireworks
    _openai("output_tokens", "-tokens-generated"),
    *(_anthropic(name) for name in ("requests", "input_tokens", "output_tokens")),
)
# A limit of more units, or with a later reset in seconds, is no limit per minute, or it is counted in an unknown way.
_LARGEST, _LATEST = 10**12, 100_000.0
# A structured limit with a longer window, in seconds, is ignored.
_LONGEST_WINDOW = 3600.0


def limits_in(headers: Mapping[str, str]) -> dict[str, LimitObservation]:
    """Read the limits in `headers`, by name. A limit that cannot be read is left out.

    Every `LimitObservation` has `1 <= limit`, `0 <= remaining <= limit` and a finite `reset` of zero or more seconds.
    """
    found: dict[str, LimitObservation] = {}
    for name, limit, remaining, reset, within in _HEADERS:
        # Many servers send a limit without a unit and without a reset. Its window is not known, so it is ignored.
        if limit in headers and remaining in headers and (reset in headers or not limit.endswith("ratelimit-limit")):
            seen = _observation(
                headers[limit], headers[remaining], headers.get(reset, str(within)), headers.get("date")
            )
            if seen is not None:
                found[name] = seen
    if "ratelimit" in headers and "requests" not in found:
        found.update(_structured(headers["ratelimit"], headers.get("ratelimit-policy", "")))
    return found


def _observation(limit: str, remaining: str, reset: str, today: str | None) -> LimitObservation | None:
    """The limit in three headers; None if they cannot be read or contradict each other."""
    most, left, seconds = _count(limit), _count(remaining), seconds_until_reset(reset, today)
    if most is None or left is None or seconds is None:
        return None
    left = max(0, left)
    return (
        LimitObservation(most, left, seconds) if left <= most and 1 <= most <= _LARGEST and seconds <= _LATEST else None
    )


def _count(text: str) -> int | None:
    """The whole number in a header, or None. `100, 100;w=60`, which adds the window, is read as 100."""
    value = parse_number(text)
    if value is None:
        value = parse_number(text.partition(",")[0].partition(";")[0])
    return int(value) if value is not None and abs(value) <= _LARGEST else None


def _structured(limits: str, policies: str) -> dict[str, LimitObservation]:
    """The limit on requests in the structured headers. If there are several, the one with the fewest remaining."""
    known = dict(rate_limit_items(policies))
    found: list[LimitObservation] = []
    for name, left in rate_limit_items(limits):
        policy = known.get(name, {})
        window = parse_number(policy.get("w", "60"))
        short = window is not None and window <= _LONGEST_WINDOW and policy.get("qu", '"requests"') == '"requests"'
        if short and "q" in policy and "r" in left and "t" in left:
            seen = _observation(policy["q"], left["r"], left["t"], None)
            found += [seen] if seen is not None else []
    return {"requests": min(found, key=lambda seen: seen.remaining)} if found else {}
