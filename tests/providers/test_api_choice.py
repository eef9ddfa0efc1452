"""The choice between chat completions and OpenAI's Responses API, for every provider that has both."""

from __future__ import annotations

from typing import get_args

import pytest
from openai.types import ChatModel, ResponsesModel

from asyncinfer import (
    ConfigError,
    Conversation,
    InferenceConfig,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Usage,
    build_engine,
)
from asyncinfer.providers.api_choice import provider_with_chosen_api, remote_with_resolved_api
from asyncinfer.providers.auth import Key
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from tests.fakes import ONE_ATTEMPT, question
from tests.providers.samples import KEY, SOON, responses_sample
from tests.recorder import Recorder

OPENAI, REMOTE = CATALOG["OPENAI"], CATALOG["REMOTE"]
WITH_BOTH = [provider for provider in CATALOG.values() if provider.dialect.responses is not None]
each_with_both = pytest.mark.parametrize("provider", WITH_BOTH, ids=[provider.name for provider in WITH_BOTH])
CHAT, RESPONSES = "/chat/completions", "/responses"


def engine_for(provider: Provider, **remote: object) -> RemoteInferenceEngine:
    params = RemoteParams.model_validate({"max_retries": 0, "api_key": KEY, **remote})
    engine = build_engine(
        InferenceConfig(engine=provider.name, model=ModelParams(model_name="m"), remote_params=params)
    )
    assert isinstance(engine, RemoteInferenceEngine)
    return engine


def path_for(provider: Provider, model: str = "m", **remote: str) -> str:
    """The path of the API that is chosen."""
    params = RemoteParams.model_validate({"api_url": provider.url, **remote})
    return provider_with_chosen_api(provider, remote_with_resolved_api(provider, params, model)).dialect.path


@each_with_both
async def test_engine_answers_streams_reports_refusals_and_lists_models(provider: Provider, api: Recorder) -> None:
    sample = responses_sample()
    async with engine_for(provider, api_url=api.url, api="responses") as engine:
        api.answers(sample.answer)
        [answered] = await engine.ainfer([question("Hello?")])
        api.streams(*sample.stream)
        async with engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
            received = [delta async for delta in deltas]
        api.answers(sample.refusal, sample.status, SOON)
        result = await engine.ainfer_partial([question("Hello?")])
        api.answers(sample.listing(["m"]))
        assert await engine.alist_models() == ["m"]
    assert (answered.text, answered.metadata["finish_reason"]) == ("Hello.", "stop")
    assert "".join(delta.content for delta in received) == "Hello."
    assert received[-1].usage == Usage(3, 4, 7)
    assert "slow down" in result.failures[0].error_message
    assert ({sent.path for sent in api.sent[:-1]}, api.sent[-1].path) == ({"/v1/responses"}, "/v1/models")
    assert sample.limit(api.sent[0].body) == 1024


@each_with_both
def test_chat_completions_are_the_default_api(provider: Provider) -> None:
    assert path_for(provider) == path_for(provider, api="chat") == CHAT
    assert path_for(provider, api="responses") == RESPONSES


@each_with_both
def test_url_without_a_path_gets_the_path_of_the_chosen_api(provider: Provider) -> None:
    found = provider.with_responses()
    assert found is not None
    if provider.url is not None:
        assert found.url == provider.url.removesuffix(CHAT) + RESPONSES


@pytest.mark.parametrize(
    "provider", [one for one in CATALOG.values() if one.dialect.responses is None], ids=lambda one: one.name
)
def test_provider_without_the_responses_api_refuses_it(provider: Provider) -> None:
    with pytest.raises(ConfigError, match=rf"remote_params\.api: {provider.name} has no Responses API"):
        path_for(provider, api="responses")
    assert path_for(provider, api="chat") == provider.dialect.path


@pytest.mark.parametrize("url", ["http://h/v1/responses", "http://h/v1/responses/?x=1"])
def test_responses_url_selects_responses_api(url: str) -> None:
    assert path_for(REMOTE, api_url=url) == RESPONSES
    assert path_for(REMOTE, api_url=url, api="chat") == CHAT


@pytest.mark.parametrize(
    ("end", "chosen", "path"), [(CHAT, "responses", "/v1/responses"), (RESPONSES, "chat", "/v1/chat/completions")]
)
async def test_explicit_api_replaces_the_path_of_the_url(api: Recorder, end: str, chosen: str, path: str) -> None:
    async with engine_for(REMOTE, api_url=api.url + end, api=chosen) as engine:
        await engine.ainfer_partial([question("Hello?")])
    assert api.sent[-1].path == path


