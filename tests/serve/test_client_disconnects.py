"""A client that disconnects frees its slot and stops the model; a client that stays does not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asyncinfer import Conversation, LlamaCppInferenceEngine, ModelParams
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from tests.serve.serving import ASK, HELLO, RunningServer, ScriptedEngine, serving, until
from tests.smollm2 import ONE_THREAD, PACKAGED


async def forever(_: Conversation, __: CallSettings) -> Completion:
    await anyio.sleep_forever()
    raise AssertionError


async def disconnect_from_stream(server: RunningServer, **fields: Any) -> None:
    """Read the first event of a stream, and close the connection."""
    async with server.session.post(f"{server.api}/chat/completions", json={**ASK, "stream": True, **fields}) as got:
        assert got.status == 200
        await got.content.readline()
        got.close()


async def test_client_disconnect_stops_the_answer() -> None:
    engine = ScriptedEngine(forever)
    async with serving(engine) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.chat)
        await until(lambda: engine.in_flight == 1)
        tasks.cancel_scope.cancel()
    assert engine.in_flight == 0


async def test_client_disconnect_frees_the_slot_for_the_next_request() -> None:
    engine = ScriptedEngine(forever)
    async with serving(engine, max_concurrency=1) as server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.chat)
            await until(lambda: engine.in_flight == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: engine.in_flight == 0)
        engine.answer = HELLO
        assert (await server.chat())[0] == 200
        assert server.backend.admission.in_use == 0


async def test_waiting_request_leaves_the_queue_when_its_client_disconnects() -> None:
    engine = ScriptedEngine(forever)
    async with serving(engine, max_concurrency=1) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.chat)
        await until(lambda: engine.in_flight == 1)
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(server.chat)
            await until(lambda: server.backend.admission.waiting == 1)
            waiting.cancel_scope.cancel()
        await until(lambda: server.backend.admission.waiting == 0)
        assert engine.in_flight == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_client_disconnect_stops_a_stream_at_once(path: str) -> None:
    engine, sent = ScriptedEngine(), 0

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        nonlocal sent
        while True:
            sent += 1
            yield StreamDelta("word ")
            await anyio.sleep(0.001)

    engine.deltas = deltas
    async with serving(engine) as server:
        fields = {**ASK, "input": "Hi", "stream": True}
        async with server.session.post(f"{server.url}{path}", json=fields) as got:
            await got.content.readline()
            got.close()
        await until(lambda: engine.in_flight == 0)
        stopped = sent
        await anyio.sleep(0.02)
        assert sent == stopped
        assert server.backend.admission.in_use == 0


async def test_client_disconnect_stops_all_choices() -> None:
    engine = ScriptedEngine(forever)
    async with serving(engine) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.chat(n=3))
        await until(lambda: engine.in_flight == 3)
        tasks.cancel_scope.cancel()
        await until(lambda: engine.in_flight == 0)


async def test_error_of_one_choice_stops_the_others() -> None:
    calls = 0

    async def second_fails(conversation: Conversation, settings: CallSettings) -> Completion:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("broken")
        return await forever(conversation, settings)

    engine = ScriptedEngine(second_fails)
    async with serving(engine) as server:
        assert (await server.chat(n=2))[0] == 500
        assert engine.in_flight == 0


@pytest.mark.model
async def test_client_disconnect_frees_the_slot_of_a_real_model() -> None:
    model = ModelParams(model_name=PACKAGED, model_max_length=2048, model_kwargs={"n_parallel": 1, **ONE_THREAD})
    async with serving(LlamaCppInferenceEngine(model), max_concurrency=1, any_model=True) as server:
        for _ in range(3):
            await disconnect_from_stream(server, max_tokens=2000, logit_bias={"0": -100, "2": -100})
        # The one slot is free: an answer of four tokens does not wait for 2,000 others.
        with anyio.fail_after(20):
            status, answer = await server.chat(max_tokens=4)
        assert (status, answer["usage"]["completion_tokens"]) == (200, 4)
        assert server.backend.admission.in_use == 0
