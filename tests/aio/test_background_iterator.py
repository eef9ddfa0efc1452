"""When the reader of a stream stops, the work ends at once and leaves nothing behind, on every engine."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import Conversation, InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.aio import background_iterator
from asyncinfer.aio.background_iterator import BackgroundIterator, Channel
from tests.engines.local.test_engine import Counter, CountingEngine
from tests.fakes import FakeEngine, question, questions
from tests.faults import FaultServer, sse, stall


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> None:
    """Leave out what exists before the tests of this file. Each collects twice, for 100 ms each otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Turn the cyclic garbage collector off, so that it cannot be the reason why the work ends."""
    gc.collect()
    gc.disable()
    yield
    kept.clear()
    gc.enable()


@pytest.fixture(autouse=True)
async def loop_errors() -> AsyncIterator[list[dict[str, Any]]]:
    """Errors that the event loop reports, such as tasks destroyed while pending. None may remain after a test."""
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    yield seen
    kept.clear()
    gc.collect()
    await anyio.lowlevel.checkpoint()
    assert seen == []
    assert not background_iterator._running


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


class Work:
    """Work that sends two items and then waits. It records when it began and whether it was cleaned up."""

    def __init__(self) -> None:
        self.began = self.ended = False

    async def __call__(self, channel: Channel[int]) -> None:
        self.began = True
        try:
            channel.send(1)
            channel.send(2)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.ended = True


kept: list[object] = []
"""Keeps references to the task, the exception or the generator that has stopped reading."""


# Ways to stop reading. Each reads with a plain `async for` or `anext`, and never closes the iterator.


async def leave_by_break(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        break


async def leave_by_error(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        raise ValueError("the loop's body broke")


async def leave_by_drop(stream: AsyncIterator[object]) -> None:
    await anext(stream)


async def read_on(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def cancelled_while_reading(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    reader = asyncio.create_task(read_on(make()))
    kept.append(reader)
    await until(ready)
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()


async def cancelled_between_reads(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    sending = anyio.Event()

    async def respond() -> None:
        stream = make()
        kept.append(stream)  # A response object keeps its body like this.
        async for _ in stream:
            sending.set()
            await anyio.sleep_forever()

    reader = asyncio.create_task(respond())
    kept.append(reader)
    await sending.wait()
    await until(ready)
    reader.cancel()
    await asyncio.wait([reader])


async def failed_in_a_kept_task(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    async def respond() -> None:
        stream = make()
        async for _ in stream:
            raise ValueError("the loop's body broke")

    reader = asyncio.create_task(respond())
    kept.append(reader)
    with pytest.raises(ValueError, match="broke"):
        await reader


def leaving(how: Callable[[AsyncIterator[object]], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def leave(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
        with suppress(ValueError):
            await how(make())

    leave.__name__ = how.__name__
    return leave


async def timed_out_read(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    stream = make()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            await anext(stream)
            timeout.reschedule(asyncio.get_running_loop().time() + 0.05)
            await read_on(stream)


async def dropped_by_another_thread(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    held = [make()]
    await anext(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    await asyncio.to_thread(thread.join)


async def dropped_generator_around_it(make: Callable[[], AsyncIterator[object]], ready: Callable[[], bool]) -> None:
    async def body() -> AsyncIterator[object]:
        async for item in make():
            yield item

    async for _ in body():
        break


WAYS = [
    leaving(leave_by_break),
    leaving(leave_by_error),
    leaving(leave_by_drop),
    cancelled_while_reading,
    cancelled_between_reads,
    failed_in_a_kept_task,
    timed_out_read,
    dropped_by_another_thread,
    dropped_generator_around_it,
]
ways = pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)


@ways
async def test_leaving_a_stream_cancels_the_work(leave: Callable[..., Awaitable[None]]) -> None:
    work = Work()
    await leave(lambda: BackgroundIterator(work), lambda: work.began)
    await until(lambda: work.ended)


@ways
async def test_leaving_a_stream_closes_the_connection_to_the_server(leave: Callable[..., Awaitable[None]]) -> None:
    async with FaultServer(lambda _: sse(["an", "swer"], stall)) as server:
        remote = RemoteParams(api_url=server.url, api_key="none", num_workers=1)  # pyright: ignore[reportArgumentType]
        async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
            await leave(lambda: engine.astream(question("a")), lambda: server.in_flight == 1)
            await server.until(lambda: server.abandoned == 1)
            await until(lambda: engine._semaphore().in_use == 0)


@ways
async def test_leaving_an_iteration_closes_the_connections(
    leave: Callable[..., Awaitable[None]], tmp_path: Path
) -> None:
    async with FaultServer(lambda ask: stall if ask.question != "question 0" else None) as server:
        remote = RemoteParams(api_url=server.url, api_key="none", num_workers=3)  # pyright: ignore[reportArgumentType]
        config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
        async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
            await leave(lambda: engine.ainfer_iter(questions(9), config), lambda: server.in_flight == 2)
            await until(lambda: engine._semaphore().in_use == 0 and not background_iterator._running)
            await server.until(lambda: server.in_flight == 0)
            server.script = None
            assert len([pair async for pair in engine.ainfer_iter(questions(9), config)]) == 9
            assert server.asked["question 0"] == 1, "the row that was finished was saved"


@ways
async def test_leaving_a_stream_aborts_the_row_of_a_local_model(leave: Callable[..., Awaitable[None]]) -> None:
    model = Counter()
    engine = CountingEngine(lambda: model)
    await leave(lambda: engine.astream(question("ever")), lambda: model.steps > 3)
    await until(lambda: not model.rows)
    await engine.aclose()


async def test_reading_after_a_cancelled_read_is_an_error() -> None:
    """A truncated stream must not look complete."""
    stream = BackgroundIterator(Work())
    assert [await anext(stream), await anext(stream)] == [1, 2]
    with anyio.move_on_after(0):
        await anext(stream)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cancelled"):
            await anext(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_each_read_may_come_from_a_different_task() -> None:
    stream = BackgroundIterator(Work())
    assert [await asyncio.create_task(stream.__anext__()) for _ in range(2)] == [1, 2]
    assert await asyncio.wait_for(BackgroundIterator(Work()).__anext__(), 30) == 1
    await stream.aclose()


async def test_several_tasks_may_read_at_once() -> None:
    go = anyio.Event()

    async def work(channel: Channel[int]) -> None:
        await go.wait()
        for number in range(4):
            channel.send(number)
            await anyio.lowlevel.checkpoint()

    stream = BackgroundIterator(work)
    readers = [asyncio.create_task(stream.__anext__()) for _ in range(4)]
    await anyio.wait_all_tasks_blocked()
    go.set()
    assert sorted(await asyncio.gather(*readers)) == [0, 1, 2, 3]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_error_of_the_work_is_raised_once_and_leaves_no_reference_cycle() -> None:
    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    async def work(_: Channel[int]) -> None:
        local = Held()
        held.append(weakref.ref(local))
        raise ValueError("no more")

    stream = BackgroundIterator(work)
    with suppress(ValueError):
        await anext(stream)
    assert held[0]() is None
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_error_that_nobody_reads_is_not_reported() -> None:
    async def work(channel: Channel[int]) -> None:
        channel.send(1)
        raise ValueError("no more")

    stream = BackgroundIterator(work)
    await anext(stream)
    await until(lambda: not background_iterator._running)


async def test_iterator_that_is_never_read_does_not_start_its_work() -> None:
    work = Work()
    stream = BackgroundIterator(work)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    BackgroundIterator(work)
    assert not work.began


async def test_concurrent_closes_wait_for_the_end_of_the_work() -> None:
    work = Work()
    stream = BackgroundIterator(work)
    await anext(stream)
    await asyncio.gather(stream.aclose(), stream.aclose())
    assert work.ended
    await stream.aclose()


async def test_work_that_other_code_cancels_is_an_error() -> None:
    from asyncinfer import UnexpectedCancellationError

    stream = BackgroundIterator(Work())
    assert [await anext(stream), await anext(stream)] == [1, 2]
    assert stream._task is not None
    stream._task.cancel()
    with pytest.raises(UnexpectedCancellationError):
        await anext(stream)


async def test_closing_the_engine_ends_its_streams_with_an_error() -> None:
    from asyncinfer import EngineDeadError, RequestError

    engine = CountingEngine()
    stream = engine.astream(question("ever"))
    await anext(stream)
    await asyncio.gather(engine.aclose(), engine.aclose())
    with pytest.raises(EngineDeadError, match="closed"):
        await read_on(stream)
    async with FaultServer(lambda _: sse(["an"], stall)) as server:
        remote = RemoteParams(api_url=server.url, api_key="none")  # pyright: ignore[reportArgumentType]
        other = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
        deltas = other.astream(question("a"))
        await anext(deltas)
        await asyncio.gather(other.aclose(), other.aclose())
        with pytest.raises(RequestError, match="closed"):
            await read_on(deltas)


async def test_source_that_never_yields_can_be_left() -> None:
    async def never() -> AsyncIterator[Conversation]:
        await anyio.sleep_forever()
        yield question("a")

    blocked = threading.Event()

    def blocks() -> Iterator[Conversation]:
        blocked.wait(60)
        yield question("a")

    for source in (never(), blocks()):
        with anyio.move_on_after(0.01) as scope:
            await anext(FakeEngine().ainfer_iter(source))
        assert scope.cancelled_caught
    blocked.set()


# Event loops


def run_and_check(main: Callable[[], Awaitable[object]], **how: object) -> None:
    """Run `main` on a new loop, and check that the loop reports no leak when it ends."""
    seen: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        await main()

    def run() -> None:
        with asyncio.Runner(**how) as runner:  # type: ignore[arg-type]
            runner.run(watched())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    gc.collect()
    assert seen == []


def test_end_of_the_loop_ends_the_work() -> None:
    work = Work()

    async def main() -> None:
        async for _ in BackgroundIterator(work):
            break

    run_and_check(main)
    assert work.ended


def test_reading_on_another_loop_is_an_error() -> None:
    work, kept = Work(), list[BackgroundIterator[int]]()

    async def begin() -> None:
        kept.append(BackgroundIterator(work))
        await anext(kept[0])

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await anext(kept[0])
        await kept[0].aclose()

    run_and_check(begin)
    run_and_check(elsewhere)
    assert work.ended
    kept.clear()


async def test_closing_on_another_loop_cancels_the_work() -> None:
    work = Work()
    stream = BackgroundIterator(work)
    await anext(stream)
    await asyncio.to_thread(lambda: asyncio.run(stream.aclose()))
    await until(lambda: work.ended)


def test_two_loops_in_two_threads_stream_from_one_engine() -> None:
    engine = CountingEngine()

    async def main() -> None:
        async for delta in engine.astream(question("ever")):
            if delta.content == "3 ":
                break
        assert [d.content async for d in engine.astream(question("2"))] == ["1 ", "2 ", ""]

    threads = [threading.Thread(target=run_and_check, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    engine.close()


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has eager tasks")
@ways
async def test_leaving_works_with_eager_tasks(leave: Callable[..., Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    try:
        work = Work()
        await leave(lambda: BackgroundIterator(work), lambda: work.began)
        await until(lambda: work.ended)
        engine = FakeEngine()
        assert len([pair async for pair in engine.ainfer_iter(questions(5))]) == 5
        assert len([delta async for delta in engine.astream(question("a"))]) == 1
    finally:
        loop.set_task_factory(None)


@ways
def test_leaving_works_on_uvloop(leave: Callable[..., Awaitable[None]]) -> None:
    uvloop = pytest.importorskip("uvloop")
    work = Work()

    async def main() -> None:
        await leave(lambda: BackgroundIterator(work), lambda: work.began)
        await until(lambda: work.ended)
        assert len([pair async for pair in FakeEngine().ainfer_iter(questions(5))]) == 5

    run_and_check(main, loop_factory=uvloop.new_event_loop)


async def test_failure_of_the_reader_is_still_reported(loop_errors: list[dict[str, Any]]) -> None:
    async def read() -> None:
        async for _ in BackgroundIterator(Work()):
            raise ValueError("the loop's body broke")

    reader = asyncio.create_task(read())
    await asyncio.wait([reader])
    del reader
    await anyio.lowlevel.checkpoint()
    assert [error["message"] for error in loop_errors] == ["Task exception was never retrieved"]
    loop_errors.clear()


async def test_read_ready_returns_all_items_that_are_ready_and_then_nothing() -> None:
    async def work(channel: Channel[int]) -> None:
        channel.send(1)
        channel.send(2)
        await anyio.lowlevel.checkpoint()
        channel.send(3)

    async with BackgroundIterator(work) as iterator:
        read = [await iterator.read_ready(), await iterator.read_ready(), await iterator.read_ready()]
        assert await iterator.read_ready() == []
    assert read == [[1, 2], [3], []]


async def test_read_ready_raises_the_error_of_the_work_after_the_items_before_it() -> None:
    async def work(channel: Channel[int]) -> None:
        channel.send(1)
        raise ValueError("broken")

    async with BackgroundIterator(work) as iterator:
        assert await iterator.read_ready() == [1]
        with pytest.raises(ValueError, match="broken"):
            await iterator.read_ready()
