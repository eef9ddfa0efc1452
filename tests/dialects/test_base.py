"""Every dialect refuses values that JSON cannot represent, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    GenerationParams,
    GuidedDecodingParams,
    InferenceErrorType,
    ModelParams,
    RequestError,
)
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect, Encoder, EncoderSettings
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.openai.dialect import openai_chat

DIALECTS = {
    "anthropic": ANTHROPIC_MESSAGES,
    "bedrock": BEDROCK_CONVERSE,
    "gemini": GEMINI,
    "openai": openai_chat(),
    "vertex": VERTEX,
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def encoder(dialect: Dialect, **generation: Any) -> Encoder:
    url = "https://api.example/v1/openai/chat/completions"
    return dialect.encoder_for(EncoderSettings(url, ModelParams(model_name="m"), GenerationParams(**generation)))


NO_JSON = {
    "an object": object(),
    "half a character": "\ud800",
    "bytes": b"\xff",
    "no number": float("nan"),
    "no end": float("-inf"),
    "too many levels": deep(3000),
}


@every_dialect
@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON.keys())
def test_setting_that_json_cannot_represent_is_named(value: Any, dialect: Dialect) -> None:
    with pytest.raises(ConfigError, match=r"^generation\.extra_body: cannot be written as JSON"):
        encoder(dialect, extra_body={"x": [value]})


@every_dialect
def test_schema_that_json_cannot_represent_is_named(dialect: Dialect) -> None:
    with pytest.raises(ConfigError, match=r"^generation\.guided_decoding\.json: cannot be written as JSON"):
        encoder(dialect, guided_decoding=GuidedDecodingParams(json={"default": float("nan")}))


@every_dialect
@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON.keys())
def test_row_that_json_cannot_represent_is_refused(value: Any, dialect: Dialect) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": value}}}
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": "Hello!"}], "tools": [tool]})
    with pytest.raises(RequestError, match="cannot be written as JSON|part of itself") as caught:
        encoder(dialect)(conversation)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


@pytest.mark.parametrize(
    "dialect", [ANTHROPIC_MESSAGES, BEDROCK_CONVERSE, GEMINI], ids=["anthropic", "bedrock", "gemini"]
)
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        r'"\ud800"',
        "[" * 300 + "]" * 300,
        "[" * 60000 + "]" * 60000,
        "1" * 5000,
    ],
    ids=lambda value: value[:10],
)
def test_arguments_that_json_cannot_represent_are_refused_with_the_name_of_the_call(
    value: str, dialect: Dialect
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": f'{{"x": {value}}}'}}
    conversation = Conversation.from_dict({"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]})
    with pytest.raises(RequestError, match="^function 'weather': its arguments") as caught:
        encoder(dialect, **({"seed": 1} if dialect is GEMINI else {}))(conversation)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


@every_dialect
def test_text_nan_and_infinity_is_sent_as_text(dialect: Dialect) -> None:
    conversation = Conversation.from_dict({"messages": [{"role": "user", "content": "NaN, Infinity"}]})
    assert b"NaN, Infinity" in encoder(dialect, extra_body={"x": "NaN"})(conversation).body
