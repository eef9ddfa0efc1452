"""Running a server: it listens, loads the model first, and stops without losing answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from aiohttp import ClientConnectionError, ClientSession
from pydantic import SecretStr

from asyncinfer import Conversation, LlamaCppInferenceEngine, ModelParams, Stop
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.errors import ConfigError
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.serve import ServerSettings, serve
from asyncinfer.serve.addresses import bound_sockets, port_of
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from tests.engines.local.test_engine import CountingEngine
from tests.serve.raw_client import raw_request
from tests.serve.serving import ASK, HELLO, ScriptedEngine, until
from tests.smollm2 import ONE_THREAD, PACKAGED


class Running:
    """A server in a task group, and a client."""

    def __init__(self, session: ClientSession) -> None:
        self.session, self.url, self.stop = session, "", Stop()
        self.listening = anyio.Event()

    def note(self, url: str) -> None:
        self.url = url
        self.listening.set()

    async def chat(self) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/v1/chat/completions", json=ASK) as response:
            return response.status, await response.json()


@asynccontextmanager
async def running_server(engine: ScriptedEngine, **settings: Any) -> AsyncGenerator[tuple[Running, anyio.CancelScope]]:
    """A server, and the scope whose cancellation ends it."""
    async with ClientSession() as session, anyio.create_task_group() as tasks:
        running, scope = Running(session), anyio.CancelScope()

        async def run() -> None:
            with scope:
                await serve(engine, ServerSettings(**settings), port=0, stop=running.stop, on_listening=running.note)

        tasks.start_soon(run)
        await running.listening.wait()
        yield running, scope


async def unfinished(_: Conversation) -> AsyncIterator[StreamDelta]:
    """The beginning of an answer, whose rest never comes."""
    yield StreamDelta("Hel")
    await anyio.sleep_forever()


async def endless(_: Conversation) -> AsyncIterator[StreamDelta]:
    """More than the buffers of the system can hold."""
    while True:
        yield StreamDelta("a" * 100_000)
        await anyio.lowlevel.checkpoint()


@pytest.mark.model
async def test_model_in_this_process_is_loaded_before_the_server_listens() -> None:
    model = ModelParams(model_name=PACKAGED, model_max_length=256, model_kwargs=ONE_THREAD)
    stop, is_loaded = Stop(), list[bool]()

    def note(_: str) -> None:
        is_loaded.append(engine._thread is not None)
        stop.request()

    async with LlamaCppInferenceEngine(model) as engine:
        await serve(engine, port=0, stop=stop, on_listening=note)
    assert is_loaded == [True]


async def test_engine_stays_open_and_gets_no_requests_of_the_server_itself() -> None:
    engine = ScriptedEngine()
    async with running_server(engine) as (running, _):
        assert engine.asked == []
        assert running.url.startswith("http://127.0.0.1:")
        assert (await running.chat())[0] == 200
        running.stop.request()
    assert not engine.is_closed


async def test_running_answers_finish_and_new_requests_are_refused_while_the_server_stops() -> None:
    release, begun, statuses = anyio.Event(), anyio.Event(), list[int]()

    async def answer(_: Conversation, __: CallSettings) -> Completion:
        begun.set()
        await release.wait()
        return HELLO

    async with running_server(ScriptedEngine(answer)) as (running, _), anyio.create_task_group() as tasks:

        async def ask() -> None:
            statuses.append((await running.chat())[0])

        tasks.start_soon(ask)
        await begun.wait()
        running.stop.request()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()  # The server learns of the request.
        status, body = await running.chat()
        assert (status, body["error"]["code"]) == (503, "shutting_down")
        release.set()
    assert statuses == [200]
    async with ClientSession() as session:
        running.session = session
        with pytest.raises(ClientConnectionError):
            await running.chat()


async def test_answers_that_take_too_long_are_cut_off_when_the_server_stops() -> None:
    begun, answers = anyio.Event(), list[tuple[int, Any]]()

    async def answer(_: Conversation, __: CallSettings) -> Completion:
        begun.set()
        await anyio.sleep_forever()
        return HELLO

    engine = ScriptedEngine(answer)
    async with running_server(engine, shutdown_grace=0) as (running, _), anyio.create_task_group() as tasks:

        async def ask() -> None:
            answers.append(await running.chat())

        tasks.start_soon(ask)
        await begun.wait()
        running.stop.request()
    [(status, body)] = answers
    assert (status, body["error"]["code"]) == (503, "shutting_down")
    assert engine.in_flight == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_stream_that_is_cut_off_ends_with_an_error_event(path: str) -> None:
    engine = ScriptedEngine()
    engine.deltas = unfinished
    async with running_server(engine, shutdown_grace=0) as (running, _):
        fields = {**ASK, "input": "Hi", "stream": True}
        async with running.session.post(f"{running.url}{path}", json=fields) as response:
            await response.content.readline()
            running.stop.request()
            streamed = await response.content.read()
    last = json.loads(streamed.split(b"data: ")[-1])
    error = last["response"]["error"] if "response" in last else last["error"]
    assert error["message"] == "The server was shut down before the answer was complete."


async def test_client_that_stops_reading_frees_its_slot(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine()
    engine.deltas = endless
    async with running_server(engine, max_concurrency=1, write_timeout=0.2) as (running, _):
        async with raw_request(running.url, "/v1/chat/completions", {**ASK, "stream": True}) as (reader, __):
            await until(lambda: engine.in_flight == 1)
            await until(lambda: engine.in_flight == 0)
            assert (await running.chat())[0] == 200
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # Its connection is closed.
                await reader.readexactly(10**9)
        running.stop.request()
    assert [record.getMessage() for record in caplog.records] == [
        "/v1/chat/completions: a client has read nothing for 0.2 s: its connection is closed"
    ]


async def test_client_that_reads_slowly_gets_its_whole_response() -> None:
    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        for text in ["a" * 100_000] * 100:
            yield StreamDelta(text)

    engine = ScriptedEngine()
    engine.deltas = deltas
    size = 0
    async with running_server(engine, write_timeout=0.5) as (running, _):
        async with raw_request(running.url, "/v1/chat/completions", {**ASK, "stream": True}) as (reader, __):
            last = b""
            while not last.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
                part = await reader.read(1 << 20)
                assert part
                size, last = size + len(part), (last + part)[-100:]
                await anyio.sleep(0.02)
        running.stop.request()
    assert size > 10_000_000


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_server_stops_soon_although_a_client_does_not_read(path: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine()
    engine.deltas = endless
    began = time.monotonic()
    ask = {**ASK, "input": "Hi", "stream": True}
    async with running_server(engine, shutdown_grace=0) as (running, _), raw_request(running.url, path, ask):
        await until(lambda: engine.in_flight == 1)
        running.stop.request()
        await until(lambda: engine.in_flight == 0)
    assert time.monotonic() - began < 4
    assert [record.getMessage() for record in caplog.records] == [
        "1 answers were not finished after 0 s: they are cut off"
    ]


async def test_request_with_half_a_body_is_refused_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    async with (
        running_server(ScriptedEngine()) as (running, _),
        raw_request(running.url, "/v1/chat/completions", ASK, sent=0.5) as (reader, __),
    ):
        assert (await running.chat())[0] == 200  # The server has seen the earlier request.
        running.stop.request()
        response = await reader.read()
    assert b" 503 " in response.partition(b"\r\n")[0]
    assert b'"code":"shutting_down"' in response
    assert time.monotonic() - began < 4
    assert not caplog.records


async def test_cancelled_server_ends_its_streams_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine()
    engine.deltas = unfinished
    async with running_server(engine) as (running, scope):
        ask = {**ASK, "input": "Hi", "stream": True}
        async with running.session.post(f"{running.url}/v1/responses", json=ask) as response:
            await response.content.readline()
            scope.cancel()
            assert b"response.failed" in await response.content.read()
    assert not caplog.records


async def test_no_client_can_connect_while_the_model_is_loaded() -> None:
    is_refused = list[bool]()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = port_of(free)

    def load() -> Stepper:
        with socket.socket() as client:
            is_refused.append(client.connect_ex(("127.0.0.1", port)) != 0)
        raise ConfigError("model.model_name: there is no such file")

    async with CountingEngine(load) as engine:
        with pytest.raises(ConfigError, match="no such file"):
            await serve(engine, port=port)
    assert is_refused == [True]


async def test_stop_while_the_model_is_loaded_ends_the_server() -> None:
    loading, release, stop = threading.Event(), threading.Event(), Stop()

    def load() -> Stepper:
        loading.set()
        stop.request()
        release.wait(60)
        raise ConfigError("model.model_name: there is no such file")

    async with CountingEngine(load) as engine:
        with anyio.fail_after(30):
            await serve(engine, port=0, stop=stop, on_listening=lambda _: pytest.fail("it listens"))
        assert loading.is_set()
        release.set()


async def test_server_listens_on_all_addresses_of_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(_: str, port: int, **__: object) -> list[Any]:
        addresses = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "192.0.2.1")]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    bound = bound_sockets("localhost", 0)
    monkeypatch.undo()
    try:
        # This machine does not have the third address.
        assert [one.getsockname()[0] for one in bound] == ["127.0.0.1", "127.0.0.2"]
        assert len({port_of(one) for one in bound}) == 1
    finally:
        for one in bound:
            one.close()


def test_host_without_an_address_of_this_machine_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot listen on 192.0.2.1:0"):
        bound_sockets("192.0.2.1", 0)


async def test_server_without_keys_does_not_listen_on_other_addresses() -> None:
    engine = ScriptedEngine()
    with pytest.raises(ConfigError, match="it needs an API key"):
        await serve(engine, host="0.0.0.0", port=0)
    assert engine.asked == []


async def test_server_with_a_key_listens_on_all_addresses() -> None:
    stop = Stop()

    def check(url: str) -> None:
        assert url.startswith("http://0.0.0.0:")
        stop.request()

    settings = ServerSettings(api_keys=(SecretStr("key"),))
    await serve(ScriptedEngine(), settings, host="0.0.0.0", port=0, stop=stop, on_listening=check)


async def test_port_that_is_in_use_is_a_config_error() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(ScriptedEngine(), port=port)


async def test_model_that_cannot_be_loaded_ends_the_server_before_it_listens() -> None:
    def fail() -> Stepper:
        raise ConfigError("model.model_name: there is no such file")

    async with CountingEngine(fail) as engine:
        with pytest.raises(ConfigError, match="no such file"):
            await serve(engine, port=0, on_listening=lambda _: pytest.fail("it listens"))
