"""What is peculiar to Mistral, Groq and xAI, besides their requests."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer import InferenceEngineType as Engine
from asyncinfer.control.limit_headers import limits_in
from asyncinfer.dialects.tools import short_id
from asyncinfer.engines.registry import build_engine
from asyncinfer.types.limits import LimitObservation
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder


def engine_at(api: Recorder, name: Engine, model: str = "m", **generation: Any) -> RemoteInferenceEngine:
    remote = RemoteParams.model_validate({"api_url": api.url, "api_key": "sk-1", "max_retries": 0})
    config = InferenceConfig(
        engine=name,
        model=ModelParams(model_name=model),
        generation=GenerationParams(**generation),
        remote_params=remote,
    )
    engine = build_engine(config)
    assert isinstance(engine, RemoteInferenceEngine)
    return engine


PENALTIES: dict[str, Any] = {"frequency_penalty": 0.5, "presence_penalty": 0.5, "stop_strings": ["END"], "seed": 7}


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("grok-4.7", {"seed": 7}),
        ("grok-code-fast-1", {"seed": 7}),
        ("grok-4-fast-non-reasoning", {"seed": 7}),  # redirected to Grok 4.3, which reasons
        (
            "grok-4.20-beta-non-reasoning",
            {"seed": 7, "frequency_penalty": 0.5, "presence_penalty": 0.5, "stop": ["END"]},
        ),
        (
            "grok-4.20-non-reasoning",
            {"seed": 7, "frequency_penalty": 0.5, "presence_penalty": 0.5, "stop": ["END"]},
        ),
    ],
)
async def test_reasoning_models_of_xai_get_no_penalties_and_no_stops(
    model: str, sent: dict[str, Any], api: Recorder
) -> None:
    async with engine_at(api, Engine.XAI, model, **PENALTIES) as engine:
        answered = await engine.agenerate(question("Hello?"))
    names = ("seed", "frequency_penalty", "presence_penalty", "stop")
    assert {name: api.sent[0].body[name] for name in names if name in api.sent[0].body} == sent
    dropped = [] if len(sent) > 1 else ["frequency_penalty", "presence_penalty", "stop_strings"]
    assert answered.metadata.get("dropped_parameters", []) == dropped


@pytest.mark.parametrize(
    ("model", "is_sent"),
    [
        ("grok-4.7", True),
        ("grok-4.20-reasoning", False),
        ("grok-4.20-0309-non-reasoning", False),
    ],
)
async def test_models_of_xai_that_refuse_an_effort_get_none(model: str, is_sent: bool, api: Recorder) -> None:
    async with engine_at(api, Engine.XAI, model, reasoning_effort="low") as engine:
        answered = await engine.agenerate(question("Hello?"))
    assert api.sent[0].body.get("reasoning_effort") == ("low" if is_sent else None)
    assert answered.metadata.get("dropped_parameters", []) == ([] if is_sent else ["reasoning_effort"])


async def test_mistral_is_not_asked_for_the_usage_of_a_stream(api: Recorder) -> None:
    """Its last event has the usage anyway."""
    async with (
        engine_at(api, Engine.MISTRAL) as engine,
        engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas,
    ):
        _ = [delta async for delta in deltas]
    assert (api.sent[0].body["stream"], "stream_options" in api.sent[0].body) == (True, False)


@pytest.mark.parametrize("name", [Engine.GROQ, Engine.MISTRAL])
async def test_name_that_is_not_sent_is_reported(name: Engine, api: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    chat = Conversation.from_dict({"messages": [{"role": "user", "content": "Hi.", "name": "ann"}]})
    async with engine_at(api, name) as engine:
        await engine.agenerate(chat)
    assert "the key 'name' of a message of the role user is not sent" in caplog.text


def test_short_ids_of_different_calls_differ() -> None:
    ids = {short_id(f"call_{number}", 9) for number in range(10_000)}
    assert len(ids) == 10_000
    assert {(len(one), one.isalnum()) for one in ids} == {(9, True)}


def test_limits_per_minute_of_mistral_are_read() -> None:
    headers = {
        "x-ratelimit-limit-req-minute": "50",
        "x-ratelimit-remaining-req-minute": "49",
        "x-ratelimit-limit-tokens-minute": "50000",
        "x-ratelimit-remaining-tokens-minute": "47300",
        "x-ratelimit-tokens-query-cost": "1300",
    }
    assert limits_in(headers) == {
        "requests": LimitObservation(50, 49, 60.0),
        "tokens": LimitObservation(50_000, 47_300, 60.0),
    }


def test_limit_of_zero_is_no_limit_per_minute() -> None:
    """Mistral sends it if a plan does not include a model."""
    assert limits_in({"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"}) == {}
