"""EngineSpec: an engine is built again from its recipe, also in another process."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from asyncinfer import (
    BaseInferenceEngine,
    BedrockInferenceEngine,
    ConfigError,
    EngineSpec,
    GenerationParams,
    GoogleGeminiInferenceEngine,
    GoogleVertexInferenceEngine,
    GuidedDecodingParams,
    InferenceConfig,
    LlamaCppInferenceEngine,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    register_engine,
    register_provider,
)
from asyncinfer.config import engine_type
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.engines import registry
from asyncinfer.providers import Key, Provider, Quirks, openai_chat
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.scratch.keys import RowKeys
from tests.fakes import question

MODEL = ModelParams(model_name="m")
REMOTE = RemoteParams(
    api_url="https://u:pass-1@example.com/v1", api_key="sk-secret", num_workers=3, headers={"X-Team": "header-1"}
)
GENERATION = GenerationParams(temperature=0.5, guided_decoding=GuidedDecodingParams(choice=["a", "b"]))

GIVEN: dict[str, Any] = {"generation_params": GENERATION, "remote_params": REMOTE}


class MyEngine(OpenAIInferenceEngine):
    """An engine of a user's module."""

    engine_type = "MINE"

    @classmethod
    def provider(cls) -> Provider:
        return CATALOG["OPENAI"]


class Router(OpenAIInferenceEngine):
    """A subclass that keeps the name of its base class."""


@pytest.fixture(autouse=True)
def registered_names_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(engine_type, "_added", set())


def identity(engine: BaseInferenceEngine) -> tuple[Any, ...]:
    """What two equal engines have in common."""
    remote = engine._remote_params
    settings = engine._model_params, engine._generation_params, remote, (), engine.unhashed_model_kwargs
    key = RowKeys(str(engine.engine_type), *settings)(question("Hello?"))
    kind = type(engine).__qualname__
    return kind, engine.get_supported_params(), engine._display_name(remote or RemoteParams()), key, remote


def build_and_identify(spec: EngineSpec, results: Any) -> None:
    """Run in the other process."""
    results.put(identity(spec.build()))


def in_another_process(spec: EngineSpec) -> tuple[Any, ...]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=build_and_identify, args=(spec, results))
    process.start()
    try:
        return results.get(timeout=60)
    finally:
        process.join(60)


def registered(provider: Provider) -> BaseInferenceEngine:
    return register_provider(provider)(MODEL)


def registered_class() -> BaseInferenceEngine:
    register_engine("MINE", MyEngine)
    return MyEngine(MODEL, **GIVEN)


FAST = Provider("FAST", "https://fast.example/v1/chat/completions", Key("FAST_KEY"), openai_chat(Quirks(user=None)))
CLAUDE = Provider("CLAUDE_PROXY", "https://proxy.example/v1/messages", dialect=ANTHROPIC_MESSAGES)
LOCAL = ModelParams(model_name="owner/name", model_kwargs={"filename": "m.gguf"})
ENGINES: dict[str, Callable[[], BaseInferenceEngine]] = {
    "a provider of the catalog": lambda: OpenAIInferenceEngine(MODEL, **GIVEN),
    "default parameters": lambda: OpenAIInferenceEngine(MODEL),
    "any API": lambda: RemoteInferenceEngine(MODEL, **GIVEN),
    "project and region": lambda: GoogleVertexInferenceEngine(MODEL, project_id="p", region="r"),
    "a local model": lambda: LlamaCppInferenceEngine(LOCAL),
    "a registered provider": lambda: registered(FAST),
    "a registered provider of another dialect": lambda: registered(CLAUDE),
    "a registered engine": registered_class,
    "a subclass that is not registered": lambda: Router(MODEL, **GIVEN),
}


@pytest.mark.parametrize("name", ENGINES)
def test_built_engine_is_equal(name: str) -> None:
    engine = ENGINES[name]()
    spec = pickle.loads(pickle.dumps(engine.spec))
    assert spec == engine.spec
    built = spec.build()
    assert type(built) is type(engine)
    assert identity(built) == identity(engine)
    assert built.spec == spec


def test_engine_is_built_in_a_spawned_process() -> None:
    engine = ENGINES["a registered provider"]()
    assert in_another_process(engine.spec) == identity(engine)


