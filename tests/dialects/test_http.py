"""Errors made from HTTP responses, and reading of successful ones."""

from __future__ import annotations

import gzip
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.dialects.error_body import message_in
from asyncinfer.dialects.http import EXCEPTIONS, json_object, json_value, missing_answer, status_error
from asyncinfer.dialects.waits import wait_in_headers
from asyncinfer.errors import printable
from asyncinfer.types.http import HttpResponse
from tests.dialects.mangled import check_that_it_is_retryable

MORNING = "Tue, 24 Nov 2026 10:00:00 GMT"
MORNING_SECONDS = 1795514400.0


def response(status: int, body: Any = None, **headers: str) -> HttpResponse:
    """A response. Underscores in the names of headers stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), raw)


# What a terminal would obey

COMMANDS = "\x1b[31mRED\x07\x1b]0;title\x07\r\n\x9b2J\x7f\u202e\u2028\x00"


@pytest.mark.parametrize(
    "body",
    [
        COMMANDS.encode() + b"not JSON",
        {"error": {"message": COMMANDS, "code": COMMANDS}},
        {"error": COMMANDS},
        {"error": {"message": "no", "metadata": {"raw": COMMANDS}}},
        b"<p>" + COMMANDS.encode(),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_message_has_no_character_that_a_terminal_obeys(status: int, body: Any) -> None:
    with pytest.raises(RequestError) as caught:
        raise missing_answer(response(200, body)) if status == 200 else status_error(response(status, body))
    assert str(caught.value).isprintable()
    assert "RED" in str(caught.value)
    assert "\\x1b[31m" in str(caught.value)


def test_headers_in_a_message_have_no_character_that_a_terminal_obeys() -> None:
    assert str(status_error(response(302, location="http://x/\x1b[2J\x9b"))).isprintable()
    assert str(status_error(response(400, x_amzn_errortype="\x1b[2J\x9b:"))).isprintable()


@given(st.text(max_size=50))
def test_every_text_of_a_server_is_shown_in_one_line(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)


@given(st.text(alphabet=st.characters(categories=["L", "P", "S", "N"]), max_size=50))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "body", [bytes(range(256)), bytes(40), gzip.compress(b"an error", mtime=0), b"\x89PNG\r\n\x1a\n\x00\x00"]
)
def test_binary_body_is_summarised(body: bytes) -> None:
    assert str(status_error(response(502, body))) == f"HTTP 502: ({len(body)} bytes of binary data)"


# Statuses


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_transient_status_is_retryable(status: int) -> None:
    error = status_error(response(status))
    assert (error.error_type, error.status_code, error.is_retryable) == (InferenceErrorType.API_STATUS, status, True)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 415, 422, 451])
def test_final_status_is_not_retryable(status: int) -> None:
    error = status_error(response(status))
    assert (error.is_retryable, error.is_overload) == (False, False)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_only_a_status_for_a_busy_endpoint_is_an_overload(status: int) -> None:
    assert status_error(response(status)).is_overload is (status in (429, 503, 529))


@pytest.mark.parametrize(("status", "text", "transient"), EXCEPTIONS)
def test_known_message_takes_precedence_over_its_status(status: int, text: str, transient: bool) -> None:
    error = status_error(response(status, {"error": {"message": f"Sorry: {text.upper()}."}}))
    assert (error.is_retryable, error.is_overload) == (transient, False)


def test_used_up_credit_is_recognised_by_its_code() -> None:
    error = {"message": "You exceeded your current quota, please check your plan.", "code": "insufficient_quota"}
    assert not status_error(response(429, {"error": error})).is_retryable


def test_gemini_limit_per_minute_is_retryable_despite_its_billing_message() -> None:
    """https://github.com/google-gemini/gemini-cli/issues/8437. The limit resets within a minute."""
    message = "You exceeded your current quota, please check your plan and billing details. Please retry in 20.04s."
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}
    assert status_error(response(429, [{"error": error}])).is_overload


