"""After any failure, a run, a stream or a model releases everything that it holds."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import EngineDeadError, RequestError, UnexpectedCancellationError
from asyncinfer.engines.local.delivery import ResultDelivery, Submission
from asyncinfer.engines.local.llama_cpp.stepper import LlamaStepper
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.run.workers import Job, Workers
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta
from tests.conftest import BlockWatch
from tests.engines.local.test_engine import Counter, CountingEngine
from tests.fakes import FakeEngine, question, questions


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class OddEngine(FakeEngine):
    """Answers with any object, also with one of the wrong type."""

    def __init__(self, answer: Any) -> None:
        super().__init__(workers=1)
        self.answer = answer

    async def _generate(self, conversation: Conversation) -> Completion:
        return self.answer

    async def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta(content="a")
        yield self.answer


@pytest.mark.parametrize("answer", [None, 7, "text", object(), Completion(None, None, None)])  # type: ignore[arg-type]
async def test_permit_is_released_after_an_invalid_answer(answer: Any) -> None:
    engine = OddEngine(answer)
    for _ in range(2):
        with anyio.fail_after(30):
            with suppress(Exception):
                await engine.ainfer_partial([question("a")])
            with suppress(Exception):
                _ = [delta async for delta in engine.astream(question("a"))]
    assert engine._semaphore().in_use == 0


async def test_error_without_a_printable_text_fails_only_its_row() -> None:
    def script(text: str, _: int) -> None:
        if text == "question 1":
            raise UnprintableError

    result = await FakeEngine(script).ainfer_partial(questions(3))
    assert list(result.failures) == [1]
    assert "UnprintableError" in result.failures[1].error_message


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("place", [1, 2, 3])
async def test_permit_of_a_task_that_was_cancelled_before_it_began_is_released(
    place: int, monkeypatch: pytest.MonkeyPatch, block_watch: BlockWatch
) -> None:
    block_watch.off()  # Python reads source files for the warning about the coroutine of the cancelled task.
    calls, start = 0, Workers.start

    def start_and_cancel(workers: Workers, job: Job) -> None:
        nonlocal calls
        calls += 1
        start(workers, job)
        for task in asyncio.all_tasks() if calls == place else ():
            if task.get_name().endswith("Workers._serve"):
                task.cancel()

    monkeypatch.setattr(Workers, "start", start_and_cancel)
    engine = FakeEngine(lambda *_: anyio.lowlevel.checkpoint(), workers=3)
    with pytest.raises(UnexpectedCancellationError):
        await engine.ainfer(questions(6))
    assert engine._semaphore().in_use == 0
    assert len(await engine.ainfer(questions(6))) == 6
    gc.collect()


class FaultyStepper(Counter):
    """A model whose methods fail in unexpected places."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    @property
    def busy(self) -> bool:
        self.fail("busy")
        return super().busy

    def step(self, emit: Any) -> None:
        self.fail("step")
        super().step(emit)

    def abort(self, row: int) -> None:
        self.fail("abort")
        super().abort(row)

    def close(self) -> None:
        super().close()
        self.fail("close")

    def fail(self, where: str) -> None:
        if where == self.where and self.rows:
            raise UnprintableError


@pytest.mark.parametrize("where", ["busy", "step", "abort", "close"])
async def test_rows_of_a_faulty_model_end_and_the_model_is_freed(where: str) -> None:
    models = [FaultyStepper(where), Counter()]
    freed = list(models)

    def load() -> Stepper:
        return models.pop(0)

    engine = CountingEngine(load)
    with anyio.fail_after(30):
        stream = engine.astream(question("ever"))
        with suppress(EngineDeadError):
            await anext(stream)
        await stream.aclose()
        with suppress(EngineDeadError):
            await engine.ainfer_partial([question("2")])
        await engine.aclose()
        (answered,) = await engine.ainfer([question("2")])
        await engine.aclose()
    assert answered.messages[-1].content == "1 2 "
    assert all(model.freed.is_set() for model in freed)


async def test_result_that_cannot_be_delivered_does_not_delay_others(caplog: pytest.LogCaptureFixture) -> None:
    got: list[object] = []

    def fail(_: object) -> None:
        raise ValueError("no")

    delivery, loop, request = ResultDelivery(), asyncio.get_running_loop(), CountingEngine().request("1")
    for row, deliver in enumerate((fail, got.append)):
        delivery.add(Submission(row, request, loop, deliver), StreamDelta(content="a"))
    assert delivery.send() == []
    await asyncio.sleep(0)
    assert got == [StreamDelta(content="a")]
    assert "row 0" in caplog.text


async def test_closed_coroutine_of_a_row_aborts_it() -> None:
    gate = threading.Semaphore(0)
    model = Counter(gate)
    engine = CountingEngine(lambda: model)
    answer = engine.answer("ever")

    async def begin() -> None:
        task = asyncio.ensure_future(answer)
        await asyncio.to_thread(model.stepping.acquire)
        task.cancel()
        await asyncio.wait([task])

    await begin()
    gate.release(3)
    await engine.aclose()
    assert not model.rows


class Parts:
    """The parts that a row of llama.cpp holds. Each records its release, and then fails."""

    def __init__(self) -> None:
        self.released: list[str] = []

    def part(self, name: str) -> Any:
        def close(*_: object) -> None:
            self.released.append(name)
            raise RuntimeError(name)

        return type(name, (), {"close": staticmethod(close), "release": staticmethod(close)})()


def test_every_part_of_every_row_is_released_when_a_llama_model_closes() -> None:
    parts, stepper = Parts(), LlamaStepper.__new__(LlamaStepper)
    row: Any = type("Row", (), {"row": 0, "sampler": parts.part("sampler"), "prompt": parts.part("prompt"), "slot": 1})
    other: Any = type("Row", (), {**vars(row), "row": 1})
    stepper._rows, stepper._cache, stepper._model = {0: row, 1: other}, parts.part("slot"), parts.part("model")
    with pytest.raises(RuntimeError):
        stepper.close()
    assert parts.released == ["sampler", "prompt", "slot"] * 2 + ["model"]


async def test_error_inside_the_engines_context_is_not_hidden_by_a_failing_close(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unclosable(FakeEngine):
        async def _close(self) -> None:
            raise OSError("cannot close")

    with pytest.raises(ValueError, match="the reason"):
        async with Unclosable():
            raise ValueError("the reason")
    assert "cannot close" in caplog.text
    with pytest.raises(OSError, match="cannot close"):
        async with Unclosable():
            pass


async def test_failed_stream_releases_its_permit() -> None:
    class Refusing(FakeEngine):
        async def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
            raise RequestError("no", error_type="api_status")  # type: ignore[arg-type]
            yield StreamDelta()

    engine = Refusing(workers=1)
    for _ in range(2):
        with pytest.raises(RequestError):
            await anext(engine.astream(question("a")))
    assert engine._semaphore().in_use == 0
