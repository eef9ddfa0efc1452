"""The model thread and its engines, with a model of four slots that counts."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import ClassVar

import pytest

from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.model_thread import ModelThread
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit, Stepper
from asyncinfer.engines.local.watchdog import Watchdog, WatchdogTimeouts
from asyncinfer.errors import ConfigError, EngineDeadError, InferenceErrorType, RequestError
from asyncinfer.run.bound_engine import ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta
from tests.fakes import bound


class Counter:
    """Answers `n` by counting to n, one number per step for each of up to four rows.

    With a gate, each step waits for a permit. The text `refuse` fails its row, `die` fails the model.
    """

    slots = 4

    def __init__(self, gate: threading.Semaphore | None = None) -> None:
        self.gate, self.stepped_once = gate, threading.Semaphore(0)
        self.rows: dict[int, tuple[Request, int, int]] = {}
        self.steps = self.widest = 0
        self.added: list[str] = []
        self.stepped: dict[str, int] = {}
        self.stepping, self.freed = threading.Semaphore(0), threading.Event()

    @property
    def busy(self) -> bool:
        return bool(self.rows)

    def prepare(self, request: Request) -> Request:
        return request

    def add(self, row: int, request: Request) -> None:
        text = str(request.conversation.messages[-1].content)
        self.added.append(text)
        if text == "refuse":
            raise RequestError("not this one", error_type=InferenceErrorType.CONFIG)
        self.rows[row] = (request, 10**9 if text.startswith("ever") or text == "die" else int(text), 0)
        self.widest = max(self.widest, len(self.rows))

    def step(self, emit: Emit) -> None:
        self.stepping.release()
        if self.gate is not None:
            self.gate.acquire()
        self.steps += 1
        for row, (request, goal, count) in list(self.rows.items()):
            text = str(request.conversation.messages[-1].content)
            if text == "die":
                raise RuntimeError("out of memory")
            self.stepped[text] = count + 1
            self.rows[row] = (request, goal, count + 1)
            emit(row, StreamDelta(content=f"{count + 1} "))
            if count + 1 == goal:
                del self.rows[row]
                answer = "".join(f"{n + 1} " for n in range(goal))
                emit(row, Completion(Message(role=Role.ASSISTANT, content=answer), FinishReason.STOP))
        self.stepped_once.release()

    def abort(self, row: int) -> None:
        self.rows.pop(row, None)

    def close(self) -> None:
        self.freed.set()


class CountingEngine(LocalInferenceEngine):
    engine_type: ClassVar[str] = InferenceEngineType.LLAMACPP

    def __init__(self, make: Callable[[], Stepper] = Counter, now: Callable[[], float] | None = None) -> None:
        super().__init__(ModelParams(model_name="counter"))
        self.make, self.now = make, now

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"max_new_tokens"}

    def _slots(self) -> int:
        return 4

    def _load(self) -> Stepper:
        return self.make()

    def _new_thread(self) -> ModelThread:
        return (
            ModelThread(self._load, Watchdog(self.watchdog_timeouts, self.now), 0.001)
            if self.now
            else super()._new_thread()
        )

    @property
    def thread(self) -> ModelThread:
        assert self._thread is not None
        return self._thread

    async def answer(self, text: str) -> object:
        request = self.request(text)
        return (await bound(self, request).generate(request.conversation)).message.content

    def deltas(self, text: str) -> AsyncIterator[StreamDelta | ObservedLimits]:
        request = self.request(text)
        return bound(self, request).stream(request.conversation)

    def request(self, text: str, *, stream: bool = False) -> Request:
        conversation = Conversation(messages=[Message(role=Role.USER, content=text)])
        return Request(conversation, GenerationParams(), self._model_params, stream=stream)


class Gated:
    """An engine whose model waits for `permit` before each step."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.model = Counter(self.gate)
        self.engine = CountingEngine(lambda: self.model)

    def permit(self, steps: int) -> None:
        self.gate.release(steps)

    async def step(self, steps: int) -> None:
        """Permit steps and wait until they have run."""
        self.permit(steps)
        for _ in range(steps):
            await asyncio.to_thread(self.model.stepped_once.acquire)


@pytest.fixture
def gated() -> Iterator[Gated]:
    made = Gated()
    yield made
    made.permit(10**6)
    made.engine.close()


async def tasks_of(engine: CountingEngine, *texts: str) -> list[asyncio.Task[object]]:
    tasks = [asyncio.create_task(engine.answer(text)) for text in texts]
    await asyncio.sleep(0)
    return tasks


async def cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_rows_get_slots_in_the_order_of_submission() -> None:
    loaded, model = threading.Event(), Counter()

    def load() -> Stepper:
        loaded.wait()
        return model

    async with CountingEngine(load) as engine:
        tasks = await tasks_of(engine, *"33333333")
        loaded.set()
        assert await asyncio.gather(*tasks) == ["1 2 3 "] * 8
    assert (model.widest, model.steps) == (4, 6)


