"""Every provider in the catalog: its engine class, its URL, its requests and answers, and its key."""

from __future__ import annotations

from typing import Any
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
    Usage,
    build_engine,
)
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from tests.fakes import ONE_ATTEMPT, question
from tests.providers.samples import KEY, SOON, Sample, sample_of
from tests.recorder import Recorder, Sent

each = pytest.mark.parametrize("provider", CATALOG.values(), ids=[name.name for name in CATALOG])
with_key_variable = pytest.mark.parametrize(
    "provider",
    [provider for provider in CATALOG.values() if provider.auth.variable],
    ids=[name.name for name, provider in CATALOG.items() if provider.auth.variable],
)


def engine_for(provider: Provider, **remote: object) -> RemoteInferenceEngine:
    """Build the engine of a provider, as for a configuration file."""
    config = InferenceConfig(
        engine=provider.name,
        model=ModelParams(model_name="m"),
        remote_params=RemoteParams.model_validate({"max_retries": 0, **remote}),
    )
    engine = build_engine(config)
    assert isinstance(engine, RemoteInferenceEngine)
    return engine


def key_of(sent: Sent) -> str | None:
    """Return the key that a request was sent with."""
    return (
        sent.headers.get("x-api-key")
        or sent.headers.get("api-key")
        or sent.headers.get("Authorization", "").removeprefix("Bearer ")
    )


def url_of(api: Recorder, sample: Sample) -> dict[str, object]:
    """Return `remote_params` with the URL of the API, as a user writes it."""
    return {"api_url": api.url.removesuffix("/v1") + sample.base}


@each
def test_provider_has_a_public_engine_class(provider: Provider) -> None:
    kind = type(engine_for(provider))
    assert kind.__name__ == provider.class_name
    assert kind.engine_type == provider.name
    assert kind.__name__ in asyncinfer.__all__
    assert getattr(asyncinfer, kind.__name__) is kind
    assert kind.provider() is provider


@each
def test_supported_parameters_are_fields_of_generation_params(provider: Provider) -> None:
    assert provider.dialect.supported <= GenerationParams.model_fields.keys()
    assert type(engine_for(provider)).get_supported_params() == provider.dialect.supported


