"""Engines by name: those of this package, registered providers and engines, and entry points."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from asyncinfer import (
    ConfigError,
    InferenceConfig,
    InferenceEngineType,
    RemoteInferenceEngine,
    build_engine,
    register_engine,
    register_provider,
)
from asyncinfer.config import engine_type
from asyncinfer.engines import hosted, registry
from asyncinfer.engines.registry import ENGINES, EngineEntry
from asyncinfer.providers import Key, Provider, Quirks, openai_chat
from asyncinfer.providers.catalog import CATALOG
from tests.fakes import FakeEngine, question
from tests.recorder import Recorder


@pytest.fixture(autouse=True)
def registered_names_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(engine_type, "_added", set())


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def config(name: str, **remote: str) -> InferenceConfig:
    settings = {"engine": name, "model": {"model_name": "m"}, "remote_params": remote or None}
    return InferenceConfig.model_validate(settings)


class TestRegisteredProvider:
    async def test_provider_needs_only_one_row(self, api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_used_name_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="OPENAI: there is an engine of that name"):
            register_provider(Provider("openai", "http://localhost/v1"))
        register_provider(Provider("FAST", "http://localhost/v1"))
        for taken in ("FAST", "fast", "Gemini", "google-gemini"):
            with pytest.raises(ConfigError, match="name"):
                register_provider(Provider(taken, "http://localhost/v1"))
        with pytest.raises(ConfigError, match="there is an engine of that name"):
            register_engine("OPENAI", FakeEngine)

    @pytest.mark.parametrize("name", ["", " x", "a-b", "1"])
    def test_invalid_name_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match="letters, digits and underscores"):
            register_provider(Provider(name, "http://localhost/v1"))

    def test_registered_name_is_suggested_for_a_misspelled_one(self) -> None:
        register_provider(Provider("FAST", "http://localhost/v1"))
        with pytest.raises(ValueError, match="did you mean FAST?"):
            config("FASST")

    def test_catalog_is_not_changed(self) -> None:
        before = dict(CATALOG)
        register_provider(Provider("FAST", "http://localhost/v1"))
        assert before == CATALOG

    def test_engine_class_is_named_after_the_provider(self) -> None:
        kind = register_provider(Provider("my_api", "http://localhost/v1"))
        assert (kind.__name__, kind.engine_type) == ("MyApiInferenceEngine", "MY_API")
        named = register_provider(Provider("FASTER", "http://localhost/v1", class_name="FastInferenceEngine"))
        assert named.__name__ == "FastInferenceEngine"


def test_every_engine_type_has_an_engine() -> None:
    assert ENGINES.keys() == set(InferenceEngineType)


@pytest.mark.parametrize("entry", ENGINES.values(), ids=[name.name for name in ENGINES])
def test_engine_class_has_the_name_of_its_entry(entry: EngineEntry) -> None:
    assert entry.load().engine_type == entry.name


def test_every_class_beside_the_catalog_has_a_row() -> None:
    classes = {kind.__name__ for kind in vars(hosted).values() if isinstance(kind, type) and is_remote(kind)}
    assert classes == {provider.class_name for provider in CATALOG.values()}


def is_remote(kind: type) -> bool:
    return issubclass(kind, RemoteInferenceEngine)


@pytest.mark.parametrize("entry", ENGINES.values(), ids=[name.name for name in ENGINES])
def test_extra_of_an_engine_exists_and_installs_what_it_requires(entry: EngineEntry) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert (entry.extra is None) == (entry.requires is None)
    if entry.extra is not None and entry.requires is not None:
        packages = {re.split(r"[\[<>= ]", line)[0] for line in project["optional-dependencies"][entry.extra]}
        installing = {
            "azure.identity": "azure-identity",
            "google.auth": "google-auth",
            "llama_cpp": "llama-cpp-python",
        }
        assert installing.get(entry.requires, entry.requires) in packages


def test_registry_loads_no_http_client() -> None:
    code = "import sys, asyncinfer.engines.registry; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_engine_is_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_point = EntryPoint("Echo", f"{FakeEngine.__module__}:FakeEngine", engine_type.ENTRY_POINTS)
    for module in (registry, engine_type):
        monkeypatch.setattr(module, "entry_points", lambda group: [entry_point] if group == entry_point.group else [])
    registry_name = config("echo").engine
    assert registry_name == "ECHO"
    assert registry.engine_class(registry_name) is FakeEngine


def test_error_of_a_missing_engine_lists_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {name: entry for name, entry in registry.ENGINES.items() if name != "VLLM"}
    monkeypatch.setattr(registry, "ENGINES", fewer)
    with pytest.raises(
        ConfigError, match=r"engine: VLLM is not available in this version; it has: LLAMACPP, NATIVE, REMOTE"
    ):
        build_engine(config("VLLM"))
