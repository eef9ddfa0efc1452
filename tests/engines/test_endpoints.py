"""Remote engines with several endpoints, against local servers."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest

from asyncinfer import (
    BaseInferenceEngine,
    ConfigError,
    EndpointParams,
    EngineDeadError,
    GoogleVertexInferenceEngine,
    InferenceConfig,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    build_engine,
)
from asyncinfer.scratch.keys import RowKeys
from tests.fakes import answer_to, question, questions, read_jsonl, write_jsonl
from tests.faults import FaultServer, Script, sse, stall, status

MODEL = ModelParams(model_name="m")
MODELS = ["chatty", "text-embedding-x"]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def engine_for(*endpoints: EndpointParams, **remote: Any) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(MODEL, remote_params=RemoteParams(endpoints=[*endpoints], **remote))


@asynccontextmanager
async def two_servers(
    *scripts: Script | None, **remote: Any
) -> AsyncGenerator[tuple[RemoteInferenceEngine, list[FaultServer]]]:
    """Two servers, and an engine for both."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(FaultServer(script)) for script in (*scripts, None, None)[:2]]
        engine = engine_for(*(EndpointParams(api_url=server.url) for server in servers), **remote)
        yield await stack.enter_async_context(engine), servers


# Requests


async def test_each_endpoint_gets_its_own_key_headers_and_model_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_B", "key-of-b")
    async with FaultServer() as a, FaultServer() as b:
        first = EndpointParams(api_url=a.url, headers={"X-Team": "blue"})
        second = EndpointParams(api_url=b.url, api_key_env_varname="KEY_OF_B", model_name="m-fp8")
        async with engine_for(first, second, api_key="key-of-all", headers={"x-team": "red", "X-Use": "1"}) as engine:
            await engine.ainfer(questions(10))
    sent_to_a, sent_to_b = a.asks[0], b.asks[0]
    assert sent_to_a.headers["Authorization"] == "Bearer key-of-all"
    assert sent_to_b.headers["Authorization"] == "Bearer key-of-b"
    assert (sent_to_a.headers["X-Team"], sent_to_a.headers["X-Use"]) == ("blue", "1")
    assert (sent_to_b.headers["x-team"], sent_to_b.headers["X-Use"]) == ("red", "1")
    assert (sent_to_a.body["model"], sent_to_b.body["model"]) == ("m", "m-fp8")


async def test_weight_sets_the_share_of_the_rows() -> None:
    async with FaultServer() as a, FaultServer() as b:
        endpoints = EndpointParams(api_url=a.url, weight=3), EndpointParams(api_url=b.url)
        async with engine_for(*endpoints, use_adaptive_concurrency=False) as engine:
            await asyncio.gather(*(engine.agenerate(conversation) for conversation in questions(40)))
    assert (len(a.asks), len(b.asks)) == (30, 10)


async def test_rows_go_to_the_other_endpoint_if_one_refuses_connections(tmp_path: Path) -> None:
    async with FaultServer() as gone:
        url = gone.url
    write_jsonl(tmp_path / "in.jsonl", questions(50))
    config = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / "out.jsonl")
    async with FaultServer() as server:
        endpoints = EndpointParams(api_url=url), EndpointParams(api_url=server.url)
        async with engine_for(*endpoints, max_retries=0) as engine:
            summary = await engine.arun(config)
    assert (summary.completed, summary.failed) == (50, 0)
    refused, used = summary.endpoints
    assert refused.endpoint == url
    assert "cannot connect" in str(refused.problem).lower() or "refused" in str(refused.problem).lower()
    assert (used.endpoint, used.answered, used.problem) == (server.url, 50, None)
    texts = [row["messages"][-1]["content"] for row in read_jsonl(tmp_path / "out.jsonl")]
    assert texts == [answer_to(f"question {i}") for i in range(50)]


async def test_run_ends_if_every_endpoint_refuses_the_key() -> None:
    async with two_servers(lambda _: status(401, "wrong key"), lambda _: status(402, "no credit")) as (engine, servers):
        with pytest.raises(EngineDeadError) as error:
            await engine.agenerate(question("hello"))
    assert f"{servers[0].url}: HTTP 401: wrong key" in str(error.value)
    assert f"{servers[1].url}: HTTP 402: no credit" in str(error.value)


async def test_stream_moves_to_the_other_endpoint_before_its_first_delta() -> None:
    async with two_servers(lambda _: status(500), max_retries=0) as (engine, _):
        for _ in range(4):
            async with engine.astream("hello") as stream:
                assert "".join([delta.content async for delta in stream]) == answer_to("hello")


