"""Where each API gets `n`, `top_k`, `repetition_penalty` and `reasoning_effort`, and which of them it does not have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.conversation import Conversation

GIVEN = {"n": 2, "top_k": 5, "repetition_penalty": 1.5, "reasoning_effort": "low"}
ALL = dict(GIVEN)
NO_TOP_K = {"n": 2, "reasoning_effort": "low"}
FIELDS: dict[str, dict[str, Any]] = {
    "REMOTE": ALL,
    "REMOTE_VLLM": ALL,
    "SGLANG": ALL,
    "ANTHROPIC": {"top_k": 5, "output_config": {"effort": "low"}},
    "OPENAI": NO_TOP_K,
    "DEEPSEEK": {"reasoning_effort": "low"},
    "FIREWORKS": ALL,
    "PARASAIL": NO_TOP_K,
    "TOGETHER": ALL,
    "OPENROUTER": {"top_k": 5, "repetition_penalty": 1.5, "reasoning_effort": "low"},
    "SAMBANOVA": ALL,
    "CEREBRAS": NO_TOP_K,
    "HUGGING_FACE_ROUTER": {"n": 2},
    "AZURE_OPENAI": NO_TOP_K,
    "MISTRAL": ALL,
    "GROQ": {"reasoning_effort": "low"},
    "XAI": NO_TOP_K,
    "NEBIUS": NO_TOP_K,
    "OLLAMA": {"reasoning_effort": "low"},
    "LM_STUDIO": {"top_k": 5, "repeat_penalty": 1.5},
    "REMOTE_LLAMACPP": {
        "n": 2,
        "top_k": 5,
        "repeat_penalty": 1.5,
        "chat_template_kwargs": {"reasoning_effort": "low"},
    },
    "BEDROCK": {},
    "GEMINI": {"generationConfig": {"topK": 5, "candidateCount": 2, "thinkingConfig": {"thinkingLevel": "LOW"}}},
    "GOOGLE_VERTEX": NO_TOP_K,
}
# The fields of requests that say more than these parameters.
_COMMON = frozenset({"maxOutputTokens", "temperature"})


def body(name: str, model: str = "m", **generation: Any) -> dict[str, Any]:
    provider = CATALOG[name]
    url = provider.url or "http://localhost/v1/chat/completions"
    settings = EncoderSettings(url, ModelParams(model_name=model), GenerationParams.model_validate(generation))
    return json.loads(provider.dialect.encoder_for(settings)(Conversation.from_dict({"messages": [_ASKED]})).body)


_ASKED = {"role": "user", "content": "Hi"}


def added(name: str, model: str = "m", **generation: Any) -> dict[str, Any]:
    """The fields that these parameters add to a request."""
    before = body(name, model)
    found = {field: value for field, value in body(name, model, **generation).items() if before.get(field) != value}
    if "generationConfig" in found:
        config = {field: value for field, value in found["generationConfig"].items() if field not in _COMMON}
        return {"generationConfig": config}
    return found


@pytest.mark.parametrize("name", CATALOG)
def test_parameters_have_the_fields_of_the_api(name: str) -> None:
    assert added(name, **GIVEN) == FIELDS[name]


@pytest.mark.parametrize("name", CATALOG)
def test_parameters_that_an_api_lacks_are_reported(name: str) -> None:
    supported = CATALOG[name].dialect.supported
    sent = json.dumps(FIELDS[name]).lower().replace("repeat_penalty", "repetition_penalty")
    words = {"n": '"n"', "top_k": "top_k", "repetition_penalty": "repetition_penalty", "reasoning_effort": "effort"}
    if name in ("BEDROCK", "GEMINI"):
        return  # The model decides, or the fields have other names.
    assert {parameter for parameter, word in words.items() if word in sent} == supported & GIVEN.keys()


@pytest.mark.parametrize("name", CATALOG)
def test_defaults_add_nothing(name: str) -> None:
    assert added(name, n=1, top_k=None, repetition_penalty=1.0, reasoning_effort=None) == {}


@pytest.mark.parametrize(("name", "value"), [("SGLANG", -1), ("REMOTE_VLLM", 0), ("TOGETHER", 0), ("MISTRAL", 0)])
@pytest.mark.parametrize("off", [0, -1])
def test_no_limit_of_top_k_is_written_as_the_api_reads_it(name: str, value: int, off: int) -> None:
    assert added(name, top_k=off) == {"top_k": value}


@pytest.mark.parametrize("name", ["ANTHROPIC", "GEMINI"])
def test_no_limit_of_top_k_is_not_sent_to_apis_without_one(name: str) -> None:
    assert added(name, top_k=0) in ({}, {"generationConfig": {}}) or "topK" not in json.dumps(body(name, top_k=0))


@pytest.mark.parametrize(
    ("name", "model", "generation", "expected"),
    [
        ("DEEPSEEK", "deepseek-chat", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("OPENAI", "gpt-5", {"reasoning_effort": "minimal"}, {"reasoning_effort": "minimal"}),
        ("ANTHROPIC", "claude-sonnet-4-5", {"top_k": 5}, {"top_k": 5}),
        ("ANTHROPIC", "claude-opus-4-8", {"top_k": 5}, {}),
        ("BEDROCK", "anthropic.claude-sonnet-4-5-v1:0", {"top_k": 5}, {"top_k": 5}),
        ("BEDROCK", "amazon.nova-pro-v1:0", {"top_k": 5}, {"inferenceConfig": {"topK": 5}}),
        ("BEDROCK", "openai.gpt-oss-20b-1:0", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            "BEDROCK",
            "amazon.nova-2-lite-v1:0",
            {"reasoning_effort": "high"},
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        ("BEDROCK", "meta.llama3-1-8b-instruct-v1:0", {"top_k": 5, "reasoning_effort": "low"}, {}),
    ],
)
def test_model_decides_about_the_fields(
    name: str, model: str, generation: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = added(name, model, **generation)
    assert found == ({"additionalModelRequestFields": expected} if name == "BEDROCK" and expected else expected)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576}),
        ("gemini-3.5-flash", "high", {"thinkingLevel": "HIGH"}),
    ],
)
def test_effort_of_gemini_is_a_level_or_a_number_of_tokens(model: str, effort: str, expected: dict[str, Any]) -> None:
    found = body("GEMINI", model, reasoning_effort=effort, seed=1)
    assert found["generationConfig"]["thinkingConfig"] == expected
    if effort != "none" or "2.5" in model:
        assert body("GEMINI", model, reasoning_effort=effort)["reasoning_effort"] == effort


@pytest.mark.parametrize(("model", "effort"), [("gemini-2.5-flash", "xhigh"), ("gemini-3.5-flash", "none")])
def test_effort_that_a_gemini_model_lacks_is_an_error(model: str, effort: str) -> None:
    with pytest.raises(ConfigError, match="generation.reasoning_effort: this model accepts"):
        body("GEMINI", model, reasoning_effort=effort, seed=1)


def test_unsupported_parameters_of_a_model_are_dropped() -> None:
    for name, model in (("ANTHROPIC", "claude-opus-4-8"), ("BEDROCK", "meta.llama3-1-8b-instruct-v1:0")):
        settings = EncoderSettings("http://h", ModelParams(model_name=model), GenerationParams(top_k=5))
        assert CATALOG[name].dialect.encoder_for(settings).dropped == {"top_k"}


def test_responses_api_has_the_effort_in_an_object_of_its_own() -> None:
    provider = CATALOG["OPENAI"].with_responses()
    assert provider is not None
    generation = GenerationParams(reasoning_effort="low", extra_body={"reasoning": {"summary": "auto"}})
    settings = EncoderSettings("http://h", ModelParams(model_name="gpt-5"), generation)
    request = provider.dialect.encoder_for(settings)(Conversation.from_dict({"messages": [_ASKED]}))
    assert json.loads(request.body)["reasoning"] == {"effort": "low", "summary": "auto"}


def test_variable_of_the_chat_template_takes_precedence() -> None:
    model = ModelParams(model_name="m", chat_template_kwargs={"reasoning_effort": "high", "x": 1})
    settings = EncoderSettings("http://h", model, GenerationParams(reasoning_effort="low"))
    request = CATALOG["REMOTE_LLAMACPP"].dialect.encoder_for(settings)(Conversation.from_dict({"messages": [_ASKED]}))
    assert json.loads(request.body)["chat_template_kwargs"] == {"reasoning_effort": "high", "x": 1}
