"""Vertex and Gemini: access tokens, the URL of a region, and the requests that are sent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anyio import create_task_group, to_thread
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import _exponential_backoff
from openai import AsyncOpenAI
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    Conversation,
    EngineConfigError,
    GenerationParams,
    GoogleVertexInferenceEngine,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    InferenceErrorType,
    InferenceFailedError,
    MissingDependencyError,
    ModelParams,
    RemoteParams,
    RequestError,
)
from asyncinfer.dialects.google.vertex import entries
from asyncinfer.providers import google
from asyncinfer.providers import tokens as tokens_module
from asyncinfer.providers.auth import Signer
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.google import GeminiKey, GoogleTokens, vertex_url
from asyncinfer.types.http import HttpRequest, HttpResponse
from tests.fakes import question, questions
from tests.recorder import Recorder

Json = dict[str, Any]

VERTEX = CATALOG[InferenceEngineType.GOOGLE_VERTEX]
ADC = "GOOGLE_APPLICATION_CREDENTIALS"


# Tokens


class TokenServer:
    """Stands in for Google's OAuth endpoint. Gives the tokens `ya29.token-1`, `ya29.token-2`, ..., or `refusal`."""

    def __init__(self) -> None:
        self.claims: list[Json] = []
        self.refusal: tuple[int, Json] | None = None
        self.lifetime: int = 3600
        app = web.Application()
        app.router.add_post("/token", self._answer)
        self._server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self._server.make_url("/token"))

    async def start(self) -> None:
        await self._server.start_server(access_log=None)

    async def stop(self) -> None:
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.Response:
        form = parse_qs((await request.read()).decode())
        payload = form["assertion"][0].split(".")[1]
        self.claims.append(json.loads(base64.urlsafe_b64decode(payload + "==")))
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        token = {"access_token": f"ya29.token-{len(self.claims)}", "expires_in": self.lifetime, "token_type": "Bearer"}
        return web.json_response(token)


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the account of this machine, and the cloud that it may run in."""
    for name in (ADC, "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "PROJECT_ID", "REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("no_proxy", "*")
    google._account.cache_clear()


@pytest.fixture
def account(tokens: TokenServer, private_key: str, tmp_path: Path) -> Path:
    """Write the key file of a service account, and return its path."""
    path = tmp_path / "account.json"
    key = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "me@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": tokens.url,
    }
    path.write_text(json.dumps(key))
    return path


@pytest.fixture
def signed_in(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADC, str(account))


def engine_at(api: Recorder, **remote: Any) -> GoogleVertexInferenceEngine:
    settings = {"api_url": f"{api.url}/endpoints/openapi", "max_retries": 0, **remote}
    model = ModelParams(model_name="google/gemini-2.5-flash")
    return GoogleVertexInferenceEngine(model, remote_params=RemoteParams(**settings))


def signer(**remote: Any) -> Signer:
    return GoogleTokens().signer("GOOGLE_VERTEX", RemoteParams(**remote))


async def authorized(sign: Signer) -> str:
    return (await sign(HttpRequest("http://api", {}))).headers["Authorization"]


@pytest.mark.usefixtures("signed_in")
async def test_many_rows_wait_for_one_token(api: Recorder, tokens: TokenServer) -> None:
    """The token server runs on the event loop of the engine, so a blocked loop would never get a token."""
    async with engine_at(api, num_workers=50, use_adaptive_concurrency=False) as engine:
        await engine.ainfer(questions(60))
        await engine.ainfer([question("And you?")])
    assert {sent.headers["Authorization"] for sent in api.sent} == {"Bearer ya29.token-1"}
    [claims] = tokens.claims
    assert (claims["iss"], claims["aud"]) == ("me@p.iam.gserviceaccount.com", "https://oauth2.googleapis.com/token")
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


@pytest.mark.usefixtures("signed_in")
async def test_engines_and_loops_share_an_account(tokens: TokenServer) -> None:
    async with create_task_group() as group:
        for _ in range(4):
            group.start_soon(to_thread.run_sync, lambda: asyncio.run(authorized(signer())))
    assert await authorized(signer()) == "Bearer ya29.token-1"
    assert len(tokens.claims) == 1


@pytest.mark.parametrize(("lifetime", "valid"), [(3600, 3375), (100, 50)])
@pytest.mark.usefixtures("signed_in")
async def test_token_is_renewed_before_it_expires(
    lifetime: int, valid: int, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(tokens_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    tokens.lifetime = lifetime
    sign = signer()
    assert await authorized(sign) == "Bearer ya29.token-1"
    now[0] += valid - 5
    assert await authorized(sign) == "Bearer ya29.token-1"
    now[0] += 6
    assert await authorized(sign) == "Bearer ya29.token-2"


async def test_explicit_key_is_a_token_or_the_path_of_a_key_file(account: Path, tokens: TokenServer) -> None:
    assert await authorized(signer(api_key="ya29.mine\n")) == "Bearer ya29.mine"
    assert tokens.claims == []
    assert await authorized(signer(api_key=str(account))) == "Bearer ya29.token-1"


async def test_token_is_read_from_the_variable_named_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "ya29.env")
    assert await authorized(signer(api_key_env_varname="MY_TOKEN")) == "Bearer ya29.env"


@pytest.mark.parametrize(
    ("status", "said", "retryable"),
    [
        (400, {"error": "invalid_grant", "error_description": "no such account"}, False),
        (503, {"error": "unavailable"}, True),
        (500, {"error": "internal_failure"}, True),
    ],
)
@pytest.mark.usefixtures("signed_in")
async def test_refused_token_is_retried_only_if_google_says_so(
    status: int, said: Json, retryable: bool, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exponential_backoff, "time", SimpleNamespace(sleep=lambda _: None))
    tokens.refusal = (status, said)
    sign = signer()
    with pytest.raises(RequestError, match=f"no access token: {said['error']}") as caught:
        await authorized(sign)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.API_STATUS, retryable)
    tokens.refusal = None
    assert (await authorized(sign)).startswith("Bearer ya29.token-")


@pytest.mark.usefixtures("signed_in")
async def test_unreachable_token_server_is_retried(tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exponential_backoff, "time", SimpleNamespace(sleep=lambda _: None))
    await tokens.stop()
    with pytest.raises(RequestError) as caught:
        await authorized(signer())
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@pytest.mark.parametrize("file", [None, "missing.json", "broken.json", "other.json"])
async def test_missing_or_broken_credentials_end_the_run_with_advice(
    file: str | None, api: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"type": "service_account"}')
    if file is not None:
        monkeypatch.setenv(ADC, str(tmp_path / file))
    async with engine_at(api) as engine:
        with pytest.raises(EngineConfigError, match=f"GOOGLE_VERTEX needs Google Cloud credentials .*{ADC}"):
            await engine.alist_models()
        with pytest.raises(InferenceFailedError, match=ADC):
            await engine.ainfer([question("Hello?")])
    assert api.sent == []


@pytest.mark.parametrize(
    ("missing", "package"), [("google", "google-auth"), ("google.auth", "google-auth"), ("requests", "requests")]
)
async def test_missing_package_is_named(
    missing: str, package: str, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google, "find_spec", lambda name: None if name == missing else find_spec(name))
    async with engine_at(api) as engine:
        with pytest.raises(MissingDependencyError, match=rf"{package} .*pip install 'asyncinfer\[vertex\]'"):
            await engine.ainfer([question("Hello?")])
    assert await authorized(signer(api_key="ya29.mine")) == "Bearer ya29.mine"


@pytest.mark.usefixtures("signed_in")
async def test_no_error_shows_a_token(api: Recorder, tokens: TokenServer) -> None:
    api.answers({"error": {"code": 400, "message": "bad token ya29.token-1"}}, 400)
    async with engine_at(api) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    assert result.failures[0].error_message == "HTTP 400: bad token [API key]"


# The key of Gemini


@pytest.mark.parametrize(
    ("path", "header", "value"),
    [
        ("/v1beta/openai/chat/completions", "Authorization", "Bearer AIza-1"),
        ("/v1beta/openai/models", "Authorization", "Bearer AIza-1"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key", "AIza-1"),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "x-goog-api-key", "AIza-1"),
        ("/a:b/openai/chat/completions", "Authorization", "Bearer AIza-1"),
    ],
)
async def test_key_of_gemini_is_sent_in_the_header_of_the_endpoint(path: str, header: str, value: str) -> None:
    sign = GeminiKey().signer("GOOGLE_GEMINI", RemoteParams(), {"GEMINI_API_KEY": "AIza-1"})
    assert (await sign(HttpRequest(f"http://api{path}", {}))).headers == {header: value}
    assert sign.secrets == ("AIza-1",)


# URLs


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_url_has_the_host_of_the_region(region: str, host: str) -> None:
    url = VERTEX.resolve_url(VERTEX.url, {"PROJECT_ID": "p", "REGION": region})
    assert url == f"https://{host}/v1beta1/projects/p/locations/{region}/endpoints/openapi/chat/completions"
    assert (VERTEX.resolve_url(VERTEX.listing, {"REGION": region}) or "").startswith(
        f"https://{host}/v1beta1/publishers/google/models"
    )


def test_url_of_another_host_is_not_changed() -> None:
    assert vertex_url("https://proxy.example/global-aiplatform") == "https://proxy.example/global-aiplatform"


Names = dict[str, str]
URL = "https://r-aiplatform.googleapis.com/v1beta1/projects/p/locations/r/endpoints/openapi/chat/completions"


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({"PROJECT_ID": "p", "REGION": "r"}, {}),
        ({"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "r"}, {}),
        ({"PROJECT_ID": "other", "REGION": "r"}, {"project_id": "p"}),
        ({}, {"project_id": "p", "region": "r"}),
    ],
)
async def test_project_and_region_come_from_arguments_or_the_environment(
    environ: Names, given: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with GoogleVertexInferenceEngine(ModelParams(model_name="m"), **given) as engine:
        assert engine._remote_params is not None
        assert (engine._remote_params.api_url, engine._remote_params.num_workers) == (URL, 50)


@pytest.mark.parametrize("url", [URL.replace("/p/", "/{project_id}/").replace("r-a", "{region}-a"), None])
@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({"PROJECT_ID": "p", "REGION": "r"}, {}),
        ({"MY_PROJECT": "p", "MY_REGION": "r", "PROJECT_ID": "x", "REGION": "x"}, {"by": "key"}),
        ({}, {"project_id": "p", "region": "r"}),
    ],
)
async def test_url_with_placeholders_is_filled_in(
    url: str | None, environ: Names, given: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if given == {"by": "key"}:
        given = {"project_id_env_key": "MY_PROJECT", "region_env_key": "MY_REGION"}
    of_engine = GoogleVertexInferenceEngine(ModelParams("m"), remote_params=RemoteParams(url), **given)
    of_call = GoogleVertexInferenceEngine(ModelParams("m"), **given)
    config = InferenceConfig(ModelParams("m"), remote_params=RemoteParams(url))
    for engine, call in ((of_engine, InferenceConfig()), (of_call, config)):
        assert (await engine._settings_of(call)).remote.api_url == URL


async def test_placeholder_without_a_value_is_an_error() -> None:
    remote = RemoteParams("https://{region}-aiplatform.googleapis.com/v1/projects/{project_id}/openapi")
    async with GoogleVertexInferenceEngine(ModelParams("m"), remote_params=remote, region="r") as engine:
        with pytest.raises(ConfigError, match=r"\{project_id\} and \{region\} cannot be filled in"):
            await engine.ainfer([question("Hello?")])


@pytest.mark.parametrize("name", ["project_id", "region"])
def test_value_and_variable_exclude_each_other(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} and {name}_env_key exclude each other"):
        GoogleVertexInferenceEngine(ModelParams("m"), **{name: "p", f"{name}_env_key": "P"})


def test_variable_that_is_not_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT_ID", "another project")
    with pytest.raises(ConfigError, match="project_id_env_key: the environment variable MY_PROJECT is not set"):
        GoogleVertexInferenceEngine(ModelParams("m"), project_id_env_key="MY_PROJECT")


async def test_error_of_a_missing_region_names_the_variables() -> None:
    async with GoogleVertexInferenceEngine(ModelParams(model_name="m"), project_id="p") as engine:
        with pytest.raises(ConfigError, match="the environment variables REGION and PROJECT_ID$"):
            await engine.ainfer([question("Hello?")])


def test_listed_names_are_valid_model_names() -> None:
    names = ["publishers/google/models/gemini-2.5-flash", "publishers/google/models/imagen-4.0"]
    body = json.dumps({"publisherModels": [{"name": name} for name in names]}).encode()
    listed = entries(HttpResponse(200, {}, body))
    assert [entry["id"] for entry in listed] == ["google/gemini-2.5-flash", "google/imagen-4.0"]
    assert [VERTEX.can_chat(entry) for entry in listed] == [True, False]


def test_list_of_models_has_pages() -> None:
    more = VERTEX.dialect.more_models
    assert more(HttpResponse(200, {}, b'{"nextPageToken": "a=b"}')) == "pageToken=a%3Db"
    assert more(HttpResponse(200, {}, b'{"nextPageToken": ""}')) is None
    assert more(HttpResponse(200, {}, b"[]")) is None


# Requests


class Stone(BaseModel):
    hard: bool


class Plum(BaseModel):
    stone: Stone


class Branch(BaseModel):
    forks: list[Branch]


def throw(stone: Stone) -> None:
    """Throw it."""


def split(branch: Branch) -> None:
    """Split it."""


STONE: Json = {
    "title": "Stone",
    "type": "object",
    "properties": {"hard": {"title": "Hard", "type": "boolean"}},
    "required": ["hard"],
}
PLUM: Json = {"title": "Plum", "type": "object", "properties": {"stone": STONE}, "required": ["stone"]}
THROW: Json = {
    "type": "function",
    "function": {
        "name": "throw",
        "description": "Throw it.",
        "parameters": {"type": "object", "properties": {"stone": STONE}, "required": ["stone"]},
    },
}
PDF = b"%PDF-1.7"
PDF_URL = "data:application/pdf;base64," + base64.b64encode(PDF).decode()


class Case(NamedTuple):
    """One request: the arguments for OpenAI's SDK, and the same as a conversation and parameters for an engine."""

    sdk: Json = {}  # noqa: RUF012
    generation: Json = {}  # noqa: RUF012
    messages: list[Json] = [{"role": "user", "content": "Hello!"}]  # noqa: RUF012
    ours: list[Json] | None = None
    tools: list[Callable[..., Any]] | None = None
    model: str = "google/gemini-2.5-flash"