async def test_stream_fails_if_its_endpoint_stands_still_after_the_first_delta() -> None:
    async with two_servers(lambda _: sse(["Hel"], stall), lambda _: sse(["Hel"], stall), stream_idle_timeout=0.1) as (
        engine,
        servers,
    ):
        with pytest.raises(RequestError, match=r"stream_idle_timeout"):
            async with engine.astream("hello") as stream:
                assert [delta.content async for delta in stream] == ["Hel"]
    assert sum(len(server.asks) for server in servers) == 1


async def test_models_of_all_endpoints_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    async with two_servers() as (engine, _):
        assert await engine.alist_models() == MODELS
    async with two_servers(lambda _: status(500, "no list")) as (engine, _):
        assert await engine.alist_models() == MODELS
    assert "one of 2 endpoints did not list its models: HTTP 500: no list" in caplog.text


def test_blocking_calls_and_several_event_loops_share_the_endpoints() -> None:
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultServer()) as a,
        portal.wrap_async_context_manager(FaultServer()) as b,
    ):
        engine = engine_for(EndpointParams(api_url=a.url), EndpointParams(api_url=b.url), num_workers=4)
        with ThreadPoolExecutor() as threads:
            runs = [threads.submit(lambda: asyncio.run(engine.ainfer(questions(30)))) for _ in range(3)]
        assert [len(run.result()) for run in runs] == [30, 30, 30]
        assert engine.generate("hello").text == answer_to("hello")
        engine.close()
    assert len(a.asks) + len(b.asks) == 91
    assert min(len(a.asks), len(b.asks)) > 20


# Settings


