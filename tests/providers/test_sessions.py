"""Providers at their real URLs, through a session whose requests aioresponses answers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import client_reqrep
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from asyncinfer import (
    AnthropicInferenceEngine,
    EngineConfigError,
    InferenceErrorType,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    TogetherInferenceEngine,
)
from asyncinfer.engines.registry import engine_class
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from tests.fakes import question, questions
from tests.providers.samples import KEY, sample_of
from tests.recorder import MESSAGE, SUCCESS

OPENAI = "https://api.openai.com/v1/chat/completions"
ANTHROPIC = "https://api.anthropic.com/v1/messages"
QUICK: dict[str, Any] = {"api_key": KEY, "retry_backoff_base": 0.001, "retry_backoff_max": 0.01, "max_retries": 3}
# Providers with a fixed URL and a key.
HOSTED = [
    provider for provider in CATALOG.values() if provider.url and "{" not in provider.url and provider.auth.variable
]

each = pytest.mark.parametrize("provider", HOSTED, ids=[provider.name for provider in HOSTED])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    # aioresponses makes responses in debug mode, and aiohttp then reads source files on the event loop.
    monkeypatch.setattr(client_reqrep, "traceback", SimpleNamespace(extract_stack=lambda _: None))
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def engine_for(
    kind: type[RemoteInferenceEngine], session: aiohttp.ClientSession, **remote: object
) -> RemoteInferenceEngine:
    params = RemoteParams.model_validate({**QUICK, **remote})
    return kind(ModelParams(model_name="m"), remote_params=params, session=session)


def requests_to(api: aioresponses, url: str, method: str = "POST") -> list[dict[str, Any]]:
    """The arguments of the requests to a URL."""
    return [call.kwargs for call in all_requests(api).get((method, URL(url)), [])]


def all_requests(api: aioresponses) -> dict[tuple[str, URL], list[Any]]:
    """The requests by method and URL."""
    assert api.requests is not None
    return api.requests


@each
async def test_provider_is_asked_at_its_own_url_with_its_key(
    provider: Provider, api: aioresponses, session: aiohttp.ClientSession
) -> None:
    kind, url = engine_class(provider.name), provider.url
    assert kind is not None
    assert issubclass(kind, RemoteInferenceEngine)
    assert url is not None
    api.post(url, payload=sample_of(provider).answer)
    async with engine_for(kind, session) as engine:
        answer = await engine.agenerate(question("Hello?"))
    assert answer.messages[-1].content == "Hello."
    (sent,) = requests_to(api, url)
    assert any(KEY in value for value in sent["headers"].values())
    assert json.loads(sent["data"])["model"] == "m"
    assert sent["allow_redirects"] is False


@pytest.mark.parametrize(
    ("kind", "url", "answer"),
    [(OpenAIInferenceEngine, OPENAI, SUCCESS), (AnthropicInferenceEngine, ANTHROPIC, MESSAGE)],
)
async def test_429_is_retried(
    kind: type[RemoteInferenceEngine],
    url: str,
    answer: dict[str, Any],
    api: aioresponses,
    session: aiohttp.ClientSession,
) -> None:
    api.post(url, status=429, payload={"error": {"message": "slow down"}}, headers={"Retry-After": "0"})
    api.post(url, status=429, payload={"error": {"message": "slow down"}})
    api.post(url, payload=answer)
    async with engine_for(kind, session) as engine:
        assert (await engine.agenerate(question("Hello?"))).messages[-1].content == "Hello."
    assert len(requests_to(api, url)) == 3


@pytest.mark.parametrize(
    "error", [aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("cut"), TimeoutError()]
)
async def test_connection_error_is_retried(error: Exception, api: aioresponses, session: aiohttp.ClientSession) -> None:
    api.post(OPENAI, exception=error)
    api.post(OPENAI, payload=SUCCESS)
    async with engine_for(OpenAIInferenceEngine, session) as engine:
        assert (await engine.agenerate(question("Hello?"))).messages[-1].content == "Hello."


async def test_401_is_not_retried(api: aioresponses, session: aiohttp.ClientSession) -> None:
    api.post(OPENAI, status=401, payload={"error": {"message": f"Incorrect API key provided: {KEY}"}})
    async with engine_for(OpenAIInferenceEngine, session) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    assert (result.failures[0].status_code, KEY in result.failures[0].error_message) == (401, False)
    assert len(requests_to(api, OPENAI)) == 1


async def test_redirect_is_not_followed(api: aioresponses, session: aiohttp.ClientSession) -> None:
    api.post(OPENAI, status=307, headers={"Location": "https://elsewhere.invalid/v1"})
    async with engine_for(OpenAIInferenceEngine, session, max_retries=0) as engine:
        with pytest.raises(EngineConfigError, match="redirects to https://elsewhere.invalid/v1"):
            await engine.agenerate(question("Hello?"))
    assert [url.host for _, url in all_requests(api)] == ["api.openai.com"]


async def test_every_row_of_a_run_is_answered(api: aioresponses, session: aiohttp.ClientSession) -> None:
    def answer(_: URL, **request: Any) -> CallbackResult:
        asked = json.loads(request["data"])["messages"][-1]["content"]
        message = {"role": "assistant", "content": f"answer to {asked}"}
        return CallbackResult(
            payload=SUCCESS | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )

    api.post(OPENAI, callback=answer, repeat=True)
    async with engine_for(OpenAIInferenceEngine, session) as engine:
        answers = await engine.ainfer(questions(20))
    assert [answer.messages[-1].content for answer in answers] == [f"answer to question {index}" for index in range(20)]


async def test_stream_is_read(api: aioresponses, session: aiohttp.ClientSession) -> None:
    sample = sample_of(CATALOG["OPENAI"])
    api.post(OPENAI, body=b"".join(sample.stream), content_type="text/event-stream; charset=utf-8")
    async with engine_for(OpenAIInferenceEngine, session) as engine:
        assert "".join([delta.content async for delta in engine.astream(question("Hello?"))]) == "Hello."


async def test_models_are_listed_over_several_pages(api: aioresponses, session: aiohttp.ClientSession) -> None:
    listing = "https://api.anthropic.com/v1/models"
    first = {"data": [{"id": "a", "type": "model"}], "has_more": True, "last_id": "a"}
    pages = {"a": {"data": [{"id": "b", "type": "model"}], "has_more": False}}

    def page(url: URL, **_: Any) -> CallbackResult:
        return CallbackResult(payload=pages.get(url.query.get("after_id", ""), first))

    api.get(re.compile(listing), callback=page, repeat=True)
    async with engine_for(AnthropicInferenceEngine, session) as engine:
        assert await engine.alist_models() == ["a", "b"]


async def test_models_that_do_not_chat_are_left_out_of_the_list(
    api: aioresponses, session: aiohttp.ClientSession
) -> None:
    models = [{"id": "a/chat", "type": "chat"}, {"id": "b/flux", "type": "image"}]
    api.get("https://api.together.ai/v1/models", payload=models, repeat=True)
    async with engine_for(TogetherInferenceEngine, session) as engine:
        assert await engine.alist_models() == ["a/chat"]
        assert await engine.alist_models(chat_only=False) == ["a/chat", "b/flux"]


async def test_list_of_models_that_does_not_come_is_an_error(api: aioresponses, session: aiohttp.ClientSession) -> None:
    api.get("https://api.openai.com/v1/models", exception=aiohttp.ClientConnectionError("no route"))
    async with engine_for(OpenAIInferenceEngine, session) as engine:
        with pytest.raises(RequestError, match="no route") as caught:
            await engine.alist_models()
    assert caught.value.error_type == InferenceErrorType.CONNECTION