def user(*items: Json) -> list[Json]:
    return [{"role": "user", "content": list(items)}]


def guided(schema: Any) -> Json:
    return {"guided_decoding": GuidedDecodingParams(json=schema)}


THINKING: Json = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}}
CASES: dict[str, Case] = {
    "text": Case(),
    "system": Case(messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]),
    "a schema without references": Case(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "Plum", "schema": PLUM}}}, guided(Plum)
    ),
    "a tool without references": Case({"tools": [THROW]}, tools=[throw]),
    "tool choice": Case({"tools": [THROW], "tool_choice": "required"}, {"tool_choice": "required"}, tools=[throw]),
    "an image by URL": Case(
        messages=user({"type": "image_url", "image_url": {"url": "gs://bucket/cat.png"}}),
        ours=user({"type": "image_url", "content": "gs://bucket/cat.png"}),
    ),
    "a document as bytes": Case(
        messages=user({"type": "image_url", "image_url": {"url": PDF_URL}}),
        ours=user({"type": "document_binary", "binary": PDF}),
    ),
    "a document by URL": Case(
        messages=user({"type": "input_audio", "input_audio": {"data": "gs://bucket/a.pdf", "format": "application/pdf"}}),
        ours=user({"type": "document_url", "content": "gs://bucket/a.pdf"}),
    ),
    "seed": Case({"seed": 0}, {"seed": 0}),
    "penalties": Case(
        {"frequency_penalty": 0.5, "presence_penalty": -1}, {"frequency_penalty": 0.5, "presence_penalty": -1}
    ),
    "stop": Case({"stop": ["END"]}, {"stop_strings": ["END"]}),
    "sampling": Case({"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9}),
    "reasoning effort": Case({"reasoning_effort": "low"}, {"extra_body": {"reasoning_effort": "low"}}),
    "thinking": Case({"extra_body": THINKING}, {"extra_body": THINKING}),
    "logit bias for a model of another publisher": Case(
        {"logit_bias": {"1": 5}}, {"logit_bias": {1: 5}}, model="meta/llama-4-scout-17b-16e-instruct-maas"
    ),
}  # fmt: skip


def engine_for(case: Case, api: Recorder) -> GoogleVertexInferenceEngine:
    return GoogleVertexInferenceEngine(
        ModelParams(model_name=case.model),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=f"{api.url}/endpoints/openapi", api_key="ya29.mine", user_id="u-1"),
    )


