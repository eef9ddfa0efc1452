"""Every provider in the catalog: it has an engine, says what it heeds, and asks nothing without its key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

import asyncinfer
from asyncinfer import (
    ConfigError,
    GenerationParams,
    InferenceConfig,
    InferenceEngineType,
    InferenceErrorType,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    build_engine,
)
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from tests.fakes import question
from tests.recorder import Recorder, Sent

each = pytest.mark.parametrize("provider", CATALOG.values(), ids=[name.name for name in CATALOG])
needs_a_key = pytest.mark.parametrize(
    "provider",
    [provider for provider in CATALOG.values() if provider.auth.variable],
    ids=[name.name for name, provider in CATALOG.items() if provider.auth.variable],
)


class Listing(NamedTuple):
    """Where a chat with `m` goes, where models are listed, and how."""

    path: str
    models_path: str
    key: str
    entry: Callable[[str], dict[str, Any]]


LISTINGS = {
    InferenceEngineType.BEDROCK: Listing(
        "/v1/model/m/converse",
        "/v1/foundation-models",
        "modelSummaries",
        lambda name: {"modelId": name, "inputModalities": ["TEXT"], "outputModalities": ["TEXT"]},
    ),
}


def listing_of(provider: Provider) -> Listing:
    plain = Listing(f"/v1{provider.dialect.path}", "/v1/models", "data", lambda name: {"id": name})
    return LISTINGS.get(InferenceEngineType(provider.name), plain)


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def engine_for(provider: Provider, **remote: object) -> RemoteInferenceEngine:
    """The provider's engine, as a config file gets it."""
    config = InferenceConfig(
        engine=provider.name,
        model=ModelParams(model_name="m"),
        remote_params=RemoteParams.model_validate({"max_retries": 0, **remote}),
    )
    engine = build_engine(config)
    assert isinstance(engine, RemoteInferenceEngine)
    return engine


def key_of(sent: Sent) -> str | None:
    """The key that a request was sent with."""
    return sent.headers.get("x-api-key") or sent.headers.get("Authorization", "").removeprefix("Bearer ")


@each
def test_it_has_a_class_of_its_own_that_is_public(provider: Provider) -> None:
    kind = type(engine_for(provider))
    assert kind.__name__ in asyncinfer.__all__
    assert getattr(asyncinfer, kind.__name__) is kind
    assert kind.provider() is provider


@each
def test_what_it_heeds_are_parameters_of_ours(provider: Provider) -> None:
    assert provider.dialect.supported <= GenerationParams.model_fields.keys()
    assert type(engine_for(provider)).get_supported_params() == provider.dialect.supported


@each
def test_its_url_takes_chats_over_tls(provider: Provider) -> None:
    if provider.url is not None:
        assert urlsplit(provider.url).scheme == "https"
        assert provider.url.endswith(provider.dialect.path)


@each
async def test_it_answers_and_lists_its_models(provider: Provider, api: Recorder) -> None:
    wire = listing_of(provider)
    async with engine_for(provider, api_url=api.url, api_key="sk-1") as engine:
        [answered] = await engine.ainfer([question("Hello?")])
        api.answers({wire.key: [wire.entry("m"), *(wire.entry(f"{name}1") for name in provider.not_chat)]})
        assert await engine.alist_models() == ["m"]
        assert len(await engine.alist_models(chat_only=False)) == 1 + len(provider.not_chat)
    assert answered.messages[-1].content == "Hello."
    chat, models, _ = api.sent
    assert (chat.method, chat.path) == ("POST", wire.path)
    assert (models.method, models.path) == ("GET", wire.models_path)
    assert key_of(chat) == key_of(models) == "sk-1"
    assert str(GenerationParams().max_new_tokens).encode() in chat.raw


@needs_a_key
async def test_without_its_key_nothing_is_sent(
    provider: Provider, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.auth.variable is not None
    monkeypatch.delenv(provider.auth.variable, raising=False)
    async with engine_for(provider, api_url=api.url) as engine:
        with pytest.raises(ConfigError, match=provider.auth.variable):
            await engine.ainfer([question("Hello?")])
        with pytest.raises(ConfigError, match=provider.auth.variable):
            await engine.alist_models()
        result = await engine.ainfer_partial([question("Hello?")])
    failure = result.failures[0]
    assert (failure.error_type, provider.auth.variable in failure.error_message) == (InferenceErrorType.CONFIG, True)
    assert api.sent == []


@needs_a_key
async def test_its_key_is_read_from_the_environment(
    provider: Provider, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.auth.variable is not None
    monkeypatch.setenv(provider.auth.variable, "sk-env\n")
    async with engine_for(provider, api_url=api.url) as engine:
        await engine.ainfer([question("Hello?")])
    assert key_of(api.sent[0]) == "sk-env"


async def test_a_server_of_one_s_own_must_be_told_where_it_is() -> None:
    for provider in CATALOG.values():
        if provider.url is None:
            async with engine_for(provider) as engine:
                with pytest.raises(ConfigError, match=r"remote_params\.api_url: not set"):
                    await engine.ainfer([question("Hello?")])