def test_endpoints_come_from_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret-1")
    text = """
    engine: REMOTE
    model: {model_name: m}
    remote_params:
      endpoints:
        - {api_url: "http://a:8000/v1", api_key: "${TOKEN}"}
        - {api_url: "http://b:8000/v1", weight: 2, fallback: true}
    """
    config = InferenceConfig.from_str(text, overrides=["remote_params.endpoints.1.weight=4"])
    assert config.remote_params is not None
    first, second = config.remote_params.endpoints
    assert first.api_key is not None
    assert first.api_key.get_secret_value() == "secret-1"
    assert (second.weight, second.fallback) == (4.0, True)
    assert "secret-1" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        ("{api_url: 'http://a', endpoints: [{api_url: 'http://b'}]}", "exclude each other; add the URL to endpoints"),
        ("{endpoints: [{api_url: 'http://b', fallback: true}]}", "at least one must not be a fallback"),
        ("{endpoints: [{api_ulr: 'http://b'}]}", "endpoints.0.api_ulr: unknown key; did you mean 'api_url'?"),
        ("{endpoints: 'http://ann:pass-1@b'}", "endpoints: should be a valid list (found 'http://**********@b')"),
        ("{endpoints: [{api_url: 'http://b', weight: 0}]}", "endpoints.0.weight: should be greater than 0"),
    ],
)
def test_wrong_endpoints_are_refused_with_advice(remote: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        InferenceConfig.from_str(f"remote_params: {remote}")
    assert message in str(error.value)


def test_wrong_override_of_a_shorter_list_is_refused_with_advice() -> None:
    text = "remote_params: {endpoints: [{api_url: 'http://a'}]}"
    with pytest.raises(ConfigError, match=r"override remote_params\.endpoints\.1: should be a mapping of settings"):
        InferenceConfig.from_str(text, overrides=["remote_params.endpoints=[{api_url: 'http://b'}, 5]"])


async def test_missing_key_is_reported_with_the_number_of_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET_KEY", raising=False)
    good = EndpointParams(api_url="http://a/v1")
    with pytest.raises(
        ConfigError, match=r"^remote_params\.endpoints\.1\.api_key: .*the environment variable UNSET_KEY"
    ):
        await engine_for(good, EndpointParams(api_url="http://b/v1", api_key_env_varname="UNSET_KEY")).access()


async def test_endpoint_without_a_url_is_that_of_the_provider() -> None:
    endpoints = [EndpointParams(api_key="key-1"), EndpointParams(api_key="key-2")]
    engine = OpenAIInferenceEngine(
        ModelParams(model_name="gpt-5-mini"), remote_params=RemoteParams(endpoints=endpoints)
    )
    url = "https://api.openai.com/v1/chat/completions"
    assert (await engine.access()).display_name == f"{url} (endpoints.0), {url} (endpoints.1)"


async def test_project_and_region_are_filled_in_for_each_endpoint() -> None:
    urls = [f"https://{region}-aiplatform.googleapis.com/v1/projects/{{project_id}}/chat" for region in ("a", "b")]
    endpoints = [EndpointParams(api_url=url, api_key="token") for url in urls]
    engine = GoogleVertexInferenceEngine(
        MODEL, project_id="p", region="r", remote_params=RemoteParams(endpoints=endpoints)
    )
    names = (await engine.access()).display_name
    assert names.count("/projects/p/") == 2


async def test_call_cannot_change_the_endpoints() -> None:
    engine = engine_for(EndpointParams(api_url="http://a/v1"), EndpointParams(api_url="http://b/v1"))
    other = InferenceConfig(remote_params=RemoteParams(endpoints=[EndpointParams(api_url="http://c/v1")]))
    with pytest.raises(ConfigError, match=r"endpoints: a call cannot change them"):
        await engine.access(other)
    with pytest.raises(ConfigError, match=r"api_url: the engine has several endpoints"):
        await engine.access(InferenceConfig(remote_params=RemoteParams(api_url="http://c/v1")))
    assert (await engine.access(InferenceConfig(remote_params=engine.settings.remote))).semaphore.size == 2


async def test_call_cannot_choose_another_model_if_endpoints_have_names_of_their_own() -> None:
    other = InferenceConfig(model=ModelParams(model_name="other"))
    async with FaultServer() as a, FaultServer() as b:
        first, second = EndpointParams(api_url=a.url), EndpointParams(api_url=b.url, model_name="m-fp8")
        async with engine_for(first, second) as engine:
            with pytest.raises(ConfigError, match=r"model_name: the endpoints have model names of their own"):
                await engine.agenerate("hello", other)
            await engine.agenerate("hello", InferenceConfig(model=MODEL))
        async with engine_for(first) as engine:
            await engine.agenerate("hello", other)
    assert a.asks[-1].body["model"] == "other"


async def test_number_of_workers_is_for_each_endpoint() -> None:
    endpoints = [EndpointParams(api_url=f"http://{name}/v1") for name in "abc"]
    engine = engine_for(*endpoints, num_workers=7, use_adaptive_concurrency=False)
    assert (await engine.access()).semaphore.limit == 21


async def key_of(engine: BaseInferenceEngine) -> bytes:
    keys: RowKeys = (await engine._setup_for(None)).keys
    return keys(question("hello"))


async def test_key_of_a_row_does_not_depend_on_the_endpoints() -> None:
    a, b = EndpointParams(api_url="http://a/v1", api_key="k"), EndpointParams(api_url="http://b/v1", model_name="n")
    keys = {await key_of(engine_for(*endpoints)) for endpoints in ([a], [b, a], [a, b], [b])}
    assert len(keys) == 1


async def test_rows_are_resumed_whichever_endpoint_answered(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(8))
    config = InferenceConfig(input_path=tmp_path / "in.jsonl", output_path=tmp_path / "out.jsonl", reuse_output=True)
    async with two_servers() as (engine, servers):
        await engine.arun(config)
        async with engine_for(EndpointParams(api_url=servers[1].url)) as one_of_them:
            assert (await one_of_them.arun(config)).resumed == 8


def test_spec_builds_an_engine_with_the_same_endpoints() -> None:
    engine = engine_for(
        EndpointParams(api_url="http://ann:pass-1@a/v1"), EndpointParams(api_url="http://b/v1", api_key="key-1")
    )
    assert "pass-1" not in repr(engine.spec)
    assert "key-1" not in repr(engine.spec)
    again = pickle.loads(pickle.dumps(engine.spec)).build()
    assert again.settings.remote == engine.settings.remote


async def test_no_key_appears_in_messages_and_names(caplog: pytest.LogCaptureFixture) -> None:
    async with two_servers(lambda _: status(401, "wrong key key-of-a")) as (_, servers):
        url = servers[0].url.replace("127", "ann:key-of-a@127")
        async with engine_for(EndpointParams(api_url=url), EndpointParams(api_url=servers[1].url)) as engine:
            result = await engine.ainfer_partial(questions(10))
            semaphore = (await engine.access()).semaphore
    assert len(result.successful) == 10
    assert servers[0].url in str(semaphore.problems())
    assert "key-of-a" not in caplog.text + str(semaphore.problems()) + repr(engine.settings)


def test_configuration_with_endpoints_builds_an_engine() -> None:
    config = InferenceConfig.from_str(
        json.dumps(
            {"engine": "OPENAI", "model": {"model_name": "m"}, "remote_params": {"endpoints": [{"api_key": "k"}]}}
        )
    )
    assert build_engine(config).settings.remote.api_url is None