@each
def test_url_uses_tls_and_the_path_of_the_dialect(provider: Provider) -> None:
    if provider.url is not None:
        assert provider.url.endswith(provider.dialect.path)
        url = provider.resolve_url(provider.url, {}, {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"})
        parts = urlsplit(url or provider.url)
        assert parts.scheme == ("http" if parts.hostname in ("localhost", "127.0.0.1") else "https")


@each
async def test_engine_answers_streams_reports_refusals_and_lists_models(provider: Provider, api: Recorder) -> None:
    sample = sample_of(provider)
    async with engine_for(provider, **url_of(api, sample), api_key=KEY) as engine:
        api.answers(sample.answer)
        [answered] = await engine.ainfer([question("Hello?")])
        api.streams(*sample.stream, media_type=sample.media_type)
        async with engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
            received = [delta async for delta in deltas]
        api.answers(sample.refusal, sample.status, SOON)
        result = await engine.ainfer_partial([question("Hello?")])
        api.answers(sample.listing(["m", *(f"{name}1" for name in provider.non_chat_prefixes)]))
        chat, every = await engine.alist_models(), await engine.alist_models(chat_only=False)
    assert (answered.messages[-1].content, answered.metadata["finish_reason"]) == ("Hello.", "stop")
    assert "".join(delta.content for delta in received) == "Hello."
    assert received[-1].usage is not None
    assert answered.metadata["usage"] == received[-1].usage.to_dict() == Usage(3, 4, 7).to_dict()
    failure = result.failures[0]
    assert ("slow down" in failure.error_message, failure.status_code, failure.is_retryable) == (
        True,
        sample.status,
        True,
    )
    assert (chat, len(every)) == (["m"], 1 + len(provider.non_chat_prefixes))
    chat_request, list_request = api.sent[0], api.sent[-1]
    assert (chat_request.method, chat_request.path) == ("POST", sample.chat)
    assert sample.limit(chat_request.body) == GenerationParams().max_new_tokens
    assert (list_request.method, list_request.path) == ("GET", sample.models)
    assert {key_of(sent) for sent in api.sent} == {KEY}


LISTINGS: dict[InferenceEngineType, tuple[Any, list[str], list[str]]] = {
    InferenceEngineType.TOGETHER: (
        [{"id": "a/chat", "type": "chat"}, {"id": "b/flux", "type": "image"}, {"id": "c/bge", "type": "embedding"}],
        ["a/chat"],
        ["a/chat", "b/flux", "c/bge"],
    ),
    InferenceEngineType.OPENROUTER: (
        {
            "data": [
                {"id": "a/text", "architecture": {"modality": "text->text", "output_modalities": ["text"]}},
                {"id": "b/both", "architecture": {"output_modalities": ["image", "text"]}},
                {"id": "c/image", "architecture": {"output_modalities": ["image"]}},
                {"id": "d/untold"},
            ]
        },
        ["a/text", "b/both", "d/untold"],
        ["a/text", "b/both", "c/image", "d/untold"],
    ),
    InferenceEngineType.HUGGING_FACE_ROUTER: (
        {
            "object": "list",
            "data": [
                {"id": "Qwen/Qwen3-8B", "architecture": {"output_modalities": ["text"]}, "providers": [{"provider": "x"}]},
                {"id": "a/speech", "architecture": {"output_modalities": ["audio"]}, "providers": []},
            ],
        },
        ["Qwen/Qwen3-8B"],
        ["Qwen/Qwen3-8B", "a/speech"],
    ),
    InferenceEngineType.FIREWORKS: (
        {
            "object": "list",
            "data": [
                {"id": "accounts/fireworks/models/a", "kind": "HF_BASE_MODEL", "supports_chat": True},
                {"id": "accounts/fireworks/models/b", "kind": "EMBEDDING_MODEL", "supports_chat": False},
            ],
        },
        ["accounts/fireworks/models/a"],
        ["accounts/fireworks/models/a", "accounts/fireworks/models/b"],
    ),
    InferenceEngineType.SAMBANOVA: (
        {"data": [{"id": "gpt-oss-120b", "context_length": 131072}, {"id": "Whisper-Large-v3"}]},
        ["gpt-oss-120b"],
        ["gpt-oss-120b", "Whisper-Large-v3"],
    ),
    InferenceEngineType.AZURE_OPENAI: (
        {
            "data": [
                {"id": "gpt-5", "capabilities": {"chat_completion": True, "embeddings": False}, "object": "model"},
                {"id": "dall-e-3", "capabilities": {"chat_completion": False}, "object": "model"},
            ]
        },
        ["gpt-5"],
        ["dall-e-3", "gpt-5"],
    ),
    InferenceEngineType.MISTRAL: (
        {
            "object": "list",
            "data": [
                {"id": "mistral-large-4", "type": "base", "capabilities": {"completion_chat": True}},
                {"id": "ft:x", "type": "fine-tuned", "capabilities": {"completion_chat": True}},
                {"id": "mistral-embed", "type": "base", "capabilities": {"completion_chat": False}},
            ],
        },
        ["ft:x", "mistral-large-4"],
        ["ft:x", "mistral-embed", "mistral-large-4"],
    ),
    InferenceEngineType.LM_STUDIO: (
        {"data": [{"id": "qwen3-8b", "capabilities": ["tool_use"]}, {"id": "text-embedding-nomic-embed-text-v1.5"}]},
        ["qwen3-8b"],
        ["qwen3-8b", "text-embedding-nomic-embed-text-v1.5"],
    ),
    InferenceEngineType.REMOTE_LLAMACPP: (
        {
            "data": [
                {"id": "m.gguf", "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]}},
                {"id": "d.gguf", "architecture": {"output_modalities": ["decisions"]}},
            ]
        },
        ["m.gguf"],
        ["d.gguf", "m.gguf"],
    ),
    InferenceEngineType.REMOTE_VLLM: (
        {"object": "list", "data": [{"id": "base", "root": "base"}, {"id": "lora", "parent": "base"}]},
        ["base", "lora"],
        ["base", "lora"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTINGS, ids=[name.name for name in LISTINGS])
async def test_list_of_models_contains_only_chat_models_by_default(name: InferenceEngineType, api: Recorder) -> None:
    listing, chat, every = LISTINGS[name]
    api.answers(listing)
    async with engine_for(CATALOG[name], api_url=api.url, api_key="sk-1") as engine:
        assert await engine.alist_models() == sorted(chat)
        assert await engine.alist_models(chat_only=False) == sorted(every)


@with_key_variable
async def test_without_a_key_no_request_is_sent(
    provider: Provider, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.auth.variable is not None
    monkeypatch.delenv(provider.auth.variable, raising=False)
    async with engine_for(provider, **url_of(api, sample_of(provider))) as engine:
        with pytest.raises(ConfigError, match=provider.auth.variable):
            await engine.ainfer([question("Hello?")])
        with pytest.raises(ConfigError, match=provider.auth.variable):
            await engine.alist_models()
        result = await engine.ainfer_partial([question("Hello?")])
    failure = result.failures[0]
    assert (failure.error_type, provider.auth.variable in failure.error_message) == (InferenceErrorType.CONFIG, True)
    assert api.sent == []


@with_key_variable
async def test_key_is_read_from_the_environment(
    provider: Provider, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.auth.variable is not None
    monkeypatch.setenv(provider.auth.variable, "sk-env\n")
    sample = sample_of(provider)
    api.answers(sample.answer)
    async with engine_for(provider, **url_of(api, sample)) as engine:
        await engine.ainfer([question("Hello?")])
    assert key_of(api.sent[0]) == "sk-env"


async def test_provider_without_a_url_needs_api_url() -> None:
    for provider in CATALOG.values():
        if provider.url is None:
            async with engine_for(provider) as engine:
                with pytest.raises(ConfigError, match=r"remote_params\.api_url: not set"):
                    await engine.ainfer([question("Hello?")])
