"""Engines on event loops of other kinds, on several loops one after the other, and without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio.from_thread
import pytest

from asyncinfer import BaseInferenceEngine, ModelParams, RemoteInferenceEngine, RemoteParams
from tests.engines.local.test_engine import CountingEngine
from tests.fakes import FakeEngine
from tests.faults import FaultServer


@pytest.fixture
def server() -> Generator[FaultServer]:
    """A server on the loop of another thread, which outlives the loops of the tests."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultServer()) as server,
    ):
        yield server


def remote_engine(server: FaultServer) -> BaseInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=server.url))


def local_engine(_: FaultServer) -> BaseInferenceEngine:
    return CountingEngine()


MakeEngine = Callable[[FaultServer], BaseInferenceEngine]
engines = pytest.mark.parametrize("make", [remote_engine, local_engine])


async def answers_of_all_methods(engine: BaseInferenceEngine) -> list[str]:
    """The answers to "2", one with each method."""
    async with engine.astream("2") as stream:
        texts = ["".join([delta.content async for delta in stream])]
    texts.append((await engine.agenerate("2")).text)
    texts += [answered.text for answered in await engine.ainfer(["2", "2"])]
    return [text.strip() for text in texts]


@engines
def test_engine_works_on_one_event_loop_after_the_other(make: MakeEngine, server: FaultServer) -> None:
    engine = make(server)
    first, second = (asyncio.run(answers_of_all_methods(engine)) for _ in range(2))
    assert first == second
    assert len(set(first)) == 1
    engine.close()


@engines
def test_blocking_methods_work_between_and_inside_event_loops(make: MakeEngine, server: FaultServer) -> None:
    engine = make(server)

    async def both() -> list[str]:
        return [(await engine.agenerate("2")).text, engine.generate("2").text]

    texts = [*asyncio.run(both()), engine.generate("2").text, *asyncio.run(both())]
    assert len({text.strip() for text in texts}) == 1
    engine.close()


@engines
def test_engine_works_on_uvloop(make: MakeEngine, server: FaultServer) -> None:
    uvloop = pytest.importorskip("uvloop", reason="needs the package uvloop")
    engine = make(server)

    async def main() -> list[str]:
        async with engine:
            return await answers_of_all_methods(engine)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        on_uvloop = runner.run(main())
    assert on_uvloop == asyncio.run(main())


async def first_of(iterator: Any) -> object:
    async with iterator as items:
        return await anext(items)


METHODS: dict[str, Callable[[BaseInferenceEngine], Awaitable[object]]] = {
    "agenerate": lambda engine: engine.agenerate("hi"),
    "astream": lambda engine: first_of(engine.astream("hi")),
    "ainfer of one row": lambda engine: engine.ainfer(["hi"]),
    "ainfer of two rows": lambda engine: engine.ainfer(["hi", "ho"]),
    "ainfer_partial": lambda engine: engine.ainfer_partial(["hi", "ho"]),
    "ainfer_iter": lambda engine: first_of(engine.ainfer_iter(["hi"])),
}
methods = pytest.mark.parametrize("call", METHODS.values(), ids=METHODS)


@methods
def test_call_without_asyncio_says_what_to_do(call: Callable[[BaseInferenceEngine], Awaitable[object]]) -> None:
    """The coroutine is driven by hand, as another async library does."""
    with pytest.raises(RuntimeError, match=r"runs on asyncio.*to_thread"):
        next(call(FakeEngine()).__await__())


def test_closing_a_remote_engine_without_asyncio_says_what_to_do(server: FaultServer) -> None:
    with pytest.raises(RuntimeError, match=r"runs on asyncio.*to_thread"):
        next(remote_engine(server).aclose().__await__())


@methods
def test_call_on_trio_says_what_to_do(call: Callable[[BaseInferenceEngine], Awaitable[object]]) -> None:
    trio = pytest.importorskip("trio", reason="needs the package trio")
    with pytest.raises(RuntimeError, match=r"runs on asyncio.*to_thread"):
        trio.run(call, FakeEngine())


def test_blocking_method_works_in_a_thread_of_trio() -> None:
    trio = pytest.importorskip("trio", reason="needs the package trio")
    answered = trio.run(trio.to_thread.run_sync, FakeEngine().generate, "hi")
    assert answered.text == "answer to hi"
