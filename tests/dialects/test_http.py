"""What a response means that is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.dialects.error_body import message_in
from asyncinfer.dialects.http import EXCEPTIONS, HttpResponse, json_object, json_value, status_error
from asyncinfer.dialects.waits import wait_in_headers
from tests.dialects.mangled import check_that_it_is_asked_again

MORNING = "Tue, 24 Nov 2026 10:00:00 GMT"
MORNING_SECONDS = 1795514400.0


def response(status: int, body: Any = None, **headers: str) -> HttpResponse:
    """A response; underscores in names of headers stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), raw)


# Statuses


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    error = status_error(response(status))
    assert (error.error_type, error.status_code, error.is_retryable) == (InferenceErrorType.API_STATUS, status, True)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 415, 422, 451])
def test_what_will_not_pass_is_final(status: int) -> None:
    error = status_error(response(status))
    assert (error.is_retryable, error.is_overload) == (False, False)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_only_an_endpoint_that_is_busy_speaks_for_all_rows(status: int) -> None:
    assert status_error(response(status)).is_overload is (status in (429, 503, 529))


@pytest.mark.parametrize(("status", "text", "transient"), EXCEPTIONS)
def test_some_messages_outweigh_their_status(status: int, text: str, transient: bool) -> None:
    error = status_error(response(status, {"error": {"message": f"Sorry: {text.upper()}."}}))
    assert (error.is_retryable, error.is_overload) == (transient, False)


def test_an_empty_account_is_known_by_its_code() -> None:
    error = {"message": "You exceeded your current quota, please check your plan.", "code": "insufficient_quota"}
    assert not status_error(response(429, {"error": error})).is_retryable


def test_gemini_words_a_limit_per_minute_like_an_empty_account() -> None:
    """https://github.com/google-gemini/gemini-cli/issues/8437; it passes within the minute."""
    message = "You exceeded your current quota, please check your plan and billing details. Please retry in 20.04s."
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}
    assert status_error(response(429, [{"error": error}])).is_overload


def test_a_redirect_is_not_followed_but_explained() -> None:
    error = status_error(response(308, b"", location="https://elsewhere.example/v1"))
    assert not error.is_retryable
    assert str(error) == (
        "HTTP 308: redirects to https://elsewhere.example/v1; set remote_params.api_url to where the API is"
    )


# How long to wait


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"Retry_After": "0.5"}, 0.5),
        ({"retry_after": "Tue, 24 Nov 2026 10:01:30 GMT", "date": MORNING}, 90.0),
        ({"retry_after": "Tue, 24 Nov 2026 09:00:00 GMT", "date": MORNING}, 0.0),
        ({"retry_after_ms": "1500", "retry_after": "2"}, 1.5),
        ({"x_ms_retry_after_ms": "250"}, 0.25),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after_ms": "soon", "retry_after": "2"}, 2.0),
        ({}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "Tue, 24 Nov 2026 10:01:30 GMT"}, None),
        ({"retry_after": "Tue, 24 Nov 99999999999999999999 10:01:30 GMT", "date": MORNING}, None),
    ],
)
def test_the_wait_that_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    assert status_error(response(429, **headers)).retry_after == seconds


