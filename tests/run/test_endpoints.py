"""Runs and calls over several endpoints, in virtual time: where rows go, and what is lost (nothing)."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import anyio
import pytest

from asyncinfer import (
    AttemptFailed,
    EngineConfigError,
    EngineDeadError,
    InferenceConfig,
    LimitsChanged,
    ModelParams,
    Progress,
    RemoteParams,
    RequestError,
    RowFinished,
    RunEvent,
    RunSummary,
    StreamDelta,
    Usage,
)
from asyncinfer.control.endpoint_group import EndpointGroup
from asyncinfer.control.member import EndpointRole
from asyncinfer.control.permit_source import PermitSource
from asyncinfer.engines.bound_endpoints import BoundEndpoints
from asyncinfer.errors import ErrorScope
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from tests.control.errors import connection_lost, fault, quota, rejected
from tests.control.simulation import TokenBucket, steady
from tests.fakes import SimpleEngine, answer_to, question, questions, refusal, timeout, write_jsonl
from tests.run.clock import QuickClock, passing

Script = Callable[[str, int], Awaitable[None]]
ROWS = 200


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


def revoked(message: str = "the key was revoked") -> RequestError:
    return rejected(message, 401, ErrorScope.ACCOUNT)


class Server:
    """Answers after `latency` seconds. Between two times it fails every request with `error`."""

    def __init__(
        self,
        clock: QuickClock,
        error: RequestError | None = None,
        begin: float = 0.0,
        end: float = float("inf"),
        latency: float = 0.1,
        fallback: bool = False,
    ) -> None:
        self._clock, self._error, self._begin, self._end, self._latency = clock, error, begin, end, latency
        self.is_fallback = fallback
        self.asked: list[float] = []
        self.answered: list[float] = []

    async def __call__(self, text: str) -> None:
        now = self._clock.now()
        self.asked.append(now)
        if self._error is not None and self._begin <= now < self._end:
            await self._clock.sleep(0.001)
            raise self._error
        await self._clock.sleep(self._latency)
        self.answered.append(self._clock.now())

    async def next_word(self) -> None:
        """Wait until the next word of a stream. Without a wait by default."""


class Hanging(Server):
    """Answers so many requests, and then no other."""

    def __init__(self, clock: QuickClock, after: int) -> None:
        super().__init__(clock)
        self._answers = after

    async def __call__(self, text: str) -> None:
        await super().__call__(text)
        if len(self.asked) > self._answers:
            await self._clock.sleep(10_000.0)


class Failing(Server):
    """Fails one question, and answers all others. `failed`: when it did."""

    def __init__(self, clock: QuickClock, question: str, failure: RequestError) -> None:
        super().__init__(clock)
        self._question, self._failure = question, failure
        self.failed: list[float] = []

    async def __call__(self, text: str) -> None:
        await super().__call__(text)
        if text == self._question:
            self.failed.append(self._clock.now())
            raise self._failure


class _BoundServer(BoundEngine):
    def __init__(self, server: Server) -> None:
        self._server = server

    async def generate(self, conversation: Conversation) -> Completion:
        text = str(conversation.messages[-1].content)
        await self._server(text)
        return Completion(Message(role=Role.ASSISTANT, content=answer_to(text)), FinishReason.STOP, Usage(3, 4, 7))

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta]:
        completion = await self.generate(conversation)
        for word in re.findall(r"\S+\s*", str(completion.message.content)):
            yield StreamDelta(word)
            await self._server.next_word()
        yield StreamDelta(finish_reason=completion.finish_reason, usage=completion.usage)


class Servers(SimpleEngine):
    """An engine with several endpoints, named `a`, `b`, and so on."""

    def __init__(self, clock: QuickClock, *servers: Server, workers: int = 4, **remote: object) -> None:
        self.servers = servers
        super().__init__(
            ModelParams(model_name="fake"),
            remote_params=RemoteParams.model_validate({"num_workers": workers, **remote}),
            clock=clock,
        )

    def _new_endpoint(self) -> PermitSource:
        roles = [
            EndpointRole(name, 1.0, server.is_fallback) for name, server in zip("abcd", self.servers, strict=False)
        ]
        return EndpointGroup(roles, self._concurrency(), self._remote_params or RemoteParams())

    def _bind(self, settings: CallSettings) -> BoundEngine:
        return BoundEndpoints([_BoundServer(server) for server in self.servers])


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


async def run(
    engine: Servers, clock: QuickClock, config: InferenceConfig, events: list[RunEvent] | None = None
) -> RunSummary:
    async with passing(clock):
        return await engine.arun(config, observers=[events.append] if events is not None else [])


class TestRuns:
    async def test_rows_are_spread_over_the_endpoints(self, clock: QuickClock, config: InferenceConfig) -> None:
        summary = await run(Servers(clock, Server(clock), Server(clock)), clock, config)
        assert summary.completed == ROWS
        assert [(e.endpoint, e.failed, e.problem) for e in summary.endpoints] == [("a", 0, None), ("b", 0, None)]
        assert all(80 <= e.answered == e.attempts <= 120 for e in summary.endpoints)

    async def test_slow_endpoint_gets_fewer_rows(self, clock: QuickClock, config: InferenceConfig) -> None:
        summary = await run(Servers(clock, Server(clock, latency=0.4), Server(clock)), clock, config)
        slow, fast = summary.endpoints
        assert fast.answered > 2 * slow.answered

    @pytest.mark.parametrize("error", [connection_lost(), timeout(), fault(500)], ids=["connection", "timeout", "500"])
    async def test_rows_of_a_dead_endpoint_go_elsewhere_without_using_retries(
        self, error: RequestError, clock: QuickClock, config: InferenceConfig
    ) -> None:
        dead = Server(clock, error)
        summary = await run(Servers(clock, dead, Server(clock), max_retries=0), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert summary.endpoints[0].problem == str(error)
        assert len(dead.asked) < 30

    async def test_endpoint_that_dies_and_comes_back_is_used_again_within_30_s(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        failing = Server(clock, connection_lost(), 5.0, 305.0, latency=60.0)
        events: list[RunEvent] = []
        other = Server(clock, latency=60.0)
        summary = await run(Servers(clock, failing, other, workers=8, max_retries=0), clock, config, events)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert any(305.0 <= at < 335.0 for at in failing.asked), "a probe found it within 30 s"
        assert summary.endpoints[0].problem is None
        decisions = [event.decision for event in events if isinstance(event, LimitsChanged)]
        assert [(d.endpoint, d.why) for d in decisions if d.why in ("put aside", "in use again")] == [
            ("a", "put aside"),
            ("a", "in use again"),
        ]

    async def test_revoked_key_at_one_endpoint_does_not_end_the_run(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        summary = await run(Servers(clock, Server(clock, revoked(), 1.0), Server(clock)), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert summary.endpoints[0].problem == "the key was revoked"

    @pytest.mark.parametrize("error", [quota(), quota(100_000.0)], ids=["unknown", "long"])
    async def test_quota_of_one_endpoint_does_not_end_the_run(
        self, error: RequestError, clock: QuickClock, config: InferenceConfig
    ) -> None:
        summary = await run(Servers(clock, Server(clock, error, 1.0), Server(clock)), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)

    async def test_rows_that_one_endpoint_rejects_without_a_reason_go_to_the_other(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        older = Server(clock, rejected("unknown field: seed"))
        summary = await run(Servers(clock, older, Server(clock)), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert summary.endpoints[0].problem == "unknown field: seed"

    async def test_row_that_every_endpoint_rejects_fails_after_one_request_or_two(self, clock: QuickClock) -> None:
        class Strict(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if text.endswith("7"):
                    raise rejected("bad request")

        servers = Strict(clock), Strict(clock)
        async with passing(clock):
            result = await Servers(clock, *servers).ainfer_partial(questions(100))
        assert result.failed_indices == [*range(7, 100, 10)]
        assert sum(len(server.asked) for server in servers) <= 110

    async def test_run_ends_if_every_endpoint_rejects_every_row(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        servers = [Server(clock, rejected("bad request")) for _ in range(2)]
        with pytest.raises(EngineConfigError, match=r"bad request\. 20 rows in a row were rejected like this"):
            await run(Servers(clock, *servers), clock, config)
        assert clock.now() < 5.0

    async def test_run_ends_if_every_endpoint_refuses_the_account_and_the_message_names_each(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        servers = [Server(clock, revoked("wrong key")), Server(clock, revoked("no credit"))]
        with pytest.raises(EngineConfigError, match=r"All endpoints: a: wrong key; b: no credit$"):
            await run(Servers(clock, *servers), clock, config)
        assert sum(len(server.asked) for server in servers) < 30

    async def test_revoked_key_does_not_end_the_run_while_the_other_endpoint_is_out(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        out = Server(clock, connection_lost(), 1.0, 400.0)
        summary = await run(Servers(clock, Server(clock, revoked(), 1.0), out, max_outage=900), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)

    async def test_nothing_is_lost_if_all_endpoints_are_out_for_some_minutes(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        servers = [Server(clock, connection_lost(), 1.0 + i, 600.0) for i in range(3)]
        summary = await run(Servers(clock, *servers), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)

    async def test_outage_of_all_endpoints_ends_the_run_after_max_outage(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        servers = [Server(clock, connection_lost(), 1.0), Server(clock, connection_lost(), 500.0, latency=20.0)]
        summary = await run(Servers(clock, *servers, max_outage=300), clock, config)
        assert summary.failed
        assert 800.0 <= clock.now() < 850.0, "it is counted from the moment when the last endpoint failed"
        failure = summary.commonest_failure
        assert failure is not None
        assert "no row was answered for 5 min" in failure.error_message
        assert "All endpoints: a: connection reset; b: connection reset" in failure.error_message

    async def test_random_failures_do_not_put_endpoints_aside_for_long(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        class Noisy(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if chance.random() < 0.1:
                    raise fault(500)

        chance = random.Random(1)
        servers = [Noisy(clock) for _ in range(2)]
        summary = await run(Servers(clock, *servers, workers=10), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert clock.now() < 8.0, "without failures it takes about 1.5 s; a backoff takes up to 2 s"

    async def test_row_that_every_endpoint_refuses_fails_alone(self, clock: QuickClock) -> None:
        class Picky(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if text == "question 7":
                    raise rejected("you may not ask this", 403, ErrorScope.ACCOUNT)

        engine = Servers(clock, Picky(clock), Picky(clock))
        async with passing(clock):
            result = await engine.ainfer_partial(questions(40))
        assert result.failed_indices == [7]

    async def test_row_that_breaks_every_connection_fails_alone(self, clock: QuickClock) -> None:
        class Fragile(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if text == "question 7":
                    raise connection_lost()

        servers = Fragile(clock), Fragile(clock)
        async with passing(clock):
            result = await Servers(clock, *servers, max_retries=2).ainfer_partial(questions(40))
        assert result.failed_indices == [7]
        assert sum(len(server.asked) for server in servers) < 39 + 20

    @pytest.mark.parametrize("error", [connection_lost(), fault(500), timeout()], ids=["connection", "500", "timeout"])
    @pytest.mark.parametrize("retries", [1, 2, 5])
    async def test_failing_row_gets_as_many_attempts_as_max_retries_allows_at_all_endpoints_together(
        self, retries: int, error: RequestError, clock: QuickClock
    ) -> None:
        servers = [Failing(clock, "question 7", error) for _ in range(6)]
        async with passing(clock):
            result = await Servers(clock, *servers, workers=5, max_retries=retries).ainfer_partial(questions(200))
        assert result.failed_indices == [7]
        assert sum(len(server.failed) for server in servers) == 1 + retries

    async def test_failing_row_without_retries_gets_a_second_attempt_in_case_the_first_endpoint_was_down(
        self, clock: QuickClock
    ) -> None:
        servers = [Failing(clock, "question 7", fault(500)) for _ in range(6)]
        async with passing(clock):
            result = await Servers(clock, *servers, workers=5, max_retries=0).ainfer_partial(questions(200))
        assert result.failed_indices == [7]
        assert sum(len(server.failed) for server in servers) <= 2

    async def test_rows_do_not_wait_as_long_as_one_endpoint_requests(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        summary = await run(Servers(clock, Server(clock, refusal(300.0)), Server(clock)), clock, config)
        assert summary.completed == ROWS
        assert clock.now() < 60.0

    async def test_rows_of_an_endpoint_that_stands_still_go_elsewhere(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        hanging, other = Hanging(clock, after=20), Server(clock, latency=3.0)
        summary = await run(Servers(clock, hanging, other, max_retries=0), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert clock.now() < 300.0

    @pytest.mark.parametrize("latency", [5.0, 20.0])
    async def test_endpoint_that_stood_still_is_used_again_as_soon_as_it_answers(
        self, latency: float, clock: QuickClock, config: InferenceConfig
    ) -> None:
        class Pausing(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if 50.0 <= self.asked[-1] < 300.0:
                    await self._clock.sleep(10_000.0)

        pausing, other = Pausing(clock, latency=latency), Server(clock, latency=20.0)
        summary = await run(Servers(clock, pausing, other, workers=5, max_retries=0), clock, config)
        assert (summary.completed, summary.failed, summary.endpoints[0].problem) == (ROWS, 0, None)
        assert any(300.0 < at < 400.0 for at in pausing.answered)

    async def test_last_rows_do_not_go_to_a_hanging_endpoint_again_and_again(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        class Silent(Server):
            async def __call__(self, text: str) -> None:
                await super().__call__(text)
                if len(self.asked) > 20:
                    await self._clock.sleep(300.0)
                    raise timeout()

        servers = Silent(clock), Server(clock, fallback=True)
        summary = await run(Servers(clock, *servers, workers=5, max_retries=0), clock, config)
        assert (summary.completed, summary.failed) == (ROWS, 0)
        assert clock.now() < 700.0, "some rows wait for a timeout, and one more is a probe"

    async def test_fallback_is_used_only_during_an_outage(self, clock: QuickClock, config: InferenceConfig) -> None:
        main, fallback = Server(clock, fault(500), 2.0, 4.0), Server(clock, fallback=True)
        summary = await run(Servers(clock, main, fallback), clock, config)
        assert summary.completed == ROWS
        assert fallback.asked
        assert min(fallback.asked) >= 2.0
        assert max(fallback.asked) < 8.0
        assert summary.endpoints[1].answered == len(fallback.asked)

    async def test_progress_and_its_file_have_the_counts_of_each_endpoint(
        self, clock: QuickClock, config: InferenceConfig, tmp_path: Path
    ) -> None:
        engine, reported = Servers(clock, Server(clock, revoked(), 1.0), Server(clock)), list[Progress]()
        watched = config.model_copy(update={"progress_path": str(tmp_path / "progress.json")})
        async with passing(clock):
            summary = await engine.arun(watched, on_progress=reported.append)
        assert list(reported[-1].endpoints) == summary.endpoints
        written = json.loads((tmp_path / "progress.json").read_text())["endpoints"]
        assert written == [asdict(endpoint) for endpoint in summary.endpoints]
        assert [endpoint["problem"] for endpoint in written] == ["the key was revoked", None]
        assert sum(endpoint["answered"] for endpoint in written) == ROWS

    async def test_events_name_the_endpoint(self, clock: QuickClock, config: InferenceConfig) -> None:
        events: list[RunEvent] = []
        await run(Servers(clock, Server(clock, refusal(), 0.5, 1.0), Server(clock)), clock, config, events)
        finished = Counter(event.endpoint for event in events if isinstance(event, RowFinished))
        failed = Counter(event.endpoint for event in events if isinstance(event, AttemptFailed))
        assert finished.keys() == {"a", "b"}
        assert failed.keys() == {"a"}
        assert {e.decision.endpoint for e in events if isinstance(e, LimitsChanged)} <= {"a", "b"}


class Limited(Server):
    """Accepts `rate` requests per second, and refuses all others. Fails every request between two times."""

    def __init__(self, clock: QuickClock, rate: float, begin: float = 0.0, end: float = 0.0) -> None:
        super().__init__(clock, connection_lost(), begin, end, latency=0.0)
        self._bucket = TokenBucket(steady(rate))

    async def __call__(self, text: str) -> None:
        if not self._begin <= self._clock.now() < self._end:
            reply = self._bucket.request(self._clock.now(), 1)
            await self._clock.sleep(reply.after)
            if reply.error is not None:
                raise reply.error
        await super().__call__(text)


class TestHiddenLimits:
    async def test_92_percent_of_four_hidden_limits_are_used(self, clock: QuickClock) -> None:
        servers = [Limited(clock, rate) for rate in (20, 40, 80, 160)]
        async with passing(clock):
            result = await Servers(clock, *servers, workers=100).ainfer_partial(questions(4500))
        assert len(result.successful) == 4500
        capacity = [server._bucket.capacity(10.0) for server in servers]
        used = [sum(at < 10.0 for at in server.answered) for server in servers]
        assert sum(used) >= 0.92 * sum(capacity)

    async def test_nothing_is_lost_if_one_of_them_dies_and_comes_back(self, clock: QuickClock) -> None:
        dying = Limited(clock, 80, 4.0, 9.0)
        servers = [Limited(clock, 20), Limited(clock, 40), dying, Limited(clock, 160)]
        async with passing(clock):
            result = await Servers(clock, *servers, workers=100, max_retries=0).ainfer_partial(questions(4500))
        assert len(result.successful) == 4500
        assert min(at for at in dying.answered if at > 9.0) < 9.0 + 5.0


class TestSingleCalls:
    @pytest.mark.parametrize("error", [connection_lost(), revoked(), quota()], ids=["connection", "key", "quota"])
    async def test_call_goes_to_another_endpoint_at_once(self, error: RequestError, clock: QuickClock) -> None:
        engine = Servers(clock, Server(clock, error), Server(clock), max_retries=0)
        async with passing(clock):
            for _ in range(10):
                began = clock.now()
                answered = await engine.agenerate(question("hello"))
                assert answered.text == answer_to("hello")
                assert clock.now() - began < 0.2

    async def test_attempts_at_endpoints_that_answer_nothing_are_bounded(self, clock: QuickClock) -> None:
        servers = [Failing(clock, "hello", fault(500)) for _ in range(6)]
        async with passing(clock):
            with pytest.raises(RequestError, match="broken"):
                await Servers(clock, *servers, max_retries=2).agenerate(question("hello"))
        assert sum(len(server.failed) for server in servers) <= len(servers) + 4 + 1 + 2

    async def test_single_calls_use_the_fallback_while_the_other_endpoint_is_dead(self, clock: QuickClock) -> None:
        dead, fallback = Server(clock, connection_lost()), Server(clock, fallback=True)
        engine, times = Servers(clock, dead, fallback, max_retries=0), list[float]()
        async with passing(clock):
            for number in range(10):
                began = clock.now()
                assert (await engine.agenerate(question(f"question {number}"))).text == answer_to(f"question {number}")
                times.append(clock.now() - began)
        assert max(times) < 5.0
        assert sum(times) < 10.0
        assert len(dead.asked) < 15

    async def test_stream_goes_to_another_endpoint_at_once(self, clock: QuickClock) -> None:
        engine = Servers(clock, Server(clock, connection_lost()), Server(clock), max_retries=0)
        async with passing(clock), engine.astream(question("hello")) as stream:
            assert "".join([delta.content async for delta in stream]) == answer_to("hello")

    async def test_stream_goes_to_another_endpoint_if_one_stands_still_before_the_first_part(
        self, clock: QuickClock
    ) -> None:
        hanging = Hanging(clock, after=10)
        engine = Servers(clock, hanging, Server(clock, latency=1.0), workers=8, max_retries=0)
        texts: list[str] = []

        async def stream() -> None:
            async with engine.astream(question("hello")) as parts:
                texts.append("".join([delta.content async for delta in parts]))

        async with passing(clock), anyio.create_task_group() as tasks:
            await engine.ainfer(questions(10))
            for _ in range(8):
                tasks.start_soon(stream)
            await engine.ainfer(questions(300))
        assert texts == [answer_to("hello")] * 8
        assert len(hanging.asked) > 10
        assert clock.now() < 200.0

    async def test_stream_that_has_begun_goes_on_however_long_it_takes(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Slow(Server):
            async def next_word(self) -> None:
                await clock.sleep(25.0)

        engine = Servers(clock, Slow(clock, latency=1.0), Server(clock, latency=1.0))
        words = " ".join(f"word{number}" for number in range(10))

        async def stream() -> None:
            async with engine.astream(question(words)) as parts:
                assert "".join([delta.content async for delta in parts]) == answer_to(words)

        async def others() -> None:
            while True:
                await engine.agenerate(question("hello"))

        async with passing(clock), anyio.create_task_group() as tasks:
            await engine.ainfer(questions(10))
            tasks.start_soon(others)
            async with anyio.create_task_group() as streams:
                for _ in range(4):  # Some of them are at the slow endpoint.
                    streams.start_soon(stream)
            tasks.cancel_scope.cancel()
        assert clock.now() > 250.0
        assert "put aside" not in caplog.text

    async def test_call_fails_if_every_endpoint_refuses_the_account(self, clock: QuickClock) -> None:
        engine = Servers(clock, Server(clock, revoked("wrong key")), Server(clock, revoked("no credit")))
        async with passing(clock):
            with pytest.raises(EngineDeadError, match=r"All endpoints: a: wrong key; b: no credit$"):
                await engine.agenerate(question("hello"))

    async def test_rows_of_ainfer_iter_go_to_another_endpoint(self, clock: QuickClock) -> None:
        engine = Servers(clock, Server(clock, connection_lost()), Server(clock), max_retries=0)
        async with passing(clock):
            outcomes = [outcome async for _, outcome in engine.ainfer_iter(questions(20))]
        assert all(isinstance(outcome, Conversation) for outcome in outcomes)