def test_redirect_is_an_error_that_names_the_new_url() -> None:
    error = status_error(response(308, b"", location="https://elsewhere.example/v1"))
    assert not error.is_retryable
    assert str(error) == (
        "HTTP 308: redirects to https://elsewhere.example/v1; set remote_params.api_url to the URL of the API"
    )


# Waits


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
def test_wait_in_headers_is_read(headers: dict[str, str], seconds: float | None) -> None:
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
def test_wait_in_the_body_of_a_google_error_is_read(delay: str, headers: dict[str, str], seconds: float | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    body = {"error": {"code": 429, "message": "Slow down.", "details": details}}
    assert status_error(response(429, body, **headers)).retry_after == seconds


def test_retry_after_date_without_date_header_uses_the_local_clock() -> None:
    headers = {"retry-after": "Tue, 24 Nov 2026 10:01:30 GMT"}
    assert wait_in_headers(headers, now=MORNING_SECONDS) == 90.0
    assert wait_in_headers(headers | {"date": "Tue, 24 Nov 2026 10:01:00 GMT"}, now=MORNING_SECONDS) == 30.0


dates = st.from_regex(r"\w{3}, \d{1,22} (Jan|Nov) \d{1,22} \d{2}:\d{2}:\d{1,22} ([+-]\d{1,22}|GMT)", fullmatch=True)


@given(dates | st.text(max_size=30), st.sampled_from([MORNING, ""]) | dates)
def test_any_retry_after_header_is_a_valid_wait_or_none(given: str, today: str) -> None:
    wait = wait_in_headers({"retry-after": given, "date": today})
    assert wait is None or wait >= 0


# Messages


@pytest.mark.parametrize(
    ("body", "expected"),
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
def test_message_is_found_in_the_error_format_of_every_server(body: Any, expected: str) -> None:
    assert message_in(response(400, body).body) == expected


@pytest.mark.parametrize(
    "body", [{"error": "x" * 9999}, {"error": {"message": "x" * 9999}}, {"detail": ["x" * 9999]}, b"x" * 9999]
)
def test_long_message_is_shortened(body: Any) -> None:
    assert len(message_in(response(400, body).body)) == 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "msg", "code"]), inner, max_size=3)
    ),
)


@given(json_values | st.binary())
def test_any_body_has_a_message(body: Any) -> None:
    assert message_in(response(400, body).body)


# Successful responses that cannot be read


def test_successful_response_is_read_as_a_json_object() -> None:
    assert json_object(response(200, {"a": 1})) == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": ', b"\xff", [], None, "text"])
def test_unreadable_success_is_a_retryable_parse_error(body: Any) -> None:
    check_that_it_is_retryable(lambda body: json_object(response(200, body)), body, "the response is not (a )?JSON")


def test_error_status_takes_precedence_over_a_readable_body() -> None:
    with pytest.raises(RequestError, match="HTTP 500: boom"):
        json_object(response(500, {"error": "boom"}))


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"a":[]},'])
def test_json_with_too_many_values_is_not_parsed(unit: bytes) -> None:
    body = b"[" + unit * (2**24 // len(unit)) + b"0]"
    with pytest.raises(RequestError, match="has more values than any answer has"):
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
def test_json_that_would_block_the_event_loop_for_seconds_is_not_parsed(body: bytes) -> None:
    with pytest.raises(RequestError, match="has more values than any answer has"):
        json_value(HttpResponse(200, {}, body))


def test_json_with_log_probabilities_is_parsed() -> None:
    alternatives = [{"token": "ab", "logprob": -1.25, "bytes": [97, 98]}] * 20
    body = json.dumps({"content": [{"token": "ab", "logprob": -1.25, "top_logprobs": alternatives}] * 8192})
    assert len(json_value(HttpResponse(200, {}, body.encode()))["content"]) == 8192


def test_large_json_of_text_is_parsed() -> None:
    body = b'["' + b"text, and {more} [text] " * 2**15 * 2 + b'"]'
    assert len(json_value(HttpResponse(200, {}, body))) == 1
