"""`temperature: null` and `max_new_tokens: null` leave the choice to the API."""

from __future__ import annotations

import json

import pytest

from asyncinfer import GenerationParams, InferenceConfig, ModelParams
from asyncinfer.control.rate_limits import estimated_demand
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.engines.local.answer import answer_limit
from asyncinfer.engines.local.temperature import effective_temperature
from asyncinfer.engines.settings import unsupported
from asyncinfer.providers.catalog import CATALOG
from tests.fakes import question

FREE = GenerationParams(max_new_tokens=None, temperature=None)
FIELDS = {"temperature", "max_tokens", "max_completion_tokens", "maxOutputTokens", "maxTokens"}


def keys(data: object) -> set[str]:
    if isinstance(data, dict):
        return set(data).union(*map(keys, data.values()))
    return set[str]().union(*map(keys, data)) if isinstance(data, list) else set()


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("model", ["m", "claude-opus-4-1", "claude-3-haiku-20240307"])
def test_null_is_not_sent(name: str, model: str) -> None:
    dialect = CATALOG[name].dialect
    request = dialect.encoder_for(EncoderSettings("http://localhost/v1", ModelParams(model), FREE, None, 1.0))
    body = request(question("Hello?")).body
    sent = json.loads(body or b"")
    required = {"max_tokens"} if name == "ANTHROPIC" else set[str]()
    assert keys(sent) & FIELDS == required
    assert b"null" not in (body or b"")


@pytest.mark.parametrize(("model", "limit"), [("claude-3-haiku-20240307", 4096), ("claude-sonnet-4-5", 8192)])
def test_anthropic_requires_a_limit_so_the_models_limit_is_sent(model: str, limit: int) -> None:
    dialect = CATALOG["ANTHROPIC"].dialect
    request = dialect.encoder_for(EncoderSettings("http://localhost/v1", ModelParams(model), FREE, None, 1.0))
    assert json.loads(request(question("Hello?")).body or b"")["max_tokens"] == limit


@pytest.mark.parametrize("model", ["o3", "gpt-5"])
def test_null_that_a_model_refuses_is_not_reported_as_dropped(model: str) -> None:
    settings = EncoderSettings("http://localhost/v1", ModelParams(model), FREE, None, 1.0)
    assert CATALOG["OPENAI"].dialect.encoder_for(settings).dropped == frozenset()


def test_local_models_use_the_whole_context_and_temperature_1() -> None:
    assert answer_limit(FREE, 77) == 77
    assert answer_limit(GenerationParams(8), 77) == 8
    assert effective_temperature(None) == 1.0


def test_tokens_of_an_unlimited_answer_are_estimated() -> None:
    assert estimated_demand(question("Hello?"), FREE).output_tokens == 1024


def test_null_in_a_file_is_accepted_and_overrides_the_engine() -> None:
    config = InferenceConfig.from_str("generation: {temperature: null, max_new_tokens: null}")
    assert (config.generation.temperature, config.generation.max_new_tokens) == (None, None)
    assert config.generation.model_fields_set == {"temperature", "max_new_tokens"}


def test_null_is_never_an_unsupported_parameter() -> None:
    assert unsupported(FREE, ()) == frozenset()
