"""Rows that wait for replicas, and what happens to them when replicas die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel
import pytest

from asyncinfer import (
    BoundEngine,
    CallSettings,
    Completion,
    ConfigError,
    Conversation,
    EngineConfigError,
    EngineDeadError,
    FinishReason,
    InferenceErrorType,
    Message,
    RequestError,
    Role,
    StreamDelta,
)
from asyncinfer.distributed.rows import Call
from asyncinfer.distributed.wire import Opened
from tests.distributed.handles import SETTINGS, LocalHandle, ask, pool_of
from tests.fakes import FakeEngine, question, refusal
from tests.run.clock import QuickClock, passing


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


class Paused:
    """Scripts of engines that answer once `go` is set."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.begun = 0

    async def __call__(self, text: str, attempt: int) -> None:
        self.begun += 1
        await self.go.wait()


async def until(condition: object) -> None:
    assert callable(condition)
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


class Numbered(BoundEngine):
    """An engine with endpoints, whose answer is the number of the endpoint."""

    def __init__(self, endpoint: int = 0) -> None:
        self.endpoint = endpoint

    def at(self, endpoint: int) -> BoundEngine:
        return Numbered(endpoint)

    async def generate(self, conversation: Conversation) -> Completion:
        message = Message(role=Role.ASSISTANT, content=f"endpoint {self.endpoint}")
        return Completion(message, FinishReason.STOP)


class EndpointsEngine(FakeEngine):
    def _bind(self, settings: CallSettings) -> BoundEngine:
        return Numbered()


async def test_replica_sends_a_row_to_the_endpoint_of_its_permit() -> None:
    pool = pool_of(LocalHandle(EndpointsEngine()))
    answers = [await ask(pool, question("q"), Call(0, SETTINGS, endpoint)) for endpoint in (0, 2, 1)]
    assert answers == ["endpoint 0", "endpoint 2", "endpoint 1"]


async def test_rows_are_spread_over_the_replicas_up_to_their_room() -> None:
    paused = Paused()
    engines = [FakeEngine(paused), FakeEngine(paused)]
    pool = pool_of(*map(LocalHandle, engines), room=4)
    answers: list[str] = []

    async def answer(number: int) -> None:
        answers.append(await ask(pool, question(f"q{number}")))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(answer, number)
        await until(lambda: paused.begun == 8)
        assert [engine.in_flight for engine in engines] == [4, 4]
        paused.go.set()
    assert sorted(answers) == sorted(f"answer to q{number}" for number in range(20))
    assert max(engine.peak for engine in engines) == 4
    await pool.close()


async def test_error_of_the_engine_reaches_the_caller_with_its_details() -> None:
    def refuse(text: str, attempt: int) -> None:
        raise refusal(after=7.0)

    pool = pool_of(LocalHandle(FakeEngine(refuse)))
    with pytest.raises(RequestError, match="busy") as caught:
        await ask(pool, question("q"))
    assert (caught.value.status_code, caught.value.retry_after, caught.value.is_overload) == (429, 7.0, True)
    await pool.close()


async def test_foreign_error_becomes_a_runtime_error_with_its_name() -> None:
    class OddError(Exception):
        pass

    def fail(text: str, attempt: int) -> None:
        raise OddError("why")

    pool = pool_of(LocalHandle(FakeEngine(fail)))
    with pytest.raises(RuntimeError, match="OddError: why"):
        await ask(pool, question("q"))
    await pool.close()


