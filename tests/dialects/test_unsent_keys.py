"""A key of a conversation that an API has no place for leads to one warning of the engine."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from asyncinfer import (
    AnthropicInferenceEngine,
    BedrockInferenceEngine,
    Conversation,
    GenerationParams,
    GoogleGeminiInferenceEngine,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.dialects.base import EncoderSettings
from tests.dialects.conftest import KEY
from tests.recorder import Recorder

Json = dict[str, Any]

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
MARK = {"type": "ephemeral"}


def conversation(*messages: Json, **more: Any) -> Conversation:
    return Conversation.from_dict({"messages": [{"role": "user", "content": "Hi."}, *messages], **more})


def warnings_of(kind: type[RemoteInferenceEngine], given: Conversation, **generation: Any) -> list[str]:
    """The warnings of an encoder."""
    heard: list[str] = []
    settings = EncoderSettings(
        "http://api/v1/chat/completions",
        ModelParams(model_name="m"),
        GenerationParams(**generation),
        warn=heard.append,
    )
    kind.provider().dialect.encoder_for(settings)(given)
    return [text.removeprefix("the key ").partition(" is not sent")[0] for text in heard]


NATIVE: Json = {"extra_body": {"generationConfig": {}}}
CASES = [
    (AnthropicInferenceEngine, conversation({"role": "assistant", "content": "{", "prefix": True}), ["'prefix' of a message"]),
    (AnthropicInferenceEngine, conversation({"role": "user", "content": "a", "name": "ann"}), ["'name' of a message"]),
    (AnthropicInferenceEngine, conversation({"role": "user", "content": [PICTURE]}), ["'detail' of an image"]),
    (AnthropicInferenceEngine, conversation({"role": "user", "content": "a", "cache_control": MARK}), []),
    (AnthropicInferenceEngine, conversation(tools=[{"function": {"name": "f", "mood": 1}}]), ["'mood' of a tool"]),
    (AnthropicInferenceEngine, conversation({"role": "user", "content": [{"type": "text", "text": "a", "mood": 1}]}), ["'mood' of a text"]),
    (BedrockInferenceEngine, conversation({"role": "assistant", "content": "{", "partial": True}), ["'partial' of a message"]),
    (BedrockInferenceEngine, conversation({"role": "user", "content": [PICTURE | {"cache_control": MARK}]}), ["'detail' of an image"]),
    (BedrockInferenceEngine, conversation({"role": "user", "content": [{"type": "document_binary", "binary": "JVBERi0=", "filename": "a.pdf"}]}), []),
    (GoogleGeminiInferenceEngine, conversation({"role": "user", "content": "a", "cache_control": MARK}), ["'cache_control' of a message"]),
    (GoogleGeminiInferenceEngine, conversation({"role": "user", "content": [PICTURE], "name": "ann"}), []),
    (RemoteInferenceEngine, conversation({"role": "user", "content": [PICTURE], "name": "ann", "mood": 1}), []),
    (AnthropicInferenceEngine, conversation({"role": "tool", "name": "f", "tool_call_id": "c", "content": "1"}), []),
    (AnthropicInferenceEngine, conversation({"role": "assistant", "content": "a", "refusal": None, "annotations": [1], "reasoning_details": [{}]}), []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "keys"), CASES)
def test_key_without_a_place_is_warned_of(
    kind: type[RemoteInferenceEngine], given: Conversation, keys: list[str]
) -> None:
    assert warnings_of(kind, given) == keys


@pytest.mark.parametrize(
    ("message", "keys"),
    [
        ({"role": "user", "content": [PICTURE]}, []),
        ({"role": "user", "content": "a", "name": "ann"}, ["'name' of a message"]),
    ],
)
def test_gemini_s_own_api_has_no_names(message: Json, keys: list[str]) -> None:
    assert warnings_of(GoogleGeminiInferenceEngine, conversation(message), **NATIVE) == keys


async def test_engine_warns_once_of_each_key(api: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    given = [conversation({"role": "assistant", "content": "{", "prefix": True}) for _ in range(3)]
    remote = RemoteParams(api_url=api.url, api_key=KEY, max_retries=0)
    with caplog.at_level(logging.WARNING, "asyncinfer"):
        async with AnthropicInferenceEngine(
            ModelParams(model_name="claude-sonnet-4-5"), remote_params=remote
        ) as engine:
            await engine.ainfer(given)
            await engine.ainfer(given)
    warnings = [record.getMessage() for record in caplog.records if "has no field" in record.getMessage()]
    assert warnings == [
        "AnthropicInferenceEngine: the key 'prefix' of a message is not sent: this API has no field for it"
    ]


async def test_different_keys_in_each_row_do_not_fill_the_log(api: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    given = [conversation({"role": "user", "content": "a", f"key-{n}": 1}) for n in range(60)]
    remote = RemoteParams(api_url=api.url, api_key=KEY, max_retries=0)
    async with AnthropicInferenceEngine(ModelParams(model_name="claude-sonnet-4-5"), remote_params=remote) as engine:
        await engine.ainfer(given)
    assert sum("has no field" in record.getMessage() for record in caplog.records) == 50
