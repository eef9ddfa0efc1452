"""`limits_in`: the rate limits in response headers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncinfer.control.limit_headers import limits_in
from asyncinfer.types.limits import LimitObservation

MORNING = "Tue, 24 Nov 2026 10:00:00 GMT"
PARTS = ("limit", "remaining", "reset")


def openai(name: str, *values: str) -> dict[str, str]:
    return {f"x-ratelimit-{part}-{name}": value for part, value in zip(PARTS, values, strict=False)}


def anthropic(name: str, *values: str) -> dict[str, str]:
    return {f"anthropic-ratelimit-{name}-{part}": value for part, value in zip(PARTS, values, strict=False)}


def test_openai_headers_show_requests_and_tokens() -> None:
    headers = openai("requests", "60", "59", "1s") | openai("tokens", "150000", "149984", "6m0s")
    assert limits_in(headers) == {
        "requests": LimitObservation(60, 59, 1.0),
        "tokens": LimitObservation(150_000, 149_984, 360.0),
    }


def test_anthropic_headers_show_requests_and_both_kinds_of_tokens() -> None:
    reset = "2026-11-24T10:00:30Z"
    headers = {"date": MORNING} | anthropic("requests", "50", "49", reset)
    headers |= anthropic("input-tokens", "40000", "39000", reset) | anthropic("output-tokens", "8000", "0", reset)
    assert limits_in(headers) == {
        "requests": LimitObservation(50, 49, 30.0),
        "input_tokens": LimitObservation(40_000, 39_000, 30.0),
        "output_tokens": LimitObservation(8_000, 0, 30.0),
    }


NOON = "1795521600"  # of the same day, 12:00 GMT, as seconds of the epoch
CEREBRAS = {
    f"x-ratelimit-{part}-{name}": value
    for name, values in {
        "requests-minute": ("30", "29", "12.5"),
        "tokens-minute": ("60000", "59000", "12.5"),
        "requests-day": ("14400", "1", "33011.38"),
        "tokens-day": ("1000000", "5", "33011.38"),
    }.items()
    for part, value in zip(PARTS, values, strict=True)
}
FIREWORKS = {
    "x-ratelimit-limit-tokens-prompt": "3600000",
    "x-ratelimit-remaining-tokens-prompt": "3599000",
    "x-ratelimit-limit-tokens-cache-adjusted-prompt": "900000",
    "x-ratelimit-remaining-tokens-cache-adjusted-prompt": "899000",
    "x-ratelimit-limit-tokens-generated": "36000",
    "x-ratelimit-remaining-tokens-generated": "0",
}
TOGETHER = {
    "x-ratelimit-limit": "10",
    "x-ratelimit-remaining": "9",
    "x-ratelimit-reset": "1",
    "x-tokenlimit-limit": "3000",
    "x-tokenlimit-remaining": "2900",
}
SAMBANOVA = openai("requests", "60", "59", str(int(NOON) - 7170)) | {
    "x-ratelimit-limit-requests-day": "12000",
    "x-ratelimit-remaining-requests-day": "3",
    "x-ratelimit-reset-requests-day": NOON,
}
OPENROUTER = {
    "x-ratelimit-limit": "20",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": f"{int(NOON) - 7140}000",
}


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (CEREBRAS, {"requests": LimitObservation(30, 29, 12.5), "tokens": LimitObservation(60_000, 59_000, 12.5)}),
        (
            FIREWORKS,
            {
                "input_tokens": LimitObservation(3_600_000, 3_599_000, 60.0),
                "output_tokens": LimitObservation(36_000, 0, 60.0),
            },
        ),
        (TOGETHER, {"requests": LimitObservation(10, 9, 1.0), "tokens": LimitObservation(3_000, 2_900, 1.0)}),
        (SAMBANOVA, {"requests": LimitObservation(60, 59, 30.0)}),
        (OPENROUTER, {"requests": LimitObservation(20, 0, 60.0)}),
    ],
    ids=["Cerebras", "Fireworks", "Together", "SambaNova", "OpenRouter"],
)
def test_headers_of_other_providers_show_their_limits(
    headers: dict[str, str], limits: dict[str, LimitObservation]
) -> None:
    """Limits per day are ignored."""
    assert limits_in({"date": MORNING} | headers) == limits


def test_limit_without_a_unit_and_a_reset_is_ignored() -> None:
    """Its window is not known: it may be an hour or a year."""
    assert limits_in({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "1"}) == {}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("20ms", 0.02),
        ("8.64s", 8.64),
        ("1m30.5s", 90.5),
        ("1h0m1s", 3601.0),
        ("1d", 86400.0),
        ("0s", 0.0),
        ("12.5", 12.5),
        ("-1", 0.0),
        ("2026-11-24T10:00:07.5+00:00", 7.5),
        ("2026-11-24T09:59:00Z", 0.0),
        (NOON, 7200.0),
        (f"{NOON}500", 7200.5),
    ],
)
def test_reset_is_read_in_many_formats(reset: str, seconds: float) -> None:
    headers = {"date": MORNING} | openai("requests", "60", "10", reset)
    assert limits_in(headers)["requests"].reset == pytest.approx(seconds)


def test_missing_reset_means_a_minute() -> None:
    assert limits_in(openai("requests", "60", "10")) == {"requests": LimitObservation(60, 10, 60.0)}


def test_negative_remaining_counts_as_zero() -> None:
    assert limits_in(openai("tokens", "100", "-5", "1s")) == {"tokens": LimitObservation(100, 0, 1.0)}


def test_header_names_are_read_in_any_case() -> None:
    headers = CIMultiDict({name.title(): value for name, value in openai("requests", "60", "10", "1s").items()})
    assert limits_in(headers) == {"requests": LimitObservation(60, 10, 1.0)}


@pytest.mark.parametrize(
    "broken",
    [
        openai("tokens", "many", "10", "1s"),
        openai("tokens", "100", "", "1s"),
        openai("tokens", "100", "10", "soon"),
        openai("tokens", "100", "10", ""),
        openai("tokens", "100", "10", "2026-11-24T10:00:00Z"),  # without a Date header to compare with
        openai("tokens", "100", "10", NOON),
        openai("tokens", "100"),
    ],
)
def test_unreadable_limit_is_left_out_and_others_are_kept(broken: dict[str, str]) -> None:
    assert limits_in(broken | openai("requests", "60", "10", "1s")) == {"requests": LimitObservation(60, 10, 1.0)}


def test_response_without_limit_headers_shows_no_limits() -> None:
    assert limits_in({"content-type": "application/json"}) == {}


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_reset_without_a_zone_is_in_utc() -> None:
    headers = {"date": MORNING} | openai("requests", "60", "10", "2026-11-24T10:00:30")
    assert limits_in(headers) == {"requests": LimitObservation(60, 10, 30.0)}


@pytest.mark.parametrize(
    ("reset", "seconds"), [("Tue, 24 Nov 2026 10:00:30 GMT", 30.0), ("PT1M30S", 90.0), (" 7 ", 7.0), ("1e1", 10.0)]
)
def test_reset_may_be_a_date_or_an_iso_duration(reset: str, seconds: float) -> None:
    assert limits_in({"date": MORNING} | openai("requests", "60", "10", reset))["requests"].reset == seconds


@pytest.mark.parametrize("limit", ["100, 100;w=60", "100;w=60", "100,1000;w=3600", "100.0", "+100"])
def test_first_number_of_a_limit_is_used(limit: str) -> None:
    assert limits_in(openai("requests", limit, "40, 40", "1s")) == {"requests": LimitObservation(100, 40, 1.0)}


@pytest.mark.parametrize(
    "odd", ["0", "-1", "true", "nan", "inf", "1e999", "9" * 400, "1_0", "\u0661\u0660", "0x10", "10 11"]
)
def test_limit_with_an_impossible_number_is_left_out(odd: str) -> None:
    assert limits_in(openai("requests", odd, "0", "1s")) == {}


@pytest.mark.parametrize(
    "odd", ["nan", "inf", "1e999", "9" * 400, "9" * 400 + "d", "1h" * 400, "-", "24:00", "P", "\u0661s"]
)
def test_limit_with_an_impossible_reset_is_left_out(odd: str) -> None:
    assert limits_in({"date": MORNING} | openai("requests", "10", "0", odd)) == {}


# The IETF draft


def test_ratelimit_headers_of_gateways_are_read() -> None:
    headers = {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "40", "ratelimit-reset": "12"}
    assert limits_in(headers) == {"requests": LimitObservation(100, 40, 12.0)}
    del headers["ratelimit-reset"]
    assert limits_in(headers) == {}


@pytest.mark.parametrize(
    ("limits", "policies", "seen"),
    [
        ('"default";r=50;t=30', '"default";q=100;w=60', LimitObservation(100, 50, 30.0)),
        ("default;r=50;t=30", "default;q=100;w=60", LimitObservation(100, 50, 30.0)),
        ('"api";r=0;t=211', '"fixed window";"api";q=500;w=300', LimitObservation(500, 0, 211.0)),
        ('"burst";r=9;t=1, "minute";r=4;t=30', '"burst";q=10;w=1,"minute";q=60;w=60', LimitObservation(60, 4, 30.0)),
        (
            '"day";r=4;t=30000, "minute";r=40;t=30',
            '"day";q=1000;w=86400,"minute";q=60;w=60',
            LimitObservation(60, 40, 30.0),
        ),
        ('"bytes";r=4;t=30', '"bytes";q=60;qu="content-bytes";w=60', None),
        ('"default";r=50;t=30', "", None),
        ('"default";r=50', '"default";q=100;w=60', None),
        ('"default";r=x;t=30', '"default";q=100;w=60', None),
        ('"' * 500, ";q=1" * 500, None),
    ],
)
def test_structured_ratelimit_headers_are_read(limits: str, policies: str, seen: LimitObservation | None) -> None:
    found = limits_in({"ratelimit": limits, "ratelimit-policy": policies})
    assert found == ({"requests": seen} if seen is not None else {})


values = (
    st.text(max_size=8)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fullmatch=True)
    | st.from_regex(r"\w{3}, \d{1,22} Jan \d{1,22} 00:00:00 [+-]\d{4,22}", fullmatch=True)
)


def check(limits: dict[str, LimitObservation]) -> None:
    for seen in limits.values():
        assert type(seen.limit) is type(seen.remaining) is int
        assert 0 <= seen.remaining <= seen.limit
        assert 1 <= seen.limit <= 10**12
        assert math.isfinite(seen.reset)
        assert 0 <= seen.reset <= 100_000


@given(values, values, values, values)
def test_any_header_values_give_valid_limits(limit: str, remaining: str, reset: str, today: str) -> None:
    check(limits_in({"date": today} | openai("requests", limit, remaining, reset)))


@given(values)
def test_any_date_header_is_read_without_an_error(today: str) -> None:
    limits_in({"date": today} | openai("requests", "60", "10", "2026-11-24T10:00:00Z"))


# A long search: any value in any of the headers, alone and among valid headers


SANE = (
    openai("requests", "60", "59", "1s")
    | openai("tokens", "150000", "149984", "6m0s")
    | anthropic("requests", "50", "49", "2026-11-24T10:00:30Z")
    | anthropic("input-tokens", "40000", "39000", "2026-11-24T10:00:30Z")
    | CEREBRAS
    | FIREWORKS
    | TOGETHER
    | {"ratelimit": '"a";r=50;t=30', "ratelimit-policy": '"a";q=100;w=60', "date": MORNING}
    | {"ratelimit-limit": "100", "ratelimit-remaining": "40", "ratelimit-reset": "12"}
)
ODD = [
    *("", " ", "0", "-0", "-1", "+5", "007", "1.5", ".5", "5.", "1e3", "1E400", "-1e400", "nan", "NaN", "inf", "-inf"),
    *(
        "true",
        "false",
        "null",
        "none",
        "unlimited",
        "1_000",
        "1,000",
        "1 000",
        "0x1F",
        "60;w=60",
        "60, 60;w=60",
        ",",
        ";",
    ),
    *(
        "\u0661\u0662",
        "\uff11",
        "\u00b2",
        "\x00",
        "\ud800",
        "60\n",
        "60s",
        "1m",
        "1ms",
        "1d2h",
        "PT1M",
        "P1Y",
        "PT",
        "-PT1M",
    ),
    *("9" * 19, "9" * 309, "9" * 5000, "1" + "0" * 400 + "d", "1795514400", "1795514400000", "1795514400000000"),
    *(
        "2026-11-24T10:00:00Z",
        "2026-11-24T10:00:00",
        "2026-11-24 10:00",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59+14:00",
    ),
    *(
        MORNING,
        MORNING.replace("GMT", "-0000"),
        MORNING.replace("GMT", "+9999"),
        MORNING.replace("2026", "0"),
        "Tue,",
        "T",
    ),
    *('"a";r=1;t=1', '"a";r=-1;t=1', "a;r=" + "9" * 400 + ";t=1", '"a"' + ";q=1" * 300, '"a";q=1;w=' + "9" * 400),
]


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(sorted(SANE)), st.sampled_from(ODD) | values, max_size=8),
    st.sets(st.sampled_from(sorted(SANE))),
)
def test_mutated_headers_give_valid_limits(odd: dict[str, str], missing: set[str]) -> None:
    headers = {name: value for name, value in (SANE | odd).items() if name not in missing}
    check(limits_in(headers))
    check(limits_in(CIMultiDict(headers)))


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(SANE)), st.text(max_size=40)))
def test_any_text_in_the_headers_gives_valid_limits(headers: dict[str, str]) -> None:
    check(limits_in(headers))
