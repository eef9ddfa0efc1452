"""`agenerate`: one conversation under the engine's permits, limits and retries, without a run."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from asyncinfer import (
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    GenerationParams,
    InferenceConfig,
    InferenceFailedError,
    InputError,
    ModelParams,
    RequestError,
)
from asyncinfer.engines.call_setup import MOST_KEPT
from asyncinfer.errors import ErrorScope, InferenceErrorType
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.types.conversation import Conversation
from tests.fakes import FakeClock, FakeEngine, answer_to, question, refusal, rejection, timeout
from tests.run.clock import QuickClock, passing


def fault(status: int = 500) -> RequestError:
    return RequestError("boom", error_type=InferenceErrorType.API_STATUS, status_code=status, is_retryable=True)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


class Failing:
    """Raises `errors` one after the other, and then lets the engine answer."""

    def __init__(self, *errors: RequestError) -> None:
        self._errors = list(errors)

    def __call__(self, _: str, __: int) -> None:
        if self._errors:
            raise self._errors.pop(0)


async def test_the_answer_is_appended_to_a_new_conversation() -> None:
    asked = question("a", metadata={"mine": 1})
    answered = await FakeEngine().agenerate(asked)
    assert [message.content for message in answered.messages] == ["a", answer_to("a")]
    assert answered.metadata["mine"] == 1
    assert answered.metadata["finish_reason"] == "stop"
    assert answered.metadata["usage"]["total_tokens"] == 7
    assert len(asked.messages) == 1


def test_the_blocking_twin_gives_the_same_answer() -> None:
    assert FakeEngine().generate(question("a")).messages[-1].content == answer_to("a")


async def test_failures_are_retried_after_a_pause(clock: QuickClock) -> None:
    engine = FakeEngine(Failing(fault(), timeout(), fault(503)), clock=clock, max_retries=3)
    async with passing(clock):
        await engine.agenerate(question("a"))
    assert engine.asked["a"] == 4
    assert clock.now() > 0.0


async def test_the_last_failure_is_raised_when_no_retry_is_left(clock: QuickClock) -> None:
    engine = FakeEngine(Failing(*[fault()] * 9), clock=clock, max_retries=2)
    async with passing(clock):
        with pytest.raises((RequestError, EngineDeadError), match="boom"):
            await engine.agenerate(question("a"))
    assert engine.asked["a"] == 3
    assert engine._semaphore().in_use == 0


async def test_a_wait_that_the_endpoint_asks_for_is_kept(clock: QuickClock) -> None:
    engine = FakeEngine(Failing(refusal(20.0)), clock=clock)
    async with passing(clock):
        await engine.agenerate(question("a"))
    assert clock.now() >= 20.0


async def test_a_rejected_conversation_is_not_sent_again() -> None:
    engine = FakeEngine(Failing(rejection()))
    with pytest.raises(RequestError, match="bad request"):
        await engine.agenerate(question("a"))
    assert engine.asked["a"] == 1


async def test_an_error_of_the_account_says_what_to_check() -> None:
    error = RequestError(
        "the key was revoked", error_type=InferenceErrorType.API_STATUS, status_code=401, scope=ErrorScope.ACCOUNT
    )
    with pytest.raises(EngineConfigError, match="the key was revoked.*Check the API key"):
        await FakeEngine(Failing(error)).agenerate(question("a"))


async def test_no_more_calls_are_in_flight_than_there_are_permits(clock: QuickClock) -> None:
    engine = FakeEngine(lambda *_: clock.sleep(1.0), workers=3, clock=clock)
    async with passing(clock):
        await asyncio.gather(*(engine.agenerate(question(str(i))) for i in range(10)))
    assert engine.peak == 3


async def test_calls_and_runs_share_the_permits(clock: QuickClock) -> None:
    engine = FakeEngine(lambda *_: clock.sleep(1.0), workers=2, clock=clock)
    async with passing(clock):
        await asyncio.gather(
            engine.ainfer([question(f"row {i}") for i in range(4)]),
            *(engine.agenerate(question(f"call {i}")) for i in range(4)),
        )
    assert engine.peak == 2


@pytest.mark.parametrize("when", ["waiting for a permit", "asking", "waiting to retry"])
async def test_a_cancelled_call_leaves_nothing_behind(when: str, clock: QuickClock) -> None:
    async def script(text: str, _: int) -> None:
        if when == "waiting to retry" and text == "b":
            raise refusal(1e3)
        await anyio.sleep_forever()

    engine = FakeEngine(script, workers=1 if when == "waiting for a permit" else 2, clock=clock)
    first = asyncio.create_task(engine.agenerate(question("a")))
    await anyio.wait_all_tasks_blocked()
    call = asyncio.create_task(engine.agenerate(question("b")))
    await anyio.wait_all_tasks_blocked()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert engine._semaphore().in_use == 1
    first.cancel()
    await asyncio.wait([first])
    assert engine._semaphore().in_use == engine._semaphore().waiting == 0


async def test_an_invalid_conversation_is_refused_before_anything_is_asked() -> None:
    engine = FakeEngine()
    with pytest.raises(InputError):
        await engine.agenerate(Conversation(messages=[]))
    assert not engine.asked


@pytest.mark.parametrize("given", [None, 3, b"hello", [question("a")]])
async def test_something_else_than_a_conversation_is_an_input_error(given: Any) -> None:
    with pytest.raises(InputError, match="conversation should be a Conversation"):
        await FakeEngine().agenerate(given)


async def test_something_else_than_a_config_is_a_config_error() -> None:
    config: Any = {"model": {"model_name": "m"}}
    with pytest.raises(ConfigError, match="InferenceConfig"):
        await FakeEngine().agenerate(question("a"), config)


async def test_no_thread_and_no_task_is_started() -> None:
    engine = FakeEngine()
    await engine.agenerate(question("a"))
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    seen: list[tuple[int, int]] = []
    engine._script = lambda *_: seen.append((threading.active_count(), len(asyncio.all_tasks())))  # type: ignore[func-returns-value]
    await engine.agenerate(question("b"))
    assert seen == [(threads, tasks)]


class Preparing(FakeEngine):
    """Counts how often settings are prepared, and answers with them."""

    prepared = 0

    def _bind(self, settings: CallSettings) -> BoundEngine:
        self.prepared += 1
        return super()._bind(settings)


class TestPreparedSettings:
    async def test_repeated_calls_prepare_them_once(self) -> None:
        engine, config = Preparing(), InferenceConfig(generation=GenerationParams(max_new_tokens=5))
        for _ in range(3):
            await engine.agenerate(question("a"), config)
            await engine.agenerate(question("a"))
        assert engine.prepared == 2

    async def test_a_config_that_was_changed_is_prepared_again(self) -> None:
        engine, config = Preparing(), InferenceConfig(generation=GenerationParams(stop_strings=["x"]))
        await engine.agenerate(question("a"), config)
        assert config.generation.stop_strings is not None
        config.generation.stop_strings.append("y")
        await engine.agenerate(question("a"), config)
        assert engine.prepared == 2

    async def test_a_value_that_becomes_explicit_counts(self) -> None:
        """Only explicit values override those of the engine, also if they are the default."""
        engine, config = Preparing(), InferenceConfig()
        await engine.agenerate(question("a"), config)
        config.generation.temperature = GenerationParams().temperature
        await engine.agenerate(question("a"), config)
        assert engine.prepared == 2

    async def test_calls_that_begin_at_the_same_time_prepare_them_once(self) -> None:
        engine, config = Preparing(), InferenceConfig()
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(engine.agenerate, question("a"), config)
        assert engine.prepared == 1

    async def test_many_configs_do_not_fill_the_memory(self) -> None:
        engine = Preparing()
        configs = [InferenceConfig(model=ModelParams(model_name=f"m{i}")) for i in range(2 * MOST_KEPT)]
        for config in configs:
            await engine.agenerate(question("a"), config)
        assert sum(map(len, engine._setups._kept.values())) == MOST_KEPT

    async def test_a_config_in_use_is_kept(self) -> None:
        engine = Preparing()
        used = InferenceConfig(model=ModelParams(model_name="used"))
        others = [InferenceConfig(model=ModelParams(model_name=f"m{i}")) for i in range(2 * MOST_KEPT)]
        for other in others:
            await engine.agenerate(question("a"), used)
            await engine.agenerate(question("a"), other)
        assert engine.prepared == 1 + len(others)

    async def test_a_closed_engine_prepares_them_again(self) -> None:
        engine = Preparing()
        await engine.agenerate(question("a"))
        await engine.aclose()
        await engine.agenerate(question("a"))
        assert engine.prepared == 2

    def test_each_event_loop_has_its_own(self) -> None:
        engine = Preparing()
        for _ in range(2):
            asyncio.run(engine.agenerate(question("a")))
        assert engine.asked["a"] == 2

    async def test_an_ignored_setting_is_reported_once(self, caplog: pytest.LogCaptureFixture) -> None:
        engine, config = FakeEngine(), InferenceConfig(generation=GenerationParams(presence_penalty=0.5))
        for _ in range(3):
            answered = await engine.agenerate(question("a"), config)
            assert answered.metadata["dropped_parameters"] == ["presence_penalty"]
        assert len([record for record in caplog.records if "presence_penalty" in record.message]) == 1

    async def test_a_wrong_setting_is_an_error_of_each_call(self) -> None:
        class Wrong(FakeEngine):
            def _bind(self, settings: CallSettings) -> BoundEngine:
                raise ConfigError("model.model_name: not set")

        engine = Wrong()
        for _ in range(2):
            with pytest.raises(ConfigError, match="model_name"):
                await engine.agenerate(question("a"))


class TestOneRow:
    """`ainfer` of one row without an output path takes the way of a single call."""

    async def test_the_result_is_that_of_a_run(self) -> None:
        conversation = question("a", metadata={"source": "test"})
        [short] = await FakeEngine().ainfer([conversation])
        [(_, long)] = (await FakeEngine().ainfer_partial([conversation])).successful
        assert short == long
        assert short.conversation_id == short.metadata["row_key"]
        assert conversation.conversation_id is None

    async def test_no_thread_and_no_task_is_started(self) -> None:
        engine = FakeEngine()
        await engine.ainfer([question("a")])
        threads, tasks = threading.active_count(), len(asyncio.all_tasks())
        seen: list[tuple[int, int]] = []
        engine._script = lambda *_: seen.append((threading.active_count(), len(asyncio.all_tasks())))  # type: ignore[func-returns-value]
        await engine.ainfer([question("b")])
        assert seen == [(threads, tasks)]

    @pytest.mark.parametrize("error", [rejection(), RuntimeError("a bug")], ids=["rejection", "bug"])
    async def test_a_failure_is_reported_as_by_a_run(self, error: Exception) -> None:
        def script(*_: object) -> None:
            raise error

        with pytest.raises(InferenceFailedError, match="1 of 1 rows failed") as caught:
            await FakeEngine(script).ainfer([question("a")])
        result = await FakeEngine(script).ainfer_partial([question("a")])
        assert caught.value.result == result

    async def test_an_invalid_row_is_an_input_error_before_anything_is_asked(self) -> None:
        engine = FakeEngine()
        with pytest.raises(InputError, match="row 0: the conversation has no messages"):
            await engine.ainfer([Conversation(messages=[])])
        assert not engine.asked

    async def test_the_engine_s_settings_are_prepared_once(self) -> None:
        engine, config = Preparing(), InferenceConfig(generation=GenerationParams(max_new_tokens=5))
        for _ in range(3):
            await engine.ainfer([question("a")], config)
            await engine.agenerate(question("a"), config)
        assert engine.prepared == 1


async def test_a_long_wait_for_a_permit_is_logged_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    engine = FakeEngine(clock=clock, workers=1, requests_per_minute=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await engine.agenerate(question("a"))
        await engine.agenerate(question("b"))
        tasks.cancel_scope.cancel()
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "A call has waited for 10 s, because a rate limit is used up"
    ]
