"""The cost that a response reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.response import usage_in
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.dialects.reported_cost import cost_in_headers, cost_in_usage
from asyncinfer.errors import RequestError
from asyncinfer.types.http import HttpResponse
from tests.recorder import SUCCESS

# The example of OpenRouter's "Usage Accounting", November 2026.
OPENROUTER = {
    "completion_tokens": 2,
    "completion_tokens_details": {"reasoning_tokens": 0},
    "cost": 0.95,
    "cost_details": {"upstream_inference_cost": 19},
    "prompt_tokens": 194,
    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
    "total_tokens": 196,
}
# The names of xAI's "Cost Tracking", and its example of a cost.
XAI = {
    "prompt_tokens": 199,
    "completion_tokens": 1,
    "total_tokens": 200,
    "completion_tokens_details": {"reasoning_tokens": 0},
    "num_sources_used": 0,
    "cost_in_usd_ticks": 37756000,
}
# The names of Perplexity's schema `Cost`.
PERPLEXITY = {
    "prompt_tokens": 8,
    "completion_tokens": 439,
    "total_tokens": 447,
    "search_context_size": "low",
    "cost": {
        "input_tokens_cost": 2.4e-05,
        "output_tokens_cost": 0.006585,
        "request_cost": 0.006,
        "total_cost": 0.012609,
    },
}


@pytest.mark.parametrize(("usage", "cost"), [(OPENROUTER, 0.95), (XAI, 0.0037756), (PERPLEXITY, 0.012609)])
def test_cost_is_part_of_the_usage(usage: dict[str, Any], cost: float) -> None:
    found = usage_in(usage)
    assert found is not None
    assert found.cost == pytest.approx(cost)


def test_request_with_the_users_own_key_costs_the_fee_and_the_price_of_the_provider() -> None:
    assert cost_in_usage({**OPENROUTER, "is_byok": True}) == pytest.approx(19.95)
    assert cost_in_usage({**OPENROUTER, "is_byok": False}) == 0.95


def test_request_with_the_users_own_key_has_no_known_cost_without_the_price_of_the_provider() -> None:
    assert cost_in_usage({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}) is None


@pytest.mark.parametrize("free", [0, 0.0])
def test_free_model_costs_nothing(free: float) -> None:
    assert cost_in_usage({"cost": free}) == 0


@pytest.mark.parametrize("value", [None, "0.5", True, -1, float("inf"), float("nan"), [], {"total_cost": "much"}, {}])
def test_what_is_not_an_amount_is_ignored(value: Any) -> None:
    assert cost_in_usage({"cost": value}) is None
    assert cost_in_usage({"cost_in_usd_ticks": value}) is None


@pytest.mark.parametrize(
    ("header", "cost"),
    [("0.000415", 0.000415), ("1e-05", 1e-05), ("0.0", None), ("", None), ("None", None), ("nan", None), ("-1", None)],
)
def test_cost_in_the_headers_of_a_proxy(header: str, cost: float | None) -> None:
    assert cost_in_headers({"x-litellm-response-cost": header}) == cost


def test_last_event_of_a_stream_has_the_cost() -> None:
    decoder = openai_chat().stream()
    events = [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"id": "1", "choices": [], "usage": OPENROUTER},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    *_, last = [*decoder.feed(body.encode()), decoder.finish()]
    assert last.usage is not None
    assert last.usage.cost == 0.95


def test_responses_api_reports_the_cost_too() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "cost_in_usd_ticks": 10**10}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
    body = {"id": "r", "status": "completed", "output": [message], "usage": usage}
    answer = read_answer(openai_responses(responses=ResponsesQuirks()), _response(body))
    assert answer.usage is not None
    assert answer.usage.cost == 1


# Responses without an answer


@pytest.mark.parametrize(
    "body",
    [
        {**SUCCESS, "choices": []},
        {**SUCCESS, "choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
        {**SUCCESS, "choices": [{"index": 0, "error": {"code": 502, "message": "no"}, "finish_reason": "error"}]},
        {"error": {"message": "Provider returned error", "code": 502}, "usage": SUCCESS["usage"]},
    ],
)
def test_response_without_an_answer_reports_its_tokens(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as raised:
        read_answer(openai_chat(), _response(body))
    assert raised.value.usage is not None
    assert raised.value.usage.total_tokens == 7


@pytest.mark.parametrize("body", [b"[]", b"usage", b'{"usage": 5}', b'"usage"', b'{"usage": [1]}', b'[{"usage": 1}]'])
def test_response_that_is_no_object_has_no_tokens(body: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        read_answer(openai_chat(), HttpResponse(200, {}, body))
    assert raised.value.usage is None


def test_tokens_are_not_read_from_a_body_with_more_values_than_any_answer_has() -> None:
    body = b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"x":[%b0]}' % (b"0," * 2_100_000)
    with pytest.raises(RequestError, match="more values than any answer has") as raised:
        read_answer(openai_chat(), HttpResponse(200, {}, body))
    assert raised.value.usage is None


def _response(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps(body).encode())