@pytest.mark.parametrize(
    ("delay", "headers", "seconds"),
    [
        ("37.25s", {}, 37.25),
        ("11s", {}, 11.0),
        ("11s", {"retry_after": "2"}, 2.0),
        ("soon", {}, None),
        ("-1s", {}, None),
    ],
)
def test_google_asks_for_a_wait_in_the_body(delay: str, headers: dict[str, str], seconds: float | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    body = {"error": {"code": 429, "message": "Slow down.", "details": details}}
    assert status_error(response(429, body, **headers)).retry_after == seconds


def test_a_date_is_measured_by_the_caller_s_clock_where_the_server_tells_no_time() -> None:
    headers = {"retry-after": "Tue, 24 Nov 2026 10:01:30 GMT"}
    assert wait_in_headers(headers, now=MORNING_SECONDS) == 90.0
    assert wait_in_headers(headers | {"date": "Tue, 24 Nov 2026 10:01:00 GMT"}, now=MORNING_SECONDS) == 30.0


dates = st.from_regex(r"\w{3}, \d{1,22} (Jan|Nov) \d{1,22} \d{2}:\d{2}:\d{1,22} ([+-]\d{1,22}|GMT)", fullmatch=True)


@given(dates | st.text(max_size=30), st.sampled_from([MORNING, ""]) | dates)
def test_whatever_a_header_says_is_a_wait_or_nothing(given: str, today: str) -> None:
    wait = wait_in_headers({"retry-after": given, "date": today})
    assert wait is None or wait >= 0


# What it says


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no such model", "type": "invalid", "code": "model_not_found"}}, "no such model (model_not_found)"),
        ({"error": {"message": "bad model_not_found", "code": "model_not_found"}}, "bad model_not_found"),
        ({"error": {"message": "busy", "code": 503}}, "busy"),
        ({"error": "wrong key"}, "wrong key"),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "too long"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body", "n"], "msg": "field required"}]}, "[{'loc': ['body', 'n'], 'msg': 'field required'}]"),
        ([{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}], "slow down"),
        ({"weird": True}, '{"weird": true}'),
        ([], "[]"),
        ({}, "{}"),
        (None, "null"),
        (b"", "(no text)"),
        (b"  \n", "(no text)"),
        (b"upstream  died\n", "upstream died"),
        (b"<html><head><style>p {}</style><title>502</title></head><p>Bad&nbsp;Gateway</p></html>", "502 Bad Gateway"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_the_message_is_found_whoever_wrote_it(body: Any, said: str) -> None:
    assert message_in(response(400, body).body) == said


@pytest.mark.parametrize(
    "body", [{"error": "x" * 9999}, {"error": {"message": "x" * 9999}}, {"detail": ["x" * 9999]}, b"x" * 9999]
)
def test_messages_are_short(body: Any) -> None:
    assert len(message_in(response(400, body).body)) == 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "msg", "code"]), inner, max_size=3)
    ),
)


@given(json_values | st.binary())
def test_every_body_says_something(body: Any) -> None:
    assert message_in(response(400, body).body)


# A success that is none


def test_a_success_is_its_object() -> None:
    assert json_object(response(200, {"a": 1})) == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": ', b"\xff", [], None, "text"])
def test_a_success_that_cannot_be_read_may_be_better_next_time(body: Any) -> None:
    check_that_it_is_asked_again(lambda body: json_object(response(200, body)), body, "the response is not (a )?JSON")


def test_a_status_goes_before_the_body() -> None:
    with pytest.raises(RequestError, match="HTTP 500: boom"):
        json_object(response(500, {"error": "boom"}))


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"a":[]},'])
def test_json_with_too_many_values_is_not_parsed(unit: bytes) -> None:
    body = b"[" + unit * (2**24 // len(unit)) + b"0]"
    with pytest.raises(RequestError, match="holds more values than any answer does"):
        json_value(HttpResponse(200, {}, body))


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"k%d":1' % number for number in range(700_000)) + b"}",
        b"[" + b"1," * 2_100_000 + b"1]",
        b"[" + b"{}," * 410_000 + b"{}]",
    ],
    ids=["keys", "values", "objects"],
)
def test_json_that_would_hold_the_event_loop_for_seconds_is_not_parsed(body: bytes) -> None:
    with pytest.raises(RequestError, match="holds more values than any answer does"):
        json_value(HttpResponse(200, {}, body))


def test_json_with_log_probabilities_is_parsed() -> None:
    alternatives = [{"token": "ab", "logprob": -1.25, "bytes": [97, 98]}] * 20
    body = json.dumps({"content": [{"token": "ab", "logprob": -1.25, "top_logprobs": alternatives}] * 8192})
    assert len(json_value(HttpResponse(200, {}, body.encode()))["content"]) == 8192


def test_large_json_of_text_is_parsed() -> None:
    body = b'["' + b"text, and {more} [text] " * 2**15 * 2 + b'"]'
    assert len(json_value(HttpResponse(200, {}, body))) == 1