def test_unregistered_subclass_is_built_in_a_spawned_process() -> None:
    engine = ENGINES["a subclass that is not registered"]()
    assert in_another_process(engine.spec) == identity(engine)


def test_provider_is_not_registered_by_build() -> None:
    provider = Provider("ONLY_HERE", "https://fast.example/v1/chat/completions")
    spec = EngineSpec("ONLY_HERE", InferenceConfig(model=MODEL), provider=provider)
    built, again = spec.build(), spec.build()
    assert type(built).__name__ == "OnlyHereInferenceEngine"
    assert type(built) is type(again)
    assert registry.engine_class("ONLY_HERE") is None


def test_spec_is_made_from_a_configuration() -> None:
    built = EngineSpec("BEDROCK", InferenceConfig(model=MODEL, generation=GENERATION)).build()
    assert type(built) is BedrockInferenceEngine
    assert built.spec.config.generation == GENERATION


@pytest.mark.parametrize("name", ["GOOGLE_GEMINI", "GEMINI", "gemini"])
def test_every_spelling_of_a_name_is_accepted(name: str) -> None:
    assert type(EngineSpec(name, InferenceConfig(model=MODEL)).build()) is GoogleGeminiInferenceEngine


def test_unknown_engine_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="engine: should be one of NATIVE, VLLM"):
        EngineSpec("NOTHING", InferenceConfig(model=MODEL)).build()


def test_repr_shows_no_secrets() -> None:
    for make in ENGINES.values():
        shown = repr(make().spec)
        assert "sk-secret" not in shown
        assert "pass-1" not in shown
        assert "header-1" not in shown
    provider = Provider("HIDDEN", "https://u:pass-1@example.com/v1/chat/completions?api_key=sk-secret")
    spec = register_provider(provider)(MODEL).spec
    assert "provider='HIDDEN'" in repr(spec)
    for text in (repr(spec), repr(provider), repr(spec.config.remote_params)):
        assert "pass-1" not in text
        assert "sk-secret" not in text


def test_pickle_contains_the_key() -> None:
    spec = pickle.loads(pickle.dumps(OpenAIInferenceEngine(MODEL, remote_params=REMOTE).spec))
    assert spec.config.remote_params.api_key.get_secret_value() == "sk-secret"
    assert "pass-1" in spec.config.remote_params.api_url


async def test_engine_with_a_session_has_no_spec() -> None:
    async with aiohttp.ClientSession() as session, OpenAIInferenceEngine(MODEL, session=session) as engine:
        with pytest.raises(ConfigError, match="session: an aiohttp.ClientSession cannot be used in another process"):
            _ = engine.spec


class TestPartThatCannotBePickled:
    """A ConfigError names it. Its value is not shown."""

    def error_of(self, engine: BaseInferenceEngine) -> str:
        with pytest.raises(ConfigError, match="this engine cannot be built in another process") as caught:
            pickle.dumps(engine.spec)
        assert caught.value.__context__ is None
        return str(caught.value)

    def test_option_of_the_model_is_named(self) -> None:
        options = {"hooks": [1, lambda: 0], "token": "sk-secret"}
        error = self.error_of(OpenAIInferenceEngine(ModelParams(model_name="m", model_kwargs=options)))
        assert "\n  model.model_kwargs.hooks.1: a value of type function cannot be pickled" in error
        assert "sk-secret" not in error

    def test_function_of_a_provider_is_named(self) -> None:
        provider = Provider("LOCAL_FUNCTION", "https://example.com", url_transform=lambda url: url)
        error = self.error_of(register_provider(provider)(MODEL))
        assert "\n  provider.url_transform: a value of type function cannot be pickled" in error

    def test_class_inside_a_function_is_named(self) -> None:
        class Inner(OpenAIInferenceEngine):
            pass

        error = self.error_of(Inner(MODEL))
        assert "engine_class: a value of type" in error
        assert "Inner cannot be pickled" in error


@pytest.mark.parametrize("provider", CATALOG.values(), ids=[name.name for name in CATALOG])
def test_every_provider_of_the_catalog_can_be_pickled(provider: Provider) -> None:
    assert pickle.loads(pickle.dumps(provider)) == provider