@pytest.mark.parametrize("model", sorted(set(get_args(get_args(ResponsesModel)[-1])) - set(get_args(ChatModel))))
def test_models_with_only_the_responses_api_select_the_responses_api(model: str) -> None:
    assert path_for(OPENAI, model) == RESPONSES


@pytest.mark.parametrize(
    "model", ["gpt-5.2-pro", "gpt-5.1-codex", "codex-mini-latest", "ft:gpt-5-pro:acme::1", "gpt-5.3-codex-spark"]
)
def test_future_models_of_responses_only_families_select_the_responses_api(model: str) -> None:
    assert path_for(OPENAI, model) == RESPONSES


@pytest.mark.parametrize("model", ["gpt-5", "gpt-4.1", "o1-preview", "o3-mini", "gpt-4o", "ft:gpt-4o:codexcorp::1"])
def test_models_with_chat_completions_select_chat_completions(model: str) -> None:
    assert path_for(OPENAI, model) == CHAT


@pytest.mark.parametrize(
    ("name", "model", "url"),
    [
        ("XAI", "grok-4.20-multi-agent-0309", "https://api.x.ai/v1/chat/completions"),
        ("AZURE_OPENAI", "gpt-5-pro", "https://r.openai.azure.com/openai/v1"),
    ],
)
def test_responses_only_models_of_other_providers_select_the_responses_api(name: str, model: str, url: str) -> None:
    assert path_for(CATALOG[name], model, api_url=url) == RESPONSES


async def test_responses_api_of_azure_has_one_url_for_all_deployments(api: Recorder) -> None:
    api.answers(responses_sample().answer)
    url = f"{api.url.removesuffix('/v1')}/openai/deployments/d?api-version=2025-04-01-preview"
    async with engine_for(CATALOG["AZURE_OPENAI"], api_url=url, api="responses") as engine:
        await engine.agenerate(question("Hello?"))
    assert (api.sent[-1].path, api.sent[-1].query) == ("/openai/responses", "api-version=2025-04-01-preview")
    assert api.sent[-1].body["model"] == "m"


async def test_responses_api_of_azure_accepts_documents(api: Recorder) -> None:
    api.answers(responses_sample().answer)
    document = {"type": "document_url", "content": "https://example.com/a.pdf"}
    chat = Conversation.from_dict({"messages": [{"role": "user", "content": [document]}]})
    async with engine_for(CATALOG["AZURE_OPENAI"], api_url=api.url, api="responses") as engine:
        await engine.agenerate(chat)
    [part] = api.sent[-1].body["input"][0]["content"]
    assert part == {"type": "input_file", "file_url": "https://example.com/a.pdf"}


def test_explicit_api_overrides_model_default() -> None:
    assert path_for(OPENAI, "gpt-5-pro", api="chat") == CHAT
    assert path_for(OPENAI, "gpt-5-pro", api_url="https://proxy.example.com/v1/chat/completions") == CHAT
    assert path_for(OPENAI, "gpt-5-pro", api_url="https://proxy.example.com/v1") == RESPONSES
    assert path_for(REMOTE, "gpt-5-pro", api_url="http://h/v1") == CHAT


def test_invalid_url_selects_no_api() -> None:
    assert path_for(REMOTE, api_url="http://[::1") == CHAT


async def test_api_of_a_call_overrides_the_api_of_the_engine(api: Recorder) -> None:
    api.answers(responses_sample().answer)
    async with engine_for(REMOTE, api_url=api.url + CHAT) as engine:
        config = InferenceConfig(remote_params=RemoteParams(api="responses"))
        await engine.agenerate(question("Hello?"), config)
    assert api.sent[-1].path == "/v1/responses"


async def test_wrong_path_is_reported_with_the_path_of_the_api(api: Recorder) -> None:
    api.answers({"detail": "Not Found"}, 404)
    async with engine_for(REMOTE, api_url=f"{api.url}/v1", api="responses") as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    assert "it should probably go to" in result.failures[0].error_message
    assert "/v1/responses (remote_params.api_url)" in result.failures[0].error_message


async def test_error_of_a_model_that_only_the_responses_api_has_says_what_to_do(api: Recorder) -> None:
    message = "This model is only supported in v1/responses and not in v1/chat/completions."
    api.answers({"error": {"message": message, "type": "invalid_request_error", "param": "model", "code": None}}, 404)
    async with engine_for(REMOTE, api_url=api.url) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    failure = result.failures[0]
    assert failure.error_message.endswith(f"{message} Set remote_params.api to `responses`")
    assert not failure.is_retryable


def test_registered_provider_has_no_responses_api_unless_it_says_so() -> None:
    mine = Provider("MINE", "https://api.example.com/v1/chat/completions", Key("MINE_KEY"))
    with pytest.raises(ConfigError, match="MINE has no Responses API"):
        path_for(mine, api="responses")
