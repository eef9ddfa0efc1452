"""Code of the user that raises SystemExit or KeyboardInterrupt within a run, or what asyncio uses as control flow.

The event loop goes on, nothing is left behind, and saved rows stay saved.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import Conversation, FailureDetail, InferenceConfig
from asyncinfer.aio.exits import TaskExit, original, without_exit
from asyncinfer.aio.tasks import task_group
from asyncinfer.run.events import Events, RowResumed
from tests.fakes import FakeEngine, answer_to, question, write_jsonl

EXITS = [SystemExit(3), KeyboardInterrupt()]
each_exit = pytest.mark.parametrize("error", EXITS, ids=repr)


class Panic(BaseException):
    """As the panics of extensions in Rust."""


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object) -> Any:
        raise error

    return function


def engine_that_raises(error: BaseException) -> FakeEngine:
    return FakeEngine(lambda text, _: raising(error)() if text == "b" else None)


class TestTaskGroups:
    @each_exit
    async def test_exit_of_a_task_is_raised_after_the_others_have_ended(self, error: BaseException) -> None:
        ended = asyncio.Event()

        async def wait() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        async def exit() -> None:
            raise error

        with pytest.raises(type(error)) as raised:
            async with task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(exit)
        assert raised.value is error
        assert ended.is_set()

    @each_exit
    async def test_other_code_that_awaits_the_task_gets_another_error(self, error: BaseException) -> None:
        async def exit() -> None:
            raise error

        with pytest.raises(TaskExit) as raised:
            await asyncio.create_task(without_exit(exit))
        assert original(raised.value) is error


class TestEngines:
    async def test_engine_that_exits_fails_the_row(self) -> None:
        result = await engine_that_raises(SystemExit(3)).ainfer_partial(["a", "b", "c"])
        assert [answered.text for _, answered in result.successful] == [answer_to("a"), answer_to("c")]
        assert result.failures[1].error_message == "RuntimeError: the engine raised SystemExit(3)"

    async def test_single_call_and_stream_raise_an_error(self) -> None:
        engine = engine_that_raises(SystemExit(3))
        with pytest.raises(RuntimeError, match=r"the engine raised SystemExit\(3\)"):
            await engine.agenerate("b")
        with pytest.raises(RuntimeError, match=r"the engine raised SystemExit\(3\)"):
            async with engine.astream("b") as stream:
                [delta async for delta in stream]

    async def test_interrupt_within_the_engine_ends_the_run(self, tmp_path: Path) -> None:
        config = InferenceConfig(output_path=tmp_path / "out.jsonl", progress_path=tmp_path / "progress.json")
        engine = engine_that_raises(KeyboardInterrupt())
        engine_before = FakeEngine(lambda text, _: raising(ConnectionError())() if text == "b" else None)
        await engine_before.ainfer_partial(["a", "b"], config)
        with pytest.raises(KeyboardInterrupt):
            await engine.ainfer(["a", "b"], config)
        assert json.loads((tmp_path / "progress.json").read_text())["state"] == "interrupted"
        again = FakeEngine()
        assert len(await again.ainfer(["a", "b"], config)) == 2
        assert again.asked.keys() == {"b"}

    @each_exit
    def test_blocking_calls_go_on_afterwards(self, error: BaseException) -> None:
        engine = engine_that_raises(error)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RuntimeError):
                engine.generate("b")
            with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RuntimeError):
                list(engine.stream("b"))
        assert engine.generate("a").text == answer_to("a")


class TestProgress:
    @each_exit
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_callback_ends_the_run_and_is_not_called_again(self, error: BaseException, is_async: bool) -> None:
        calls = 0

        def callback(_: object) -> None:
            nonlocal calls
            calls += 1
            raise error

        async def async_callback(progress: object) -> None:
            callback(progress)

        with pytest.raises(type(error)):
            await FakeEngine().ainfer(["a", "b"], on_progress=async_callback if is_async else callback)
        assert calls == 1

    @each_exit
    async def test_iteration_ends_with_the_error(self, error: BaseException) -> None:
        with pytest.raises(type(error)):
            async with FakeEngine().ainfer_iter(["a", "b"], on_progress=raising(error)) as outcomes:
                [outcome async for outcome in outcomes]

    @each_exit
    def test_blocking_run_raises_it_and_the_next_one_works(self, error: BaseException) -> None:
        engine = FakeEngine()
        with pytest.raises(type(error)):
            engine.infer(["a", "b"], on_progress=raising(error))
        with pytest.raises(type(error)):
            list(engine.infer_iter(["a", "b"], on_progress=raising(error)))
        assert len(engine.infer(["a", "b"])) == 2


class TestSources:
    @each_exit
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_source_ends_the_iteration_and_earlier_rows_arrive(
        self, error: BaseException, is_async: bool
    ) -> None:
        def source() -> Iterator[str]:
            yield "a"
            raise error

        async def async_source() -> AsyncIterator[str]:
            for text in source():
                yield text

        found: list[Conversation | FailureDetail] = []
        with pytest.raises(type(error)):
            async with FakeEngine().ainfer_iter(async_source() if is_async else source()) as outcomes:
                async for _, outcome in outcomes:
                    found.append(outcome)
        assert len(found) == 1

    @each_exit
    def test_blocking_iteration_raises_it_and_the_next_one_works(self, error: BaseException) -> None:
        def source() -> Iterator[str]:
            yield "a"
            raise error

        engine = FakeEngine()
        with pytest.raises(type(error)):
            list(engine.infer_iter(source()))
        assert len(list(engine.infer_iter(["a"]))) == 1


OTHERS = [SystemExit(3), GeneratorExit(), StopIteration(), asyncio.CancelledError(), Panic("no"), ValueError("no")]


class TestObservers:
    @pytest.mark.parametrize("error", OTHERS, ids=repr)
    async def test_observer_gets_no_further_events_and_the_run_goes_on(
        self, error: BaseException, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        seen: list[object] = []
        config = InferenceConfig(
            input_path=str(write_jsonl(tmp_path / "in.jsonl", [question(text) for text in "abc"])),
            output_path=str(tmp_path / "out.jsonl"),
        )
        with caplog.at_level(logging.ERROR, "asyncinfer"):
            summary = await FakeEngine().arun(config, observers=[raising(error), seen.append])
        assert summary.completed == len(seen) == 3
        assert [record.getMessage() for record in caplog.records] == [
            f"an observer of the run raised {error!r}; it gets no further events"
        ]

    def test_interrupt_passes(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            Events([raising(KeyboardInterrupt())]).emit(RowResumed(0))
