"""Reading numbers, durations and dates in the formats of servers, and writing durations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.types.times import (
    YEAR,
    duration_text,
    parse_date,
    parse_duration,
    parse_number,
    seconds_until,
    seconds_until_reset,
)

MORNING, MORNING_SECONDS = "Tue, 24 Nov 2026 10:00:00 GMT", 1795514400.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("60", 60.0),
            (" 7 ", 7.0),
            ("-3", -3.0),
            ("+5", 5.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("007", 7.0),
        ),
        *(
            (text, None)
            for text in ("", "1_0", "\uff11", "\u00b2", "nan", "inf", "1e999", "9" * 400, "0x1F", "1 0", "1,0", "ten")
        ),
    ],
)
def test_number_is_finite_and_in_ascii(text: str, value: float | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("6m0s", 360.0), ("20ms", 0.02), ("1h0m1s", 3601.0), ("1d", 86400.0), ("0s", 0.0), ("1m30.5s", 90.5)),
        *(("PT30S", 30.0), ("P1DT2H", 93600.0), ("PT1.5M", 90.0), ("P1W", 604800.0), ("9" * 60 + "d", YEAR)),
        *((text, None) for text in ("", "P", "PT", "P1Y", "-1s", "1", "s", "1s1m", "\u0661s", "1h" * 40, "PT-1S")),
    ],
)
def test_duration_has_the_format_of_go_or_iso_8601(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *(MORNING, MORNING.replace("GMT", "-0000"), "2026-11-24T10:00:00Z", "2026-11-24T10:00:00"),
        *("2026-11-24T11:00:00+01:00", "2026-11-24 10:00", "Tue, 24 Nov 2026 11:00:00 +0100"),
    ],
)
def test_date_without_a_zone_is_in_utc(text: str) -> None:
    assert parse_date(text) == MORNING_SECONDS


@pytest.mark.parametrize(
    "text", ["", "soon", "T", "Tue,", "24:00", "Tue, 24 Nov 99999 10:00:00 GMT", "2026-13-01", "1" * 100, "\u0661"]
)
def test_date_that_cannot_be_read_is_none(text: str) -> None:
    assert parse_date(text) is None


def test_date_header_takes_precedence_over_the_local_clock() -> None:
    assert seconds_until("Tue, 24 Nov 2026 10:01:30 GMT", MORNING, now=0.0) == 90.0
    assert seconds_until("Tue, 24 Nov 2026 10:01:30 GMT", "no date", now=MORNING_SECONDS) == 90.0
    assert seconds_until("Tue, 24 Nov 2026 09:00:00 GMT", MORNING) == 0.0
    assert seconds_until("Tue, 24 Nov 2026 10:01:30 GMT", None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45.0, "45 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (719.0, "12 min"),
        (7200.0, "2 h"),
        (36_300.0, "10 h 5 min"),
        (3 * 86_400.0, "3 days"),
        (1e9, "11574 days"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


TEXTS = (
    st.text(max_size=40)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["9" * 5000, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
)


@given(TEXTS, TEXTS | st.none(), st.floats(allow_nan=False, allow_infinity=False) | st.none())
def test_any_reset_is_none_or_at_most_a_year(text: str, today: str | None, now: float | None) -> None:
    seconds = seconds_until_reset(text, today, now)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= YEAR)
