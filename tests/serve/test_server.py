"""Running a server: it listens, loads the model first, and stops without losing answers."""

from __future__ import annotations

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
from asyncinfer.types.answer import Completion
from tests.engines.local.test_engine import CountingEngine
from tests.serve.serving import ASK, HELLO, ScriptedEngine
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
    async with ClientSession() as session, anyio.create_task_group() as tasks:
        running = Running(session)

        async def run() -> None:
            await serve(engine, port=0, stop=running.stop, on_listening=running.note)

        tasks.start_soon(run)
        await running.listening.wait()
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

    async with ClientSession() as session, anyio.create_task_group() as tasks:
        running = Running(session)

        async def run() -> None:
            await serve(ScriptedEngine(answer), port=0, stop=running.stop, on_listening=running.note)

        async def ask() -> None:
            statuses.append((await running.chat())[0])

        tasks.start_soon(run)
        await running.listening.wait()
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
    async with ClientSession() as session, anyio.create_task_group() as tasks:
        running = Running(session)
        settings = ServerSettings(shutdown_grace=0)

        async def run() -> None:
            await serve(engine, settings, port=0, stop=running.stop, on_listening=running.note)

        async def ask() -> None:
            answers.append(await running.chat())

        tasks.start_soon(run)
        await running.listening.wait()
        tasks.start_soon(ask)
        await begun.wait()
        running.stop.request()
    [(status, body)] = answers
    assert (status, body["error"]["code"]) == (503, "shutting_down")
    assert engine.in_flight == 0


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
