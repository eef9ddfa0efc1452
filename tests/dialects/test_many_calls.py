"""Answers with more tool calls than any model makes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer import RequestError
from asyncinfer.dialects.anthropic import messages as anthropic_messages
from asyncinfer.dialects.bedrock import response as bedrock_response
from asyncinfer.dialects.google import response as gemini_response
from asyncinfer.dialects.openai import response as openai_response
from asyncinfer.types.http import HttpResponse

MANY = 10_001
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
ANSWERS: dict[str, tuple[Any, Any]] = {
    "OpenAI": (
        openai_response.decode,
        {"choices": [{"message": {"tool_calls": [CALL] * MANY}, "finish_reason": "tool_calls"}]},
    ),
    "Anthropic": (anthropic_messages.decode, {"content": [USE] * MANY, "stop_reason": "tool_use"}),
    "Gemini": (
        gemini_response.decode,
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}] * MANY}, "finishReason": "STOP"}]},
    ),
    "Bedrock": (
        bedrock_response.decode,
        {
            "output": {"message": {"content": [{"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}] * MANY}},
            "stopReason": "tool_use",
        },
    ),
}


@pytest.mark.parametrize(("decode", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_answer_with_too_many_tool_calls_is_refused(decode: Any, answer: Any) -> None:
    with pytest.raises(RequestError, match="has no answer") as caught:
        decode(HttpResponse(200, {}, json.dumps(answer).encode()))
    assert caught.value.is_retryable
