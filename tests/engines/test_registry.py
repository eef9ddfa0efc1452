"""Engines by name: ours, a user's own provider, and what other packages bring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.metadata import EntryPoint

import pytest

from asyncinfer import (
    ConfigError,
    InferenceConfig,
    RemoteInferenceEngine,
    build_engine,
    register_engine,
    register_provider,
)
from asyncinfer.config import engine_type
from asyncinfer.engines import registry
from asyncinfer.providers import Key, Provider, Quirks, openai_chat
from asyncinfer.providers.catalog import CATALOG
from tests.fakes import FakeEngine, question
from tests.recorder import Recorder


@pytest.fixture(autouse=True)
def forgets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is known to that test only."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(engine_type, "_added", set())
    before = dict(CATALOG)
    yield
    CATALOG.clear()
    CATALOG.update(before)


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def config(name: str, **remote: str) -> InferenceConfig:
    settings = {"engine": name, "model": {"model_name": "m"}, "remote_params": remote or None}
    return InferenceConfig.model_validate(settings)


class TestAProviderOfOnesOwn:
    async def test_is_one_row(self, api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAST_KEY", "sk-1")
        dialect = openai_chat(Quirks(token_limit="max_completion_tokens"))
        kind = register_provider(Provider("Fast", f"{api.url}/chat/completions", Key("FAST_KEY"), dialect))
        engine = build_engine(config("fast"))
        assert type(engine) is kind
        assert isinstance(engine, RemoteInferenceEngine)
        async with engine:
            await engine.ainfer([question("Hello?")])
        [sent] = api.sent
        assert sent.headers["Authorization"] == "Bearer sk-1"
        assert "max_completion_tokens" in sent.body

    def test_takes_no_name_that_is_taken(self) -> None:
        with pytest.raises(ConfigError, match="OPENAI: there is an engine of that name"):
            register_provider(Provider("openai", "http://localhost/v1"))
        register_provider(Provider("FAST", "http://localhost/v1"))
        for taken in ("FAST", "fast", "Gemini", "google-gemini"):
            with pytest.raises(ConfigError, match="name"):
                register_provider(Provider(taken, "http://localhost/v1"))
        with pytest.raises(ConfigError, match="there is an engine of that name"):
            register_engine("OPENAI", FakeEngine)

    @pytest.mark.parametrize("name", ["", " x", "a-b", "1"])
    def test_has_a_name_that_a_configuration_can_hold(self, name: str) -> None:
        with pytest.raises(ConfigError, match="letters, digits and underscores"):
            register_provider(Provider(name, "http://localhost/v1"))

    def test_is_named_where_a_name_is_wrong(self) -> None:
        register_provider(Provider("FAST", "http://localhost/v1"))
        with pytest.raises(ValueError, match="did you mean FAST?"):
            config("FASST")


def test_a_package_may_bring_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    brought = EntryPoint("Echo", f"{FakeEngine.__module__}:FakeEngine", engine_type.ENTRY_POINTS)
    for module in (registry, engine_type):
        monkeypatch.setattr(module, "entry_points", lambda group: [brought] if group == brought.group else [])
    registry_name = config("echo").engine
    assert registry_name == "ECHO"
    assert registry.engine_class(registry_name) is FakeEngine


def test_an_engine_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {name: entry for name, entry in registry.ENGINES.items() if name != "VLLM"}
    monkeypatch.setattr(registry, "ENGINES", fewer)
    with pytest.raises(
        ConfigError, match=r"engine: VLLM is not available in this version; it has: LLAMACPP, NATIVE, REMOTE"
    ):
        build_engine(config("VLLM"))
