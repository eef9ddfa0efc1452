"""`remote_params.headers` is sent with every request of a remote engine, and no message shows its values."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncinfer import (
    ConfigError,
    InferenceConfig,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    build_engine,
)
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.provider import Provider
from tests.fakes import ONE_ATTEMPT, question, read_jsonl
from tests.faults import FaultServer, echo, status
from tests.providers.samples import KEY, sample_of
from tests.recorder import SUCCESS, Recorder

TOKEN = "c4nary-gateway-token"
HEADERS = {"X-Gateway-Auth": f"Bearer {TOKEN}", "X-Team": "c4nary-team"}


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def engine_at(url: str, **remote: Any) -> RemoteInferenceEngine:
    params = RemoteParams.model_validate({"api_url": url, "max_retries": 0, "headers": HEADERS, **remote})
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params)


@pytest.mark.parametrize("provider", CATALOG.values(), ids=[name.name for name in CATALOG])
async def test_every_request_of_every_provider_has_the_headers(provider: Provider, api: Recorder) -> None:
    sample = sample_of(provider)
    remote = {"api_url": api.url.removesuffix("/v1") + sample.base, "max_retries": 0, "headers": HEADERS}
    config = InferenceConfig(
        engine=provider.name,
        model=ModelParams(model_name="m"),
        remote_params=RemoteParams.model_validate({**remote, "api_key": KEY}),
    )
    engine = build_engine(config)
    async with engine:
        api.answers(sample.answer)
        await engine.ainfer([question("Hello?")])
        await engine.agenerate(question("Hello?"))
        api.streams(*sample.stream, media_type=sample.media_type)
        async with engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
            assert [delta async for delta in deltas]
        api.answers(sample.listing(["m"]))
        await engine.alist_models()
    assert len(api.sent) >= 4
    for sent in api.sent:
        assert HEADERS.items() <= sent.headers.items()


async def test_headers_replace_those_of_the_package_in_any_case() -> None:
    received: list[tuple[str, str]] = []

    async def handle(request: web.Request) -> web.Response:
        received.extend((name.decode().lower(), value.decode()) for name, value in request.raw_headers)
        return web.json_response(SUCCESS)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as server:
        mine = {
            "authorization": "Token mine",
            "user-agent": "mine/1",
            "ACCEPT-ENCODING": "identity",
            "accept": "application/json",
            "content-type": "application/json; charset=utf-8",
        }
        async with engine_at(str(server.make_url("/v1")), api_key="sk-1", headers=mine) as engine:
            await engine.ainfer([question("Hello?")])
    for name, value in mine.items():
        assert [text for given, text in received if given == name.lower()] == [value]


async def test_header_replaces_the_credentials_of_the_url(api: Recorder) -> None:
    url = api.url.replace("//", "//ann:pw@")
    async with engine_at(url, headers={"authorization": "Token mine"}) as engine:
        await engine.ainfer([question("Hello?")])
    assert api.sent[0].headers["Authorization"] == "Token mine"


async def test_credentials_of_the_url_go_together_with_other_headers(api: Recorder) -> None:
    async with engine_at(api.url.replace("//", "//ann:pw@")) as engine:
        await engine.ainfer([question("Hello?")])
    assert api.sent[0].headers["Authorization"].startswith("Basic ")


async def test_headers_of_a_call_replace_those_of_the_engine(api: Recorder) -> None:
    remote = RemoteParams.model_validate({"headers": {"X-Team": "other"}})
    async with engine_at(api.url) as engine:
        await engine.ainfer([question("Hello?")], InferenceConfig(remote_params=remote))
        await engine.agenerate(question("Hello?"), InferenceConfig(remote_params=remote))
        await engine.agenerate(question("Hello?"))
    assert [sent.headers["X-Team"] for sent in api.sent] == ["other", "other", HEADERS["X-Team"]]
    assert ["X-Gateway-Auth" in sent.headers for sent in api.sent] == [False, False, True]


async def test_provider_needs_no_key_if_a_header_authorises(api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    remote = RemoteParams.model_validate({"api_url": api.url, "headers": HEADERS})
    async with OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        await engine.ainfer([question("Hello?")])
    assert "Authorization" not in api.sent[0].headers


async def test_changed_header_keeps_saved_answers(api: Recorder, tmp_path: Any) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), reuse_output=True)
    for headers in (HEADERS, {"X-Team": "other"}):
        async with engine_at(api.url, headers=headers) as engine:
            await engine.ainfer([question("Hello?")], config)
    assert len(api.sent) == 1
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 1
    assert "c4nary" not in (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", TOKEN, HEADERS["X-Team"]])
async def test_error_that_repeats_a_value_is_shown_without_it(
    shown: str, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"), progress_path=str(tmp_path / "progress.json"))
    async with (
        FaultServer(lambda _: status(400, f"who is {shown}?")) as server,
        engine_at(server.url) as engine,
    ):
        with pytest.raises(RequestError) as caught:
            await engine.agenerate(question("Hello?"))
        texts = [str(caught.value), repr(caught.value)]
        with pytest.raises(RequestError) as streamed:
            async with engine.astream(question("Hello?")) as deltas:
                await anext(deltas)
        with pytest.raises(RequestError) as listed:
            await engine.alist_models()
        result = await engine.ainfer_partial([question("Hello?")], config)
        texts += [str(streamed.value), str(listed.value), str(result.failures), caplog.text]
    texts += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert "who is [API key]?" in texts[0]
    for text in texts:
        assert "c4nary" not in text


async def test_echo_of_all_headers_shows_no_value() -> None:
    async with FaultServer(lambda _: echo(400)) as server, engine_at(server.url) as engine:
        with pytest.raises(RequestError) as caught:
            await engine.agenerate(question("Hello?"))
    assert "c4nary" not in str(caught.value)


async def test_url_with_credentials_and_a_key_is_still_refused(api: Recorder) -> None:
    async with engine_at(api.url.replace("//", "//ann:pw@"), api_key="sk-1") as engine:
        with pytest.raises(ConfigError, match="holds credentials, and there is an api_key too"):
            await engine.ainfer([question("Hello?")])
