"""Errors that say that the prompt is too long, which adapters and the server report in their own ways."""

from __future__ import annotations

import pytest

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.engines.context_length import is_context_overflow

TOO_LONG = {
    "OpenAI": (400, "This model's maximum context length is 8192 tokens."),
    "OpenAI, Responses API": (400, "Your input exceeds the context window of this model."),
    "SGLang": (400, "The input (70000 tokens) is longer than the model's context length (32768 tokens)."),
    "llama.cpp's server": (400, "the request exceeds the available context size"),
    "Anthropic": (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "Bedrock": (400, "Input is too long for requested model."),
    "Gemini": (400, "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."),
    "Together": (403, "Input token count + max_tokens parameter must be less than the context length of the model"),
    "Cerebras": (400, "Please reduce the length of the messages or completion."),
    "this process": (None, "the prompt has 16 tokens, the context holds 16"),
}
OTHERS = {
    "rate limit": (429, "Too many tokens per minute for this context length."),
    "server error": (500, "The context length cannot be read."),
    "other refusal": (400, "Invalid 'user': string too long."),
}


def error(status: int | None, message: str) -> RequestError:
    return RequestError(message, error_type=InferenceErrorType.API_STATUS, status_code=status)


@pytest.mark.parametrize(("status", "message"), TOO_LONG.values(), ids=TOO_LONG)
def test_prompt_that_is_too_long_is_recognised(status: int | None, message: str) -> None:
    assert is_context_overflow(error(status, message))


@pytest.mark.parametrize(("status", "message"), OTHERS.values(), ids=OTHERS)
def test_other_errors_are_not_context_overflows(status: int, message: str) -> None:
    assert not is_context_overflow(error(status, message))
