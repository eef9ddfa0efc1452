"""Serialised chat models."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps, load

from asyncinfer import (
    AnthropicInferenceEngine,
    GenerationParams,
    LlamaCppInferenceEngine,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.fakes import FakeEngine
from tests.tiny_gguf import text_model

pytestmark = pytest.mark.filterwarnings("ignore:The function `load` is in beta")


def loaded(dump: dict[str, Any], **secrets: str) -> AsyncInferChatModel:
    return load(dump, allowed_objects=[AsyncInferChatModel], valid_namespaces=["asyncinfer"], secrets_map=secrets)


def openai(**remote: Any) -> OpenAIInferenceEngine:
    generation = GenerationParams(temperature=0.5, stop_strings=["x"])
    return OpenAIInferenceEngine(
        ModelParams(model_name="gpt-5-mini"), generation_params=generation, remote_params=RemoteParams(**remote)
    )


def test_loaded_model_is_equal() -> None:
    model = AsyncInferChatModel(engine=openai(num_workers=7), max_tokens=5, stop=["y"], model_kwargs={"user": "u"})
    again = loaded(dumpd(model))
    assert again.asdict() == model.asdict()
    assert type(again.engine) is OpenAIInferenceEngine
    assert again.engine.settings == model.engine.settings
    assert (again.max_tokens, again.stop, again.model_kwargs) == (5, ["y"], {"user": "u"})


@pytest.mark.parametrize("of_engine", [True, False])
def test_key_is_a_secret_in_the_dump(of_engine: bool) -> None:
    if of_engine:
        model = AsyncInferChatModel(engine=openai(api_key="sk-secret"))
    else:
        model = AsyncInferChatModel(engine=openai(), api_key="sk-secret")
    dump = dumps(model)
    assert "sk-secret" not in dump
    assert json.loads(dump)["kwargs"]["api_key"] == {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}
    again = loaded(json.loads(dump), OPENAI_API_KEY="sk-other")
    assert again.api_key is not None
    assert again.api_key.get_secret_value() == "sk-other"


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (
            AnthropicInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_key="k")),
            "ANTHROPIC_API_KEY",
        ),
        (openai(api_key="k", api_key_env_varname="TEAM_KEY"), "TEAM_KEY"),
        (
            RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_key="k")),
            "ASYNCINFER_API_KEY",
        ),
    ],
)
def test_secret_has_the_name_of_the_environment_variable(engine: BaseInferenceEngine, name: str) -> None:
    assert AsyncInferChatModel(engine=engine).lc_secrets == {"api_key": name}


def test_engine_that_reads_its_key_from_the_environment_has_no_secret_in_the_dump() -> None:
    assert "api_key" not in dumpd(AsyncInferChatModel(engine=openai()))["kwargs"]


def test_engine_in_this_process_is_built_again(tmp_path: Any) -> None:
    path = tmp_path / "model.gguf"
    text_model(path)
    model = AsyncInferChatModel(engine=LlamaCppInferenceEngine(ModelParams(model_name=str(path))))
    again = loaded(dumpd(model))
    assert type(again.engine) is LlamaCppInferenceEngine
    assert again.model_name == str(path)


@pytest.mark.parametrize(
    "engine",
    [
        FakeEngine(),
        openai(headers={"X-Auth": "secret"}),
        openai(api_url="https://user:secret@example.com/v1"),
        openai(endpoints=[{"api_key": "secret"}]),
    ],
    ids=["unregistered class", "secret header", "credentials in the URL", "key of an endpoint"],
)
def test_model_that_json_cannot_describe_is_not_serialisable(engine: BaseInferenceEngine) -> None:
    dump = dumpd(AsyncInferChatModel(engine=engine))
    assert dump["type"] == "not_implemented"
    assert "secret" not in json.dumps(dump)
    with pytest.raises(NotImplementedError):
        loaded(dump)


async def test_model_over_a_session_is_not_serialisable() -> None:
    async with aiohttp.ClientSession() as session:
        engine = OpenAIInferenceEngine(ModelParams(model_name="m"), session=session)
        assert dumpd(AsyncInferChatModel(engine=engine))["type"] == "not_implemented"


def test_engine_may_be_given_by_its_description() -> None:
    description = {"engine": "OPENAI", "model": {"model_name": "gpt-5-mini"}, "generation": {"temperature": 0.5}}
    engine = AsyncInferChatModel(engine=description).engine
    assert type(engine) is OpenAIInferenceEngine
    assert engine.settings.generation.temperature == 0.5


@pytest.mark.parametrize("serialisable", [True, False])
async def test_models_with_different_engines_share_no_cached_answers(serialisable: bool) -> None:
    cache = InMemoryCache()

    def engine(number: int) -> BaseInferenceEngine:
        params = RemoteParams(api_url=f"https://{number}.example.com/v1") if serialisable else None
        return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params) if params else FakeEngine()

    keys = [AsyncInferChatModel(engine=engine(number), cache=cache)._get_llm_string() for number in (1, 2)]
    assert keys[0] != keys[1]


async def test_cached_answer_needs_no_request() -> None:
    engine = FakeEngine()
    model = AsyncInferChatModel(engine=engine, cache=InMemoryCache())
    first, second = [await model.ainvoke("Hi") for _ in range(2)]
    assert first.text == second.text
    await model.ainvoke("Hi", temperature=1)
    assert engine.asked["Hi"] == 2
