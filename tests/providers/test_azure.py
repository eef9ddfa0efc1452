"""Azure OpenAI: its URLs, keys and tokens, and deployments whose names do not show their model.

azure-identity gets the tokens from a local server, as from the managed identity of an Azure App Service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncinfer import (
    AzureOpenAIInferenceEngine,
    ConfigError,
    EngineConfigError,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    InferenceErrorType,
    MissingDependencyError,
    ModelParams,
    RemoteParams,
    RequestError,
)
from asyncinfer import InferenceEngineType as Engine
from asyncinfer.errors import ErrorScope
from asyncinfer.providers import azure
from asyncinfer.providers import tokens as tokens_module
from asyncinfer.providers.azure import AzureAuth, azure_models_url, azure_url, with_api_version
from asyncinfer.providers.rows.cloud_platforms import AZURE_OPENAI
from asyncinfer.types.http import HttpRequest
from tests.dialects.openai.test_stream import DONE, as_bytes, chunk
from tests.dialects.reference_sdks import azure_deployment
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import SUCCESS, Recorder

Json = dict[str, Any]
JWT = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2ln"
RESOURCE = "https://r.openai.azure.com"
DEPLOYMENT = "/openai/deployments/gpt/chat/completions"
VERSION = "2024-10-21"
VARIABLES = (
    *("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION"),
    *("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
)
needs_azure_identity = pytest.mark.skipif(
    find_spec("azure") is None or find_spec("azure.identity") is None, reason="azure-identity is not installed"
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the account of this machine."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    azure._account.cache_clear()


class TokenServer:
    """The local endpoint of an App Service that gives tokens to its programs.

    Attributes:
        scopes: The resources for which tokens were requested.
        refusal: The status that is returned in place of a token.
    """

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self.refusal: int | None = None
        self.lifetime = 3600

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers["X-IDENTITY-HEADER"] == "secret-of-the-app"
        if self.refusal is not None:
            return web.json_response({"error": "invalid_request"}, status=self.refusal)
        self.scopes.append(request.query["resource"])
        number = len(self.scopes)
        expires = {"expires_in": self.lifetime, "expires_on": str(int(tokens_module.time.time()) + self.lifetime)}
        return web.json_response({"access_token": f"token-{number}", "token_type": "Bearer", **expires})


@pytest.fixture
async def tokens(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TokenServer]:
    """Sign this process in with the managed identity of an App Service."""
    server, app = TokenServer(), web.Application()
    app.router.add_get("/token", server.answer)
    async with TestServer(app) as running:
        monkeypatch.setenv("IDENTITY_ENDPOINT", str(running.make_url("/token")))
        monkeypatch.setenv("IDENTITY_HEADER", "secret-of-the-app")
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        yield server


def engine_at(api: Recorder, model: str = "m", **remote: Any) -> AzureOpenAIInferenceEngine:
    settings = {"api_url": api.url, "max_retries": 0, **remote}
    return AzureOpenAIInferenceEngine(
        ModelParams(model_name=model),
        generation_params=GenerationParams(max_new_tokens=5),
        remote_params=RemoteParams.model_validate(settings),
    )


async def authorized(environ: dict[str, str] | None = None, **remote: Any) -> dict[str, str]:
    sign = AzureAuth().signer("AZURE_OPENAI", RemoteParams.model_validate(remote), environ or {})
    return dict((await sign(HttpRequest("http://api", {}))).headers)


# URLs


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (RESOURCE, f"{RESOURCE}/openai/v1/chat/completions"),
        (f"{RESOURCE}/", f"{RESOURCE}/openai/v1/chat/completions"),
        ("https://r.services.ai.azure.com/", "https://r.services.ai.azure.com/openai/v1/chat/completions"),
        ("https://gateway/azure", "https://gateway/azure/openai/v1/chat/completions"),
        (f"{RESOURCE}/openai/v1/", f"{RESOURCE}/openai/v1/"),
        (f"{RESOURCE}{DEPLOYMENT}?api-version={VERSION}", f"{RESOURCE}{DEPLOYMENT}?api-version={VERSION}"),
    ],
)
def test_endpoint_in_the_environment_is_completed(endpoint: str, expected: str) -> None:
    found = AZURE_OPENAI.resolve_url(AZURE_OPENAI.url, {"AZURE_OPENAI_ENDPOINT": endpoint})
    assert found == azure_url(f"{endpoint}/openai/v1/chat/completions") == expected


async def test_endpoint_in_the_environment_is_used(api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", api.url.removesuffix("v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-1")
    api.answers(SUCCESS)
    async with AzureOpenAIInferenceEngine(ModelParams(model_name="m")) as engine:
        await engine.agenerate(question("Hello?"))
    assert (api.sent[0].path, api.sent[0].headers["api-key"]) == ("/openai/v1/chat/completions", "key-1")
    assert "Authorization" not in api.sent[0].headers


async def test_without_an_endpoint_the_error_names_the_variable() -> None:
    async with AzureOpenAIInferenceEngine(ModelParams(model_name="m")) as engine:
        with pytest.raises(ConfigError, match=r"remote_params\.api_url: not set; .*AZURE_OPENAI_ENDPOINT"):
            await engine.agenerate(question("Hello?"))


async def test_request_to_a_deployment_equals_the_request_of_the_sdk(api: Recorder) -> None:
    api.answers(SUCCESS)
    url = f"{api.url.removesuffix('/v1')}{DEPLOYMENT}?api-version={VERSION}"
    async with engine_at(api, api_url=url, api_key="sk-test") as engine:
        await engine.agenerate(question("Hello?"))
    request = {"model": "m", "messages": api.sent[0].body["messages"], "max_completion_tokens": 5, "temperature": 0}
    await azure_deployment(api, "gpt", VERSION, request)
    mine, theirs = api.sent
    assert (mine.path, mine.query, mine.headers["api-key"]) == (theirs.path, theirs.query, theirs.headers["api-key"])
    assert mine.body == theirs.body


def test_version_of_a_deployment_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{RESOURCE}{DEPLOYMENT}"
    with pytest.raises(ConfigError, match=r"needs a version; add \?api-version=.*OPENAI_API_VERSION"):
        with_api_version(url)
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")
    assert with_api_version(url) == f"{url}?api-version=2025-04-01-preview"
    assert with_api_version(f"{url}?a=b") == f"{url}?a=b&api-version=2025-04-01-preview"
    assert with_api_version(f"{url}?api-version={VERSION}") == f"{url}?api-version={VERSION}"
    assert with_api_version(f"{RESOURCE}/openai/v1/chat/completions") == f"{RESOURCE}/openai/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{RESOURCE}/openai/v1/chat/completions", f"{RESOURCE}/openai/v1/models"),
        (f"{RESOURCE}{DEPLOYMENT}?api-version={VERSION}", f"{RESOURCE}/openai/models?api-version={VERSION}"),
    ],
)
def test_models_of_the_resource_are_listed_for_a_deployment_too(url: str, expected: str) -> None:
    assert azure_models_url(url) == expected


@pytest.mark.parametrize("name", ["azure", "AZURE_OPENAI", "azure-openai"])
def test_usual_names_are_accepted(name: str) -> None:
    assert InferenceConfig.from_str(f"engine: {name}").engine is Engine.AZURE_OPENAI


# Keys and tokens


async def test_key_is_sent_in_its_own_header_and_a_token_as_bearer() -> None:
    assert await authorized(api_key="key-1\n") == {"api-key": "key-1"}
    assert await authorized(api_key=JWT) == {"Authorization": f"Bearer {JWT}"}
    assert await authorized({"AZURE_OPENAI_API_KEY": "key-1"}) == {"api-key": "key-1"}
    assert await authorized({"AZURE_OPENAI_AD_TOKEN": "opaque"}) == {"Authorization": "Bearer opaque"}
    assert await authorized({"MINE": "key-2"}, api_key_env_varname="MINE") == {"api-key": "key-2"}
    assert await authorized({"AZURE_OPENAI_AD_TOKEN": "opaque"}, api_key=" ") == {"Authorization": "Bearer opaque"}


async def test_explicit_key_and_token_take_precedence_as_in_the_sdk() -> None:
    both = {"AZURE_OPENAI_API_KEY": "key-1", "AZURE_OPENAI_AD_TOKEN": "token"}
    assert await authorized(both) == {"Authorization": "Bearer token"}
    assert await authorized(both, api_key="key-2") == {"api-key": "key-2"}
    assert await authorized(both | {"MINE": "key-3"}, api_key_env_varname="MINE") == {"api-key": "key-3"}


async def test_user_s_header_takes_the_place_of_a_key() -> None:
    assert await authorized(headers={"Authorization": "Bearer mine"}) == {}


async def test_without_a_key_the_error_names_the_variable_and_the_package(
    api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "find_spec", lambda _: None)
    expected = r"AZURE_OPENAI has no API key: set .*AZURE_OPENAI_API_KEY.*pip install 'asyncinfer\[azure\]'"
    async with engine_at(api) as engine:
        with pytest.raises(MissingDependencyError, match=expected):
            await engine.agenerate(question("Hello?"))
    assert api.sent == []


@needs_azure_identity
async def test_many_rows_wait_for_one_token(api: Recorder, tokens: TokenServer) -> None:
    """The token server runs on the event loop of the engine, so a blocked loop would never get a token."""
    async with engine_at(api, num_workers=20, use_adaptive_concurrency=False) as engine:
        await engine.ainfer([question(f"{number}?") for number in range(30)])
    assert {sent.headers["Authorization"] for sent in api.sent} == {"Bearer token-1"}
    assert tokens.scopes == ["https://cognitiveservices.azure.com"]


@needs_azure_identity
async def test_token_is_renewed_before_it_expires(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=tokens_module.time.time)
    monkeypatch.setattr(tokens_module, "time", clock)
    tokens.lifetime = 280  # azure-identity keeps no token that expires in less than five minutes
    assert await authorized() == {"Authorization": "Bearer token-1"}
    now[0] += 130
    assert await authorized() == {"Authorization": "Bearer token-1"}
    now[0] += 20
    assert await authorized() == {"Authorization": "Bearer token-2"}


@needs_azure_identity
async def test_token_of_a_national_cloud_has_its_audience(tokens: TokenServer) -> None:
    await authorized(api_url="https://r.openai.azure.us/openai/v1")
    assert tokens.scopes == ["https://cognitiveservices.azure.us"]


@needs_azure_identity
async def test_account_that_cannot_be_used_ends_the_run(tokens: TokenServer, api: Recorder) -> None:
    tokens.refusal = 400
    async with engine_at(api) as engine:
        with pytest.raises(EngineConfigError, match=r"needs an API key or a Microsoft Entra ID account .*az login"):
            await engine.agenerate(question("Hello?"))
    assert api.sent == []


@needs_azure_identity
async def test_failed_renewal_is_retried(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=tokens_module.time.time)
    monkeypatch.setattr(tokens_module, "time", clock)
    tokens.lifetime = 280
    await authorized()
    now[0] += 4000
    tokens.refusal = 400
    with pytest.raises(RequestError, match="gave no access token") as caught:
        await authorized()
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@needs_azure_identity
async def test_no_error_shows_a_token(tokens: TokenServer, api: Recorder) -> None:
    api.answers({"error": {"message": "bad token-1"}}, 400)
    async with engine_at(api) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    assert result.failures[0].error_message == "HTTP 400: bad [API key]"


# Deployments


def refusal(param: str, code: str = "unsupported_value") -> Json:
    return {"error": {"message": f"'{param}' is not supported with this model.", "param": param, "code": code}}


async def test_deployment_of_a_reasoning_model_is_recognised_by_its_refusal(api: Recorder) -> None:
    """The name that a user gives to a deployment does not show the model."""
    api.answers_by_body(lambda body: (refusal("temperature"), 400) if "temperature" in body else (SUCCESS, 200))
    async with engine_at(api, "production", api_key="key-1") as engine:
        config = InferenceConfig(generation=GenerationParams(temperature=0.5, seed=7))
        first = await engine.agenerate(question("Hello?"), config)
        second = await engine.agenerate(question("And you?"), config)
    assert ["temperature" in sent.body for sent in api.sent] == [True, False, False]
    assert [sent.body["seed"] for sent in api.sent] == [7, 7, 7]
    dropped = [answered.metadata["dropped_parameters"] for answered in (first, second)]
    assert dropped == [["temperature"], ["temperature"]]


async def test_stream_of_a_deployment_that_refuses_sampling_is_sent_again(api: Recorder) -> None:
    api.answers_by_body(lambda body: (refusal("temperature"), 400) if "temperature" in body else (SUCCESS, 200))
    async with (
        engine_at(api, "production", api_key="key-1") as engine,
        engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas,
    ):
        received = [delta async for delta in deltas]
    assert "".join(delta.content for delta in received) == "Hello."
    assert ["temperature" in sent.body for sent in api.sent] == [True, False]


async def test_refusal_of_another_parameter_is_an_error(api: Recorder) -> None:
    api.answers(refusal("response_format"), 400)
    async with engine_at(api, "production", api_key="key-1") as engine:
        with pytest.raises(RequestError, match="response_format"):
            await engine.agenerate(question("Hello?"))
    assert len(api.sent) == 1


async def test_deployment_that_is_named_after_a_reasoning_model_is_known(api: Recorder) -> None:
    api.answers(SUCCESS)
    async with engine_at(api, "gpt-5-mini", api_key="key-1") as engine:
        await engine.agenerate(question("Hello?"))
    assert "temperature" not in api.sent[0].body


# The content filter


async def test_blocked_prompt_fails_only_its_row(api: Recorder) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
    api.answers({"error": {"message": "The prompt was filtered.", "code": "content_filter", "innererror": inner}}, 400)
    async with engine_at(api, api_key="key-1") as engine:
        with pytest.raises(RequestError) as caught:
            await engine.agenerate(question("Hello?"))
    assert (caught.value.scope, caught.value.is_retryable) == (ErrorScope.ROW, False)


async def test_results_of_the_content_filter_in_a_stream_are_not_part_of_the_text(api: Recorder) -> None:
    results = {"hate": {"filtered": False, "severity": "safe"}}
    about_prompt = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": results}]}
    late = chunk()
    late["choices"][0] |= {"content_filter_results": results, "content_filter_offsets": {"check_offset": 1}}
    ended = chunk("content_filter")
    api.streams(as_bytes(about_prompt, chunk(content="4"), late, ended, DONE))
    async with engine_at(api, api_key="key-1") as engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        received = [delta async for delta in deltas]
    assert "".join(delta.content for delta in received) == "4"
    assert received[-1].finish_reason is FinishReason.CONTENT_FILTER