class Unreadable:
    """What can be pickled, but not unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return int, ("not a number",)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("why", Unreadable()),
        ExceptionGroup("why", [ValueError(Unreadable())]),
    ],
    ids=["argument", "group"],
)
async def test_error_that_cannot_be_unpickled_fails_only_its_row(error: Exception) -> None:
    def fail(text: str, attempt: int) -> None:
        if text == "bad":
            raise error

    pool = pool_of(LocalHandle(FakeEngine(fail)))
    with anyio.fail_after(5), pytest.raises(RuntimeError, match="why"):
        await ask(pool, question("bad"))
    assert await ask(pool, question("good")) == "answer to good"
    await pool.close()


async def test_answer_that_cannot_be_unpickled_fails_only_its_row() -> None:
    class Odd(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            completion = await super()._generate(conversation)
            completion.metadata = {"odd": Unreadable()} if conversation.messages[-1].content == "bad" else None
            return completion

    pool = pool_of(LocalHandle(Odd()))
    with anyio.fail_after(20), pytest.raises(RequestError, match="replicas died while they worked on this row"):
        await ask(pool, question("bad"))
    assert await ask(pool, question("good")) == "answer to good"
    await pool.close()


async def test_cancelled_row_is_cancelled_in_the_replica() -> None:
    paused = Paused()
    engine = FakeEngine(paused)
    pool = pool_of(LocalHandle(engine))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, pool, question("q"))
        await until(lambda: paused.begun)
        tasks.cancel_scope.cancel()
    await until(lambda: engine.in_flight == 0)
    assert not pool.is_busy
    await pool.close()


async def test_rows_of_a_dead_replica_go_to_another_one() -> None:
    paused = Paused()
    dying, other = LocalHandle(FakeEngine(paused)), LocalHandle(FakeEngine())
    pool = pool_of(dying, room=1)
    answers: list[str] = []

    async def answer() -> None:
        answers.append(await ask(pool, question("q")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        await until(lambda: paused.begun)
        dying._recipe = other._recipe  # What Ray restarts is another process.
        dying.die()
    assert answers == ["answer to q"]
    await pool.close()


async def test_row_that_kills_replicas_fails_and_the_others_are_answered() -> None:
    handles: list[LocalHandle] = []

    def kill(text: str, attempt: int) -> None:
        if text == "poison":
            next(h for h in handles if h._recipe.engine.in_flight and "poison" in h._recipe.engine.asked).die()

    handles += [LocalHandle(FakeEngine(kill)) for _ in range(2)]
    pool = pool_of(*handles)
    outcomes: dict[str, str] = {}

    async def answer(text: str) -> None:
        try:
            outcomes[text] = await ask(pool, question(text))
        except RequestError as error:
            outcomes[text] = str(error)

    async with anyio.create_task_group() as tasks:
        for text in ("poison", *"abcdefgh"):
            tasks.start_soon(answer, text)
    assert outcomes.pop("poison") == "3 replicas died while they worked on this row. The last one: killed"
    assert outcomes == {text: f"answer to {text}" for text in "abcdefgh"}
    await pool.close()


async def test_replica_that_dies_too_often_ends_the_run_with_the_cause() -> None:
    handle = LocalHandle(FakeEngine(lambda text, attempt: handle.die()))
    pool = pool_of(handle, restarts=1)
    with pytest.raises(EngineDeadError, match="no replica is left: all 1 died too often.*killed"):
        await ask(pool, question("q"))
    with pytest.raises(EngineDeadError):
        await ask(pool, question("another"))
    assert handle.is_gone
    await pool.close()


async def test_replica_without_a_sign_of_life_is_killed_and_its_rows_are_answered() -> None:
    paused = Paused()
    handle = LocalHandle(FakeEngine(paused))
    pool = pool_of(handle, heartbeat=0.2)
    answers: list[str] = []

    async def answer() -> None:
        answers.append(await ask(pool, question("q")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        await until(lambda: paused.begun)
        handle.is_frozen = True
        await until(lambda: handle.deaths)
        paused.go.set()
    assert answers == ["answer to q"]
    await pool.close()


class TestStart:
    """A replica that hangs before it accepts rows, in virtual time."""

    async def test_replica_that_does_not_respond_to_the_first_call_is_restarted(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        handle = LocalHandle(FakeEngine(), is_built=True)
        handle.is_frozen = True
        pool = pool_of(handle, heartbeat=120.0, clock=clock)
        async with passing(clock):
            assert await ask(pool, question("q")) == "answer to q"
        assert (handle.deaths, clock.now() < 300.0) == (1, True)
        assert "it started, gave no sign of life for 120 s, and was killed" in caplog.text
        await pool.close()

    async def test_replica_that_waits_for_room_on_a_machine_is_not_killed(self, clock: QuickClock) -> None:
        handle = LocalHandle(FakeEngine(), is_built=True)
        handle.has_room = False
        pool = pool_of(handle, heartbeat=120.0, clock=clock)
        async with passing(clock), anyio.create_task_group() as tasks:
            tasks.start_soon(ask, pool, question("q"))
            await clock.sleep(10_000.0)
            tasks.cancel_scope.cancel()
        assert handle.deaths == 0
        await pool.close()

    async def test_replica_that_hangs_at_each_start_ends_the_run_with_the_cause(self, clock: QuickClock) -> None:
        handle = LocalHandle(FakeEngine(), is_built=True)
        handle.is_always_frozen = True
        pool = pool_of(handle, heartbeat=120.0, restarts=2, clock=clock)
        async with passing(clock):
            with pytest.raises(EngineDeadError, match="it started, gave no sign of life for 120 s, and was killed"):
                await ask(pool, question("q"))
        assert handle.is_gone
        await pool.close()

    async def test_replica_that_does_not_build_its_engine_in_time_is_restarted(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        handle = SlowHandle(FakeEngine(), starts=1)
        pool = pool_of(handle, start=300.0, clock=clock)
        async with passing(clock):
            assert await ask(pool, question("q")) == "answer to q"
        assert handle.deaths == 1
        assert "it did not build its engine in 300 s (distributed.start_timeout), and was killed" in caplog.text
        await pool.close()

    async def test_engine_that_is_never_built_ends_the_run_with_the_cause(self, clock: QuickClock) -> None:
        handle = SlowHandle(FakeEngine(), starts=100)
        pool = pool_of(handle, start=300.0, restarts=2, clock=clock)
        async with passing(clock):
            with pytest.raises(EngineDeadError, match="it did not build its engine in 300 s"):
                await ask(pool, question("q"))
        assert clock.now() < 4 * 300.0
        await pool.close()


class SlowHandle(LocalHandle):
    """The first starts of this replica never build the engine."""

    def __init__(self, engine: FakeEngine, starts: int) -> None:
        super().__init__(engine, is_built=True)
        self._starts = starts

    async def open(self, client: str) -> Opened:
        if self.deaths < self._starts:
            await anyio.sleep_forever()
        return await super().open(client)


async def test_replica_whose_engine_is_dead_is_restarted() -> None:
    def die_once(text: str, attempt: int) -> None:
        if attempt == 1:
            raise EngineDeadError("the model crashed", error_type=InferenceErrorType.ENGINE_FAILURE)

    handle = LocalHandle(FakeEngine(die_once))
    pool = pool_of(handle)
    assert await ask(pool, question("q")) == "answer to q"
    assert handle.deaths == 1
    await pool.close()


async def test_engine_that_cannot_be_built_fails_every_row_at_once() -> None:
    handles = [LocalHandle(ConfigError("model.model_name: not set"), f"replica {n}") for n in (1, 2)]
    pool = pool_of(*handles)
    with pytest.raises(EngineConfigError, match=r"replica \d on .* cannot build the engine: model.model_name: not set"):
        await ask(pool, question("q"))
    assert [handle.deaths for handle in handles] == [0, 0]
    await pool.close()


async def test_wrong_settings_of_the_model_are_not_retried() -> None:
    def refuse(text: str, attempt: int) -> None:
        raise EngineConfigError("no such file", error_type=InferenceErrorType.CONFIG)

    handle = LocalHandle(FakeEngine(refuse))
    pool = pool_of(handle)
    with pytest.raises(EngineConfigError, match="no such file"):
        await ask(pool, question("q"))
    assert handle.deaths == 0
    await pool.close()


async def test_row_that_cannot_be_sent_fails_alone() -> None:
    pool = pool_of(LocalHandle(FakeEngine()))
    bad = Conversation(messages=question("bad").messages, metadata={"callback": lambda: 0})
    with pytest.raises(RequestError, match="the row cannot be sent to another process"):
        await ask(pool, bad)
    assert await ask(pool, question("good")) == "answer to good"
    await pool.close()


async def test_replica_gets_the_settings_of_many_calls() -> None:
    pool = pool_of(LocalHandle(FakeEngine()))
    for number in range(200):
        assert await ask(pool, question("q"), Call(number, SETTINGS)) == "answer to q"
    assert await ask(pool, question("q"), Call(0, SETTINGS)) == "answer to q"
    await pool.close()


class TestStream:
    """A stream moves to another replica only before its first part."""

    class Engine(FakeEngine):
        """Streams two parts, and waits between them."""

        def __init__(self) -> None:
            super().__init__()
            self.go = anyio.Event()

        async def _stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
            yield StreamDelta("one ")
            await self.go.wait()
            yield StreamDelta("two")

    async def test_parts_arrive_in_order(self) -> None:
        engine = self.Engine()
        engine.go.set()
        pool = pool_of(LocalHandle(engine))
        parts = [part async for part in pool.stream(Call(0, SETTINGS), question("q"))]
        assert [part.content for part in parts if isinstance(part, StreamDelta)] == ["one ", "two"]
        await pool.close()

    async def test_stream_fails_if_its_replica_dies_in_the_middle(self) -> None:
        handle = LocalHandle(self.Engine())
        pool = pool_of(handle)
        stream = pool.stream(Call(0, SETTINGS), question("q"))
        await anext(stream)
        handle.die()
        with pytest.raises(RequestError, match="the replica died while it streamed the answer: killed") as caught:
            await anext(stream)
        assert caught.value.is_retryable
        await pool.close()


async def test_pool_says_that_its_replicas_start() -> None:
    handle = LocalHandle(FakeEngine())
    pool = pool_of(handle)
    assert pool.why_waiting() == "no replica is ready; starting: 1"
    await ask(pool, question("q"))
    assert pool.why_waiting() is None
    await pool.close()
