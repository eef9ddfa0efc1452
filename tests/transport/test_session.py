"""The transport over a session of the user, and engines that use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from anyio import to_thread

import asyncinfer
from asyncinfer import ConfigError, EngineConfigError, ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.engines.registry import engine_class
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.transport.session import SessionTransport
from tests.fakes import answer_to, question, questions
from tests.faults import FaultServer, completion, sse, stall, status
from tests.transport.requests import KEY, to


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def engine_for(server: FaultServer, session: aiohttp.ClientSession) -> RemoteInferenceEngine:
    remote = RemoteParams(api_url=server.url, api_key=KEY, max_retries=0)
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote, session=session)


async def test_engine_sends_through_the_session_and_leaves_it_open(session: aiohttp.ClientSession) -> None:
    session.headers["X-From-Session"] = "yes"
    async with FaultServer() as server:
        async with engine_for(server, session) as engine:
            await engine.ainfer(questions(3))
            assert (await engine.agenerate(question("a"))).messages[-1].content == answer_to("a")
            assert await engine.alist_models() == ["chatty", "text-embedding-x"]
        assert {ask.headers["X-From-Session"] for ask in server.asks} == {"yes"}
        assert {ask.headers["Authorization"] for ask in server.asks} == {f"Bearer {KEY}"}
        assert not session.closed
        async with session.get(f"{server.url}/models") as response:
            assert response.status == 200


async def test_engine_streams_through_the_session(session: aiohttp.ClientSession) -> None:
    async with FaultServer(lambda _: sse(["a", "b"])) as server, engine_for(server, session) as engine:
        assert [delta.content async for delta in engine.astream(question("a"))][:2] == ["a", "b"]


async def test_settings_of_a_request_replace_those_of_the_session() -> None:
    """A session that raises for a status, decompresses, and gives up early would change what a request returns."""
    timeout = aiohttp.ClientTimeout(total=0.01)
    async with (
        aiohttp.ClientSession(raise_for_status=True, auto_decompress=True, timeout=timeout) as session,
        FaultServer(lambda _: slow_refusal) as server,
    ):
        response = await SessionTransport(session).send(to(server.url))
    assert response.status == 418


async def slow_refusal(request: web.Request, ask: Any) -> web.StreamResponse:
    await asyncio.sleep(0.1)
    return await status(418)(request, ask)


async def test_closing_the_engine_ends_its_streams_and_no_others(session: aiohttp.ClientSession) -> None:
    async with FaultServer(lambda _: sse(["a"], stall)) as server:
        transport, other = SessionTransport(session), SessionTransport(session)
        async with transport.stream(to(server.url)) as ended, other.stream(to(server.url)) as going_on:
            chunks, other_chunks = ended.chunks(), going_on.chunks()
            assert b'"a"' in await anext(chunks)  # type: ignore[arg-type]
            assert b'"a"' in await anext(other_chunks)  # type: ignore[arg-type]
            await transport.aclose()
            with pytest.raises(asyncinfer.RequestError, match="the engine was closed"):
                await anext(chunks)  # type: ignore[arg-type]
            with anyio.move_on_after(0.05) as waiting:
                await anext(other_chunks)  # type: ignore[arg-type]
            assert waiting.cancelled_caught


async def test_session_of_another_event_loop_is_a_configuration_error(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as server:
        engine = engine_for(server, session)
        with pytest.raises(EngineConfigError, match="session: it belongs to another event loop") as caught:
            await to_thread.run_sync(lambda: asyncio.run(engine.agenerate(question("a"))))
        assert isinstance(caught.value, ConfigError)
        with pytest.raises(EngineConfigError, match="session: it belongs to another event loop"):
            await to_thread.run_sync(lambda: asyncio.run(collect(engine)))
        with pytest.raises(EngineConfigError, match="use the `a` methods"):
            await to_thread.run_sync(engine.generate, question("a"))
        assert not server.asks


async def collect(engine: RemoteInferenceEngine) -> list[str]:
    return [delta.content async for delta in engine.astream(question("a"))]


async def test_engine_with_a_session_can_be_closed_from_another_event_loop(session: aiohttp.ClientSession) -> None:
    async with FaultServer(lambda _: sse(["a"], stall)) as server:
        transport = SessionTransport(session)
        async with transport.stream(to(server.url)) as streamed:
            chunks = streamed.chunks()
            await anext(chunks)  # type: ignore[arg-type]
            await to_thread.run_sync(lambda: asyncio.run(transport.aclose()))
            with pytest.raises(asyncinfer.RequestError, match="the engine was closed"):
                await anext(chunks)  # type: ignore[arg-type]
    assert not session.closed


async def test_closed_session_is_a_configuration_error() -> None:
    session = aiohttp.ClientSession()
    async with FaultServer() as server:
        engine = engine_for(server, session)
        await engine.agenerate(question("a"))
        await session.close()
        with pytest.raises(EngineConfigError, match="session: it is closed"):
            await engine.agenerate(question("b"))


def test_other_objects_than_a_session_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"session should be an aiohttp\.ClientSession \(found object\)"):
        RemoteInferenceEngine(ModelParams(model_name="m"), session=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", CATALOG)
async def test_every_remote_engine_takes_a_session(provider: str, session: aiohttp.ClientSession) -> None:
    kind = engine_class(provider)
    assert kind is not None
    assert issubclass(kind, RemoteInferenceEngine)
    engine = kind(ModelParams(model_name="m"), session=session)
    assert isinstance(engine._transport, SessionTransport)
    await engine.aclose()
    assert not session.closed


async def test_key_reaches_the_server_in_the_url_and_no_log(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials in a URL are sent as a header."""
    caplog.set_level(logging.DEBUG)
    async with FaultServer(lambda _: status(401)) as server:
        url = server.url.replace("http://", f"http://ann:{KEY}@")
        response = await SessionTransport(session).send(to(url)._replace(headers={}))
        assert server.asks[0].headers["Authorization"].startswith("Basic ")
    assert response.status == 401
    assert KEY not in caplog.text


async def test_session_over_a_unix_socket_is_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(Path(tmp_path_factory.mktemp("s")) / "api")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=completion("a"), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
            remote = RemoteParams(api_url="http://api.invalid/v1")
            engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote, session=session)
            assert (await engine.agenerate(question("a"))).messages[-1].content == answer_to("a")
    finally:
        await runner.cleanup()
