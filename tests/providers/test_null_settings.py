"""`temperature: null` and `max_new_tokens: null` mean the default of the provider: the fields are not sent."""

from __future__ import annotations

import pytest

from asyncinfer import Conversation, GenerationParams, InferenceConfig, ModelParams
from asyncinfer.control.rate_limits import estimate
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.engines.local.request import answer_limit
from asyncinfer.engines.local.temperature import effective_temperature
from asyncinfer.engines.settings import unsupported
from asyncinfer.providers.catalog import CATALOG

NULLS = GenerationParams(temperature=None, max_new_tokens=None)
QUESTION = Conversation.from_dict({"messages": [{"role": "user", "content": "hi"}]})


def body(name: str, generation: GenerationParams) -> str:
    provider = CATALOG[name]
    url, model = provider.url or "http://localhost", ModelParams(model_name="m")
    request = provider.dialect.encoder(EncoderSettings(url, model, generation))(QUESTION)
    return bytes(request.body or b"").decode()


@pytest.mark.parametrize("name", list(CATALOG))
def test_fields_are_not_sent(name: str) -> None:
    assert "emperature" in body(name, GenerationParams())
    sent = body(name, NULLS)
    assert "emperature" not in sent
    assert "null" not in sent
    if name != "ANTHROPIC":  # Its API requires the limit.
        assert "okens" not in sent
    else:
        assert '"max_tokens":4096' in sent


def test_null_in_a_file_is_accepted_and_overrides_the_engine() -> None:
    config = InferenceConfig.from_str("generation: {temperature: null, max_new_tokens: null}")
    assert (config.generation.temperature, config.generation.max_new_tokens) == (None, None)
    assert config.generation.model_fields_set == {"temperature", "max_new_tokens"}


def test_null_is_never_an_unsupported_parameter() -> None:
    assert unsupported(NULLS, ()) == frozenset()


def test_local_models_use_the_context_and_take_the_likeliest_token() -> None:
    assert answer_limit(NULLS, 77) == 77
    assert answer_limit(GenerationParams(max_new_tokens=5), 77) == 5
    assert effective_temperature(None) == 0.0


def test_an_answer_without_a_limit_has_an_estimate() -> None:
    assert estimate(QUESTION, NULLS).output_tokens > 0
