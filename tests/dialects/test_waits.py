"""The waits that refusals request, in headers, bodies and messages, and which refusals are quotas of a day or longer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncinfer import RequestError
from asyncinfer.dialects.http import status_error
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.times import YEAR

MORNING = "Tue, 24 Nov 2026 10:00:00 GMT"
NOON_MS = 1795521600000  # of the same day, 12:00 GMT, as milliseconds of the epoch


def refused(body: Any = None, status: int = 429, /, **headers: str) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return status_error(
        HttpResponse(status, CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), raw)
    )


def says(message: str, **more: Any) -> Any:
    return {"error": {"message": message, **more}}


def wait(*args: Any, **headers: str) -> float | None:
    return refused(*args, **headers).retry_after


# Words


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please retry after 37 seconds.", 37.0),
        ("Call rate limit exceeded. Please retry after 1 second.", 1.0),
        (
            "Rate limit reached ... Limit 12000, Used 2542. Please try again in 1.984999999s. Need more tokens?",
            1.984999999,
        ),
        ("Please try again in 1m12.5s. Visit https://console.groq.com/docs/rate-limits", 72.5),
        ("Please try again in 20ms. Contact us", 0.02),
        ("Limit: 3 / min. Please try again in 20s. Contact us through our help center", 20.0),
        ("Please retry in 12.3s.", 12.3),
        ("RETRY AFTER 2 MINUTES", 120.0),
        ("Your limit will reset in 5 seconds", 5.0),
        ("Rate limit is exceeded. Try again in 30 seconds.", 30.0),
        ("Your quota will reset after 1m3s.", 63.0),
        ("Please wait 60 seconds before the next request", 60.0),
        ("You must wait for another 20 seconds", 20.0),
        ("retry in 1 minute and 30 seconds", 90.0),
        ("Requests will be available again in 2 minutes, 5 seconds", 125.0),
        ("Rate limited: retry after 30", 30.0),
        ("Too Many Requests, Retry-After: 12.5", 12.5),
        ("Too many tokens, please wait before trying again.", None),
        ("Please try again later. The limit is 5 per min", None),
        ("try again in a few minutes", None),
        ("You may retry 3 times", None),
        ("Retry after 2 attempts", None),
        ("retry in -5s", None),
        ("retry after 2026-11-24", None),
        ("try again in 99999999999999999999s", None),
        ("try again in NaN s", None),
        ("try again in \u0663s", None),
    ],
)
def test_wait_in_the_text_of_a_message_is_read(message: str, seconds: float | None) -> None:
    assert wait(says(message)) == (pytest.approx(seconds) if seconds is not None else None)
    assert wait(message.encode()) == (pytest.approx(seconds) if seconds is not None else None)


def test_header_takes_precedence_over_field_and_field_over_message() -> None:
    body = says("Please retry after 37 seconds.", retry_after=20)
    assert wait(body, retry_after="2") == 2.0
    assert wait(body) == 20.0


def test_wait_in_the_message_of_a_final_error_is_ignored() -> None:
    assert wait(says("Your prompt is too long. Please retry after 37 seconds."), 400) is None


# Fields


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ({"retry_after": 30}, 30.0),
        ({"retry_after": 1.5}, 1.5),
        ({"retry_after": "30"}, 30.0),
        ({"retryAfter": "1m30s"}, 90.0),
        ({"retry-after": 7}, 7.0),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retryAfterMs": "250"}, 0.25),
        ({"retry_after_seconds": 12}, 12.0),
        ({"retryDelay": "12.5s"}, 12.5),
        ({"retryDelay": {"seconds": 30}}, 30.0),
        ({"retryDelay": {"seconds": "30", "nanos": 500_000_000}}, 30.5),
        ({"metadata": {"headers": {"Retry-After": "9"}}}, 9.0),
        ({"details": [{"retryDelay": "1s"}, {"retryDelay": "11s"}]}, 11.0),
        ({"metadata": {"raw": '{"error": {"retryDelay": "5s"}}'}}, 5.0),
        ({"metadata": {"raw": 'GeminiException - {"error": {"retryDelay": "5s"}} Received'}}, 5.0),
        ({"retry_after": True}, None),
        ({"retry_after": None}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": []}, None),
        ({"retry_after": float("nan")}, None),
        ({"retry_after": float("inf")}, None),
        ({"retry_after": 10**400}, None),
        ({"retry_after": "1" * 400}, None),
        ({"retryDelay": {"seconds": {"seconds": 1}}}, None),
        ({"retry_after": 1e15}, YEAR),
        ({"retry_after": "1e9"}, YEAR),
    ],
)
def test_wait_in_a_field_of_the_body_is_read(field: Any, seconds: float | None) -> None:
    assert wait(says("Slow down.", **field)) == seconds
    assert wait(field) == seconds


def test_wait_in_headers_with_huge_numbers_is_at_most_a_year() -> None:
    assert wait(retry_after="1e9") == YEAR
    assert wait(retry_after_ms="1e300") == YEAR
    assert wait(retry_after="9" * 400) is None
    assert wait(retry_after="Tue, 24 Nov 2093 10:00:00 GMT", date=MORNING) == YEAR


def test_first_of_several_waits_that_a_proxy_joined_is_used() -> None:
    assert wait(retry_after="30, 60") == 30.0


# Quotas


def google(*ids: str, delay: str = "30s", message: str = "You exceeded your current quota") -> Any:
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": one} for one in ids]
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message, "details": details}}]


DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
RESET = {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(NOON_MS)}}
OPENAI = "Rate limit reached for gpt-4o-mini on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s. Visit"
GROQ = "Rate limit reached for model `x` on tokens per day (TPD): Limit 100000, Used 97050. Please try again in 9m38.016s. Need"


def left(suffix: str, remaining: str, reset: str) -> dict[str, str]:
    return {
        f"x_ratelimit_limit{suffix}": "100",
        f"x_ratelimit_remaining{suffix}": remaining,
        f"x_ratelimit_reset{suffix}": reset,
    }


QUOTAS: dict[str, tuple[Any, dict[str, str], float | None]] = {
    "Google, until midnight in California": (google(DAY), {"date": MORNING}, 22 * 3600.0),
    "Google, time not known": (google(DAY), {}, None),
    "Google, with a limit per minute": (google(MINUTE, DAY), {}, None),
    "Google, words too": (google(DAY, message="You exceeded your quota. Please retry in 30.5s."), {}, None),
    "Google, a long delay": (google(DAY, delay="7200s"), {}, 7200.0),
    "Google, by the hour": (google("RequestsPerHourPerProject"), {"date": MORNING}, None),
    "Google Cloud": ({"error": {"code": 429, "details": [{"metadata": {"quota_limit": "RequestsPerDayPerProject"}}]}}, {}, None),
    "OpenRouter": (says(PER_DAY, code=429, metadata=RESET), {"date": MORNING}, 7200.0),
    "OpenRouter, time not known": (says(PER_DAY, code=429, metadata=RESET), {}, None),
    "OpenRouter, in the headers": (says(PER_DAY), {"date": MORNING, **left("", "0", str(NOON_MS))}, 7200.0),
    "OpenRouter, passed on": (says("Rate limit exceeded: free-models-per-day-high-balance. "), {}, None),
    "OpenAI": (says(OPENAI, code="rate_limit_exceeded"), {}, 432.0),
    "Groq": (says(GROQ, code="rate_limit_exceeded"), {"retry_after": "579"}, 579.0),
    "Cerebras": (says("Too many requests"), left("-requests-day", "0", "33011.38"), 33011.38),
    "Cerebras, words": (says("Tokens per day limit exceeded - too many tokens processed."), {}, None),
    "SambaNova": (says("limit"), {"date": MORNING, **left("-requests-day", "0", str(NOON_MS // 1000))}, 7200.0),
    "Bedrock": ({"message": "Too many tokens per day, please wait before trying again."}, {}, None),
    "Cloudflare": ({"errors": [{"message": "you have used up your daily free allocation"}]}, {}, None),
    "GitHub Models": (says("Rate limit of 150 per 86400s exceeded for UserByModelByDay. Please wait 75000 seconds before retrying."), {}, 75000.0),
    "Cohere": ({"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, {}, None),
    "a window of hours": (says("You reached the limit of 50 requests per 24 hours. Come back tomorrow."), {}, None),
    "Azure": (says("Please retry after 86400 seconds.", code="429"), {}, 86400.0),
    "a far reset with nothing left": (says("limit"), left("", "0", "36000"), 36000.0),
    "the draft's header": (says("limit"), {"ratelimit": '"api";r=0;t=7200'}, 7200.0),
}  # fmt: skip
NO_QUOTAS: dict[str, tuple[Any, dict[str, str], float | None]] = {
    "Google, by the minute": (google(MINUTE), {}, 30.0),
    "Google, old words": (says("Quota exceeded for quota metric 'Generate Content API requests per minute' and limit 'x per minute'"), {}, None),
    "OpenRouter, by the minute": (says(PER_DAY.replace("free-models-per-day", "free-models-per-min")), {"retry_after": "8"}, 8.0),
    "Groq, by the minute": (says("on tokens per minute (TPM): Limit 6000. Please try again in 17.359s."), {}, 17.359),
    "an offer": (says("Rate limit reached. Upgrade to unlock 10000 requests per day."), {}, None),
    "something is left of the day": (says("Requests per minute limit exceeded"), left("-requests-day", "5", "33011"), None),
    "a near reset": (says("limit"), left("", "0", "30"), None),
    "a far reset, but a short wait": (says("limit"), {"retry_after": "3", **left("", "0", "36000")}, 3.0),
    "nothing said": (b"", {}, None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "reset"), QUOTAS.values(), ids=QUOTAS)
def test_used_up_quota_is_recognised(body: Any, headers: dict[str, str], reset: float | None) -> None:
    error = refused(body, **headers)
    assert (error.is_quota, error.is_retryable, error.is_overload) == (True, True, True)
    assert error.retry_after == (pytest.approx(reset) if reset is not None else None)


@pytest.mark.parametrize(("body", "headers", "seconds"), NO_QUOTAS.values(), ids=NO_QUOTAS)
def test_limit_per_minute_is_not_a_quota(body: Any, headers: dict[str, str], seconds: float | None) -> None:
    error = refused(body, **headers)
    assert (error.is_quota, error.is_overload, error.retry_after) == (False, True, seconds)


@pytest.mark.parametrize("status", [400, 402, 403, 500])
def test_only_a_refusal_for_load_is_a_quota(status: int) -> None:
    assert not refused(says("Too many tokens per day"), status).is_quota


# Arbitrary input


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [10**400, "9" * 400, "\u0661", "1_0", "0x10", "1e999", "PT1H", "-PT1H", "1h" * 40, MORNING, "24:00"]
    ),
)
FIELDS = [
    "retry_after",
    "retryDelay",
    "seconds",
    "nanos",
    "headers",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "message",
]
BODIES = st.recursive(
    ODD, lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4) | st.lists(inner, max_size=3)
)
HEADERS = ["retry-after", "retry-after-ms", "date", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"]  # fmt: skip
VALUES = ODD.map(str) | st.text(max_size=30) | st.from_regex(r'"a";r=\d{1,30};t=\d{1,30}', fullmatch=True)


@settings(max_examples=400)
@given(BODIES, st.dictionaries(st.sampled_from(HEADERS), VALUES))
def test_any_wait_is_none_or_at_most_a_year(body: Any, headers: dict[str, str]) -> None:
    error = status_error(
        HttpResponse(429, CIMultiDict(headers), json.dumps(says("limit", inner=body)).encode()), now=1e9
    )
    assert error.retry_after is None or 0 <= error.retry_after <= YEAR


def test_long_messages_are_searched_quickly() -> None:
    """The patterns do not backtrack over long messages, which would take minutes."""
    for part in (
        "retry in ",
        "wait ",
        "5s ",
        "1 minute and ",
        "retry after:" + " " * 50,
        "per ",
        "model ",
        "violating the ",
        "no ",
        "'" * 50,
    ):
        refused(says(part * (60_000 // len(part))))
        refused(says(part * (60_000 // len(part))), 400)