async def test_rows_join_and_leave_while_others_continue(gated: Gated) -> None:
    long, short = await tasks_of(gated.engine, "5", "1")
    gated.permit(2)  # The first step may have begun before the second row was submitted.
    assert await short == "1 "
    (late,) = await tasks_of(gated.engine, "2")
    gated.permit(4)
    assert await asyncio.gather(long, late) == ["1 2 3 4 5 ", "1 2 "]


async def test_cancelled_row_frees_its_slot_within_one_step(gated: Gated) -> None:
    first, *others = await tasks_of(gated.engine, "ever1", "ever2", "ever3", "ever4", "2")
    stream = gated.engine.deltas("1")
    await gated.step(2)
    assert set(gated.model.stepped) == {"ever1", "ever2", "ever3", "ever4"}
    before = gated.model.stepped["ever1"]
    await cancel(first)
    gated.permit(3)
    assert await others[3] == "1 2 "
    assert gated.model.stepped["ever1"] <= before + 1
    await cancel(*others[:3])
    gated.permit(2)
    assert [delta.content async for delta in stream] == ["1 ", ""]


async def test_row_cancelled_in_the_queue_is_never_started(gated: Gated) -> None:
    *running, waiting, after = await tasks_of(gated.engine, "1", "1", "1", "1", "7", "2")
    await cancel(waiting)
    gated.permit(6)
    await asyncio.gather(*running, after)
    assert gated.model.added == ["1", "1", "1", "1", "2"]


async def test_rejected_row_fails_without_others() -> None:
    async with CountingEngine() as engine:
        refused, fine = await tasks_of(engine, "refuse", "2")
        with pytest.raises(RequestError, match="not this one"):
            await refused
        assert await fine == "1 2 "


async def test_stream_ends_with_the_finish_reason() -> None:
    async with CountingEngine() as engine:
        deltas = [delta async for delta in engine.deltas("3")]
    assert [delta.content for delta in deltas] == ["1 ", "2 ", "3 ", ""]
    assert deltas[-1].finish_reason is FinishReason.STOP


async def test_row_without_stream_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with CountingEngine() as engine:
        await engine.answer("1")
        loop, wakes = asyncio.get_running_loop(), list[object]()
        real = loop.call_soon_threadsafe

        def counted(callback: Callable[..., object], *args: object) -> asyncio.Handle:
            wakes.append(callback)
            return real(callback, *args)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        await engine.answer("50")
        assert len(wakes) == 1


async def test_failed_model_fails_all_rows_until_the_engine_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    engine = CountingEngine()
    tasks = await tasks_of(engine, "ever1", "die", "ever2", "ever3", "5")
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, EngineDeadError)
        assert "out of memory" in str(outcome)
        assert outcome.error_type is InferenceErrorType.ENGINE_FAILURE
    with pytest.raises(EngineDeadError, match="again"):
        await engine.answer("1")
    await engine.aclose()
    assert await engine.answer("1") == "1 "
    await engine.aclose()
    assert "the model failed" in caplog.text


class Hours:
    """A clock that advances by an hour at each call, once `pass_by` is set."""

    def __init__(self) -> None:
        self.pass_by, self._now = False, 0.0

    def __call__(self) -> float:
        self._now += 3600.0 if self.pass_by else 0.0
        return self._now


async def test_stuck_step_fails_all_rows_and_its_thread_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    gate, hours = threading.Semaphore(0), Hours()
    models = [Counter(gate), Counter()]
    engine = CountingEngine(lambda: models[0], hours)
    tasks = await tasks_of(engine, "1", "2", "3", "4", "waits")
    await asyncio.to_thread(models[0].stepping.acquire)
    hours.pass_by = True
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, EngineDeadError)
        assert "the model is stuck: one step of the model has taken 3600 s" in str(outcome)
        assert "run again to go on" in str(outcome)
    with pytest.raises(EngineDeadError, match="stuck"):
        await engine.answer("1")
    assert "> step (" in caplog.text
    await engine.aclose()
    gate.release()  # Now the stuck step ends.
    await asyncio.to_thread(models[0].freed.wait)
    engine.make, hours.pass_by = lambda: models[1], False
    assert await engine.answer("1") == "1 "
    await engine.aclose()


async def test_close_does_not_wait_for_a_stuck_step() -> None:
    gate, hours = threading.Semaphore(0), Hours()
    model = Counter(gate)
    engine = CountingEngine(lambda: model, hours)
    engine.watchdog_timeouts = WatchdogTimeouts(abandon_after=10**9)  # pyright: ignore[reportAttributeAccessIssue]
    (running,) = await tasks_of(engine, "1")
    await asyncio.to_thread(model.stepping.acquire)
    hours.pass_by = True
    await engine.aclose()
    with pytest.raises(EngineDeadError, match="closed"):
        await running
    gate.release()
    await asyncio.to_thread(model.freed.wait)


