"""An unexpected CancelledError is an error: it never makes a run or a stream look complete."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import (
    Conversation,
    FailureDetail,
    InferenceConfig,
    InferenceErrorType,
    Progress,
    UnexpectedCancellationError,
)
from asyncinfer.aio.tasks import clean_up, foreign_code, task_group
from asyncinfer.types.stream import StreamDelta
from tests.fakes import FakeEngine, question, questions

ROWS = 5


class Panic(BaseException):
    """Panics of extensions in Rust are BaseExceptions."""


async def wait_for_something_cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    await future


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


def raise_cancelled() -> None:
    raise asyncio.CancelledError


async def async_source() -> AsyncIterator[Conversation]:
    for row in questions(ROWS):
        yield row
    await wait_for_something_cancelled()
    yield question("never")


def sync_source() -> Iterator[Conversation]:
    yield from questions(ROWS)
    raise asyncio.CancelledError


def exiting_source() -> Iterator[Conversation]:
    yield from questions(ROWS)
    raise GeneratorExit


async def async_exiting_source() -> AsyncIterator[Conversation]:
    for row in questions(ROWS):
        yield row
    raise GeneratorExit


async def source_in_an_expired_scope() -> AsyncIterator[Conversation]:
    with anyio.CancelScope() as scope:
        for row in questions(ROWS):
            yield row
        asyncio.get_running_loop().call_soon(scope.cancel)
        yield question("last")
        await anyio.sleep_forever()


async def source_in_an_expired_timeout() -> AsyncIterator[Conversation]:
    async with asyncio.timeout(None) as timeout:
        for row in questions(ROWS):
            yield row
        timeout.reschedule(0)
        yield question("last")
        await anyio.sleep_forever()


class UnwillingSource:
    def __aiter__(self) -> UnwillingSource:
        return self

    async def __anext__(self) -> Conversation:
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    "source",
    [
        async_source,
        sync_source,
        exiting_source,
        async_exiting_source,
        source_in_an_expired_scope,
        source_in_an_expired_timeout,
        UnwillingSource,
    ],
)
async def test_cancelled_source_is_an_error_and_saved_rows_stay(tmp_path: Path, source: Callable[[], object]) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
    got: list[object] = []
    with pytest.raises((UnexpectedCancellationError, RuntimeError, TimeoutError)) as caught, anyio.fail_after(30):
        async for pair in FakeEngine().ainfer_iter(source(), config):
            got.append(pair)
    assert not isinstance(caught.value, TimeoutError) or source is source_in_an_expired_timeout
    assert not (tmp_path / "out.jsonl").exists()
    # A run without a saved row leaves no scratch file.
    assert (tmp_path / "scratch" / "out.jsonl").exists() == (source is not UnwillingSource)
    again = FakeEngine()
    assert len([pair async for pair in again.ainfer_iter(questions(ROWS), config)]) == ROWS
    assert again.asked.total() <= ROWS - len(got)


@pytest.mark.parametrize("source", [exiting_source, async_exiting_source])
async def test_source_that_raises_generator_exit_is_an_error_and_no_noise(
    source: Callable[[], Iterator[Conversation]], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="the source raised GeneratorExit"):
        async for _ in FakeEngine().ainfer_iter(source()):
            pass
    gc.collect()
    await anyio.wait_all_tasks_blocked()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_source_may_use_timeouts_of_its_own() -> None:
    async def source() -> AsyncIterator[Conversation]:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        yield question("a")
        try:
            async with asyncio.timeout(0):
                await anyio.sleep_forever()
        except TimeoutError:
            yield question("b")

    assert len([pair async for pair in FakeEngine().ainfer_iter(source())]) == 2


async def test_engine_that_cancels_a_row_fails_only_that_row() -> None:
    def script(text: str, _: int) -> Awaitable[None] | None:
        return wait_for_something_cancelled() if text == "question 1" else None

    result = await FakeEngine(script, max_retries=0).ainfer_partial(questions(ROWS))
    assert list(result.failures) == [1]
    assert result.failures[1].error_type is InferenceErrorType.CANCELLED


@pytest.mark.parametrize("error", [GeneratorExit(), StopAsyncIteration(), Panic("panicked")])
async def test_engine_that_raises_a_base_exception_fails_only_that_row(error: BaseException) -> None:
    def script(text: str, _: int) -> None:
        if text == "question 1":
            raise error

    result = await FakeEngine(script).ainfer_partial(questions(ROWS))
    assert list(result.failures) == [1]
    assert type(error).__name__ in result.failures[1].error_message


class CutOff(FakeEngine):
    async def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta(content="half an ")
        await wait_for_something_cancelled()


async def test_engine_that_cancels_a_stream_is_an_error() -> None:
    engine, parts = CutOff(workers=1), list[str]()
    with pytest.raises(UnexpectedCancellationError, match="the engine"):
        async for delta in engine.astream(question("a")):
            parts.append(delta.content)
    assert parts == ["half an "]
    assert engine._semaphore().in_use == 0


async def sleep_on_cancelled(_: Progress) -> None:
    await wait_for_something_cancelled()


@pytest.mark.parametrize("callback", [lambda _: raise_cancelled(), sleep_on_cancelled])
async def test_cancelled_on_progress_is_an_error_and_saved_rows_stay(
    tmp_path: Path, callback: Callable[[Progress], object]
) -> None:
    config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
    with pytest.raises(UnexpectedCancellationError, match="on_progress"):
        await FakeEngine().ainfer(questions(ROWS), config, on_progress=callback)
    assert not (tmp_path / "out.jsonl").exists()
    assert len(await FakeEngine().ainfer(questions(ROWS), config)) == ROWS


async def test_on_progress_may_be_async() -> None:
    seen: list[int] = []

    async def callback(progress: Progress) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(progress.completed)

    await FakeEngine().ainfer(questions(ROWS), on_progress=callback)
    assert seen[-1] == ROWS


async def test_failing_on_progress_does_not_hide_why_the_run_ended(caplog: pytest.LogCaptureFixture) -> None:
    def source() -> Iterator[Conversation]:
        yield question("a")
        raise KeyError("the source broke")

    def callback(progress: Progress) -> None:
        if progress.completed:
            raise ZeroDivisionError

    with pytest.raises((KeyError, ZeroDivisionError)) as caught:
        async for _ in FakeEngine().ainfer_iter(source(), on_progress=callback):
            pass
    assert isinstance(caught.value, KeyError)
    assert "ZeroDivisionError" in caplog.text


async def test_on_progress_that_raised_is_not_called_again() -> None:
    calls: list[Progress] = []

    def callback(progress: Progress) -> None:
        calls.append(progress)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await FakeEngine(lambda *_: anyio.sleep_forever()).ainfer(questions(2), on_progress=callback)
    assert len(calls) == 1


async def test_run_with_a_task_that_other_code_cancels_ends_with_an_error(tmp_path: Path) -> None:
    """For every task of a run: the run ends with an error, and no unfinished row counts as finished."""
    before, place = asyncio.all_tasks(), 0
    while True:
        config = InferenceConfig(output_path=str(tmp_path / f"out{place}.jsonl"))
        release = anyio.Event()
        engine = FakeEngine(
            lambda text, _, release=release: None if text == "question 0" else release.wait(), workers=3
        )
        job = asyncio.create_task(engine.ainfer_partial(questions(ROWS), config))
        await until(lambda engine=engine: len(engine.asked) == 4)  # One is answered, three are in flight.
        inner = sorted(asyncio.all_tasks() - before - {job}, key=lambda task: task.get_name())
        if place == len(inner):
            release.set()
            await job
            break
        inner[place].cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises((UnexpectedCancellationError, asyncio.CancelledError)):
            await job
        assert not (tmp_path / f"out{place}.jsonl").exists(), inner[place]
        assert len(await FakeEngine().ainfer(questions(ROWS), config)) == ROWS
        place += 1
    assert place > 3


async def test_cancelling_the_caller_is_no_error() -> None:
    engine = FakeEngine(lambda *_: anyio.sleep_forever())
    with anyio.move_on_after(0.01) as scope:
        await engine.ainfer(questions(2))
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.ainfer(questions(2)), 0.01)


async def test_group_whose_task_is_cancelled_by_other_code_is_an_error() -> None:
    with pytest.raises(UnexpectedCancellationError):
        async with task_group() as tasks:
            tasks.start_soon(wait_for_something_cancelled)
            await anyio.sleep_forever()


async def test_cancelled_scope_around_a_group_is_no_error() -> None:
    with anyio.CancelScope() as scope:
        async with task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
async def test_ordinary_errors_of_foreign_code_are_not_changed(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreign_code("the code"):
        raise error
    assert caught.value is error


async def test_every_step_of_a_cleanup_runs(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def fail(place: int) -> None:
        done.append(place)
        raise OSError(f"step {place}")

    steps = (lambda: fail(0), lambda: fail(1))
    with pytest.raises(OSError, match="step 0"):
        await clean_up(None, *steps)
    await clean_up(ValueError("the reason"), *steps)
    assert done == [0, 1, 0, 1]
    assert caplog.text.count("step 1") == 2


async def test_failed_rows_of_an_iteration_are_reported(tmp_path: Path) -> None:
    def script(text: str, _: int) -> Awaitable[None] | None:
        return wait_for_something_cancelled() if text == "question 1" else None

    got = {index: outcome async for index, outcome in FakeEngine(script, max_retries=0).ainfer_iter(questions(3))}
    assert isinstance(got[1], FailureDetail)
    assert len(got) == 3