def conversation(case: Case) -> Conversation:
    return Conversation.from_dict({"messages": case.ours or case.messages, "tools": case.tools})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_is_the_same_as_that_of_the_sdk(case: Case, api: Recorder) -> None:
    """Schemas with references are not compared: the SDK keeps references, and Vertex does not support them. An engine
    also sends its defaults for the token limit and the temperature. Vertex has no field for the user's id.
    """
    async with engine_for(case, api) as engine:
        await engine.ainfer([conversation(case)])
    defaults: Json = {"model": case.model, "max_completion_tokens": 1024, "temperature": 0, "messages": case.messages}
    async with AsyncOpenAI(base_url=f"{api.url}/endpoints/openapi", api_key="ya29.mine") as sdk:
        arguments: Json = defaults | case.sdk
        await sdk.chat.completions.create(**arguments)
    ours, theirs = api.sent
    assert ours.body == theirs.body
    assert (ours.path, ours.headers["Authorization"]) == (theirs.path, theirs.headers["Authorization"])


async def test_parameters_that_google_models_ignore_are_dropped_and_reported(api: Recorder) -> None:
    case = Case(generation={"logit_bias": {1: 5}, "logprobs": True, "parallel_tool_calls": False}, tools=[throw])
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([conversation(case)])
    assert answered.metadata["dropped_parameters"] == ["logit_bias", "logprobs", "parallel_tool_calls"]
    assert api.sent[0].body.keys() == {"model", "messages", "max_completion_tokens", "temperature", "tools"}


@pytest.mark.parametrize("by", [{"json": Branch}, {"regex": "a+"}, {"choice": ["a"]}])
async def test_unsupported_guided_decoding_is_refused_before_a_request_is_sent(by: Json, api: Recorder) -> None:
    case = Case(generation={"guided_decoding": GuidedDecodingParams(**by)})
    async with engine_for(case, api) as engine:
        with pytest.raises(ConfigError, match=f"guided_decoding.{next(iter(by))}"):
            await engine.ainfer([conversation(case)])
    assert api.sent == []


async def test_tool_with_a_recursive_schema_fails_the_row(api: Recorder) -> None:
    case = Case(tools=[split])
    async with engine_for(case, api) as engine:
        result = await engine.ainfer_partial([conversation(case)])
    assert "tool 'split'" in result.failures[0].error_message
    assert result.failures[0].error_type is InferenceErrorType.CONFIG