async def test_model_that_cannot_be_loaded_is_a_config_error() -> None:
    def load() -> Stepper:
        raise ConfigError("model.model_name: no such thing")

    async with CountingEngine(load) as engine:
        for _ in range(2):
            with pytest.raises(ConfigError, match="no such thing"):
                await engine.answer("1")


async def test_close_frees_the_model_and_the_next_call_loads_it_again() -> None:
    models: list[Counter] = []

    def load() -> Stepper:
        models.append(Counter())
        return models[-1]

    engine = CountingEngine(load)
    assert await engine.answer("1") == "1 "
    (running,) = await tasks_of(engine, "ever")
    await engine.aclose()
    with pytest.raises(EngineDeadError, match="closed"):
        await running
    assert models[0].freed.is_set()
    assert await engine.answer("2") == "1 2 "
    gone = weakref.ref(engine.thread)
    await engine.aclose()
    await engine.aclose()
    gc.collect()
    assert gone() is None
    assert len(models) == 2


async def test_two_event_loops_share_the_model(gated: Gated) -> None:
    (here,) = await tasks_of(gated.engine, "3")
    there = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(_answer(gated.engine, "3"))))
    gated.permit(20)
    assert await asyncio.gather(here, there) == ["1 2 3 ", "1 2 3 "]


async def _answer(engine: CountingEngine, text: str) -> object:
    return await engine.answer(text)


async def test_row_of_a_closed_loop_is_dropped(gated: Gated) -> None:
    async def leave() -> None:
        gated.engine.thread.submit(gated.engine.request("2"), lambda event: None)

    (here,) = await tasks_of(gated.engine, "1")
    await asyncio.to_thread(lambda: asyncio.run(leave()))
    gated.permit(5)
    assert await here == "1 "
    assert await gated.engine.answer("1") == "1 "


async def test_garbage_collected_engine_stops_its_thread() -> None:
    engine = CountingEngine()
    await engine.answer("1")
    thread = engine.thread
    del engine
    gc.collect()
    assert await asyncio.to_thread(thread.join, 10)


def test_setting_for_other_engines_is_logged_at_level_debug(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountingEngine, "_ignored_fields", frozenset({"model_name", "device_map"}))
    with caplog.at_level("DEBUG", "asyncinfer"):
        CountingEngine()
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "model.model_name" in caplog.text


async def test_call_with_another_model_is_rejected() -> None:
    from asyncinfer.config import InferenceConfig

    engine = CountingEngine()
    conversation = Conversation(messages=[Message(role=Role.USER, content="1")])
    for model in (ModelParams(model_name="other"), ModelParams(model_max_length=77)):
        with pytest.raises(ConfigError, match="other|77"):
            await engine.ainfer([conversation], InferenceConfig(model=model))


@pytest.mark.parametrize("ending", ["sync.infer", "asyncio.run", "ever"])
def test_process_exits_at_once_and_silently_without_a_close(ending: str) -> None:
    script = dedent(
        f"""
        import asyncio, importlib.util, sys
        spec = importlib.util.spec_from_file_location("counting", {str(Path(__file__))!r})
        counting = importlib.util.module_from_spec(spec)
        sys.modules["counting"] = counting
        spec.loader.exec_module(counting)
        engine = counting.CountingEngine()
        conversation = engine.request("3").conversation

        async def begin():
            stream = engine.deltas("ever")
            await anext(stream)
            await stream.aclose()

        if {ending!r} == "sync.infer":
            print(engine.infer([conversation])[0].messages[-1].content)
        elif {ending!r} == "asyncio.run":
            print(asyncio.run(engine.answer("3")))
        else:
            asyncio.run(begin())
            print("1 2 3 ")
        """
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 2 3 \n", "")


async def test_image_in_the_result_of_a_tool_comes_in_a_message_of_the_user() -> None:
    seen: list[Conversation] = []

    class Recorder(Counter):
        def add(self, row: int, request: Request) -> None:
            seen.append(request.conversation)
            self.rows[row] = (request, 1, 0)

    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    result = [{"type": "text", "text": "A cat."}, {"type": "image_binary", "binary": b"cat"}]
    asked = Conversation.from_dict(
        {
            "messages": [
                {"role": "user", "content": "What do you see?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "a", "content": result},
            ]
        }
    )
    async with CountingEngine(Recorder) as engine:
        await engine.agenerate(asked)
    *_, answer, image = seen[0].messages
    assert (answer.role, answer.content_items[0].content) == (Role.TOOL, "A cat.")
    assert image.role is Role.USER
    assert [item.binary for item in image.image_content_items] == [b"cat"]
