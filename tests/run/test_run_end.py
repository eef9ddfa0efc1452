"""Runs in virtual time against failing endpoints: when they end early, which rows fail, and what can be resumed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncinfer import (
    Conversation,
    EngineConfigError,
    EngineDeadError,
    FailureDetail,
    InferenceConfig,
    InferenceErrorType,
    InferenceResult,
    RunSummary,
)
from asyncinfer.errors import ErrorScope, RequestError
from tests.control.errors import connection_lost, fault, quota, rejected
from tests.fakes import FakeEngine, answer_to, questions, read_jsonl, refusal, timeout, write_jsonl
from tests.run.clock import QuickClock, passing

ROWS = 60


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


def number(text: str) -> int:
    return int(text.split()[-1])


async def run_file(engine: FakeEngine, clock: QuickClock, config: InferenceConfig) -> RunSummary:
    async with passing(clock):
        return await engine.arun(config)


async def run_rows(engine: FakeEngine, clock: QuickClock, count: int) -> InferenceResult:
    async with passing(clock):
        return await engine.ainfer_partial(questions(count))


async def outcomes(engine: FakeEngine, clock: QuickClock, count: int) -> dict[int, Conversation | FailureDetail]:
    """Run `count` rows without saving them, which is faster."""

    async def source() -> AsyncIterator[Conversation]:
        for conversation in questions(count):
            yield conversation

    async with passing(clock):
        return {index: outcome async for index, outcome in engine.ainfer_iter(source())}


def lost(rows: dict[int, Conversation | FailureDetail]) -> list[int]:
    return [index for index, outcome in rows.items() if isinstance(outcome, FailureDetail)]


class Down:
    """Takes 0.1 s to answer, and fails every request with `error` between two times."""

    def __init__(self, clock: QuickClock, error: RequestError, begin: float, end: float) -> None:
        self._clock, self._error, self._begin, self._end = clock, error, begin, end
        self.requests = 0

    async def __call__(self, _: str, __: int) -> None:
        if self._begin <= self._clock.now() < self._end:
            self.requests += 1
            await self._clock.sleep(0.001)
            raise self._error
        await self._clock.sleep(0.1)


class TestAccountErrors:
    @pytest.mark.parametrize(
        "error",
        [
            rejected("the key was revoked", 401, ErrorScope.ACCOUNT),
            rejected("insufficient balance", 402, ErrorScope.ACCOUNT),
            rejected("this key may not use the model", 403, ErrorScope.ACCOUNT),
            rejected("no such model", 404, ErrorScope.ACCOUNT),
            rejected("insufficient_quota", 429, ErrorScope.ACCOUNT),
        ],
        ids=["401", "402", "403", "404", "429"],
    )
    async def test_account_error_in_mid_run_ends_the_run_and_the_next_run_resumes_it(
        self, error: RequestError, clock: QuickClock, config: InferenceConfig
    ) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise error

        engine = FakeEngine(script, clock=clock, workers=4)
        summary = await run_file(engine, clock, config)
        assert (summary.completed, summary.failed) == (20, ROWS - 20)
        assert engine.asked.total() <= 20 + 3 + 4
        detail = summary.failure_samples[-1][1]
        assert str(error) in detail.error_message
        again = FakeEngine(clock=clock)
        summary = await run_file(again, clock, config)
        assert (summary.completed, summary.resumed) == (ROWS, 20)
        assert again.asked.total() == ROWS - 20

    async def test_account_error_before_any_answer_ends_the_run_after_one_request_per_worker(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        async def script(*_: object) -> None:
            await clock.sleep(0.1)
            raise rejected("no such model", 404, ErrorScope.ACCOUNT)

        engine = FakeEngine(script, clock=clock, workers=2)
        with pytest.raises(EngineConfigError, match="no such model"):
            await run_file(engine, clock, config)
        assert engine.asked.total() <= 4

    async def test_account_error_ends_an_iterator(self, clock: QuickClock) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise rejected("the key was revoked", 401, ErrorScope.ACCOUNT)

        engine = FakeEngine(script, clock=clock, workers=1)
        with pytest.raises(EngineDeadError, match="revoked"):
            await outcomes(engine, clock, 100)
        assert engine.asked.total() <= 24


class TestLog:
    """The reason why a run ended early is logged, unless the caller gets it in an error."""

    MID_RUN = rejected("the key was revoked", 401, ErrorScope.ACCOUNT)

    def logged(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

    async def test_wrong_key_is_raised_by_a_run_of_files_and_not_logged(
        self, clock: QuickClock, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(*_: object) -> None:
            raise self.MID_RUN

        with pytest.raises(EngineConfigError, match="revoked"):
            await run_file(FakeEngine(script, clock=clock), clock, config)
        assert self.logged(caplog) == []

    async def test_wrong_key_is_the_failure_of_every_row_of_a_result_and_not_logged(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(*_: object) -> None:
            raise self.MID_RUN

        result = await run_rows(FakeEngine(script, clock=clock), clock, 20)
        assert len(result.failures) == 20
        assert self.logged(caplog) == []

    async def test_key_that_is_revoked_after_some_answers_is_logged_once(
        self, clock: QuickClock, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise self.MID_RUN

        await run_file(FakeEngine(script, clock=clock, workers=4), clock, config)
        [message] = self.logged(caplog)
        assert "the key was revoked" in message

    async def test_iterator_raises_the_reason_and_does_not_log_it(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise self.MID_RUN

        with pytest.raises(EngineDeadError, match="revoked"):
            await outcomes(FakeEngine(script, clock=clock, workers=1), clock, 100)
        assert self.logged(caplog) == []

    async def test_estimate_raises_the_reason_and_does_not_log_it(
        self, clock: QuickClock, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(*_: object) -> None:
            raise connection_lost()

        async with passing(clock):
            with pytest.raises(EngineDeadError, match="no request was answered"):
                await FakeEngine(script, clock=clock).aestimate(None, config, rows=20)
        assert self.logged(caplog) == []


class TestRowErrors:
    @pytest.mark.parametrize("scope", [ErrorScope.ROW, ErrorScope.UNKNOWN])
    async def test_one_403_among_good_rows_is_one_failed_row(self, scope: ErrorScope, clock: QuickClock) -> None:
        def script(text: str, _: int) -> None:
            if number(text) == 7:
                raise rejected("the prompt was flagged", 403, scope)

        engine = FakeEngine(script, clock=clock)
        result = await run_rows(engine, clock, 50)
        assert result.failed_indices == [7]
        assert engine.asked["question 7"] == 1

    async def test_a_403_of_the_first_row_is_one_failed_row(self, clock: QuickClock) -> None:
        def script(text: str, _: int) -> None:
            if number(text) == 0:
                raise rejected("forbidden", 403)

        assert (await run_rows(FakeEngine(script, clock=clock, workers=1), clock, 20)).failed_indices == [0]

    async def test_any_number_of_flagged_rows_does_not_end_the_run(self, clock: QuickClock) -> None:
        def script(text: str, _: int) -> None:
            if number(text) < 100:
                raise rejected("the prompt was flagged", 403, ErrorScope.ROW)

        result = await run_rows(FakeEngine(script, clock=clock), clock, 150)
        assert result.failed_indices == list(range(100))

    async def test_twenty_similar_rejections_end_the_run(self, clock: QuickClock) -> None:
        def script(text: str, _: int) -> None:
            raise rejected(f"request {number(text)} has an unknown field", 422)

        engine = FakeEngine(script, clock=clock, workers=1)
        result = await run_rows(engine, clock, 200)
        assert len(result.failures) == 200
        assert engine.asked.total() <= 21
        assert "20 rows in a row" in result.failures[199].error_message

    async def test_rejections_that_differ_are_failed_rows(self, clock: QuickClock) -> None:
        texts = ("too long", "a bad image", "an unknown field")

        def script(text: str, _: int) -> None:
            if number(text) < 100:
                raise rejected(texts[number(text) % 3], 400)

        engine = FakeEngine(script, clock=clock, workers=1)
        assert len((await run_rows(engine, clock, 150)).failures) == 100


class TestQuotas:
    @pytest.mark.parametrize("seconds", [36_000.0, None], ids=["ten hours", "unknown"])
    async def test_a_quota_longer_than_max_wait_ends_the_run_resumable(
        self, seconds: float | None, clock: QuickClock, config: InferenceConfig
    ) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise quota(seconds)

        engine = FakeEngine(script, clock=clock, workers=4, use_adaptive_concurrency=True)
        summary = await run_file(engine, clock, config)
        assert summary.completed == 20
        assert engine.asked.total() <= 30
        assert clock.now() < 60.0, "it ends at once"
        again = FakeEngine(clock=clock)
        assert (await run_file(again, clock, config)).resumed == 20

    async def test_the_reason_and_the_reset_are_logged(
        self, clock: QuickClock, config: InferenceConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(text: str, _: int) -> None:
            if number(text) >= 20:
                raise quota(36_000.0)

        await run_file(FakeEngine(script, clock=clock, workers=1), clock, config)
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 1
        assert "quota" in errors[0]
        assert "10 h" in errors[0]

    async def test_a_quota_within_max_wait_is_waited_for(self, clock: QuickClock) -> None:
        def script(*_: object) -> None:
            if 1.0 <= clock.now() < 601.0:
                raise quota(601.0 - clock.now())

        engine = FakeEngine(lambda *a: script(*a) or clock.sleep(0.1), clock=clock, workers=4)
        assert not lost(await outcomes(engine, clock, 100))
        assert clock.now() >= 601.0

    async def test_a_retry_after_of_a_billion_seconds_on_one_row_costs_only_that_row(self, clock: QuickClock) -> None:
        def script(text: str, attempt: int) -> None:
            if number(text) == 7:
                raise refusal(1e9)

        result = await run_rows(FakeEngine(script, clock=clock, workers=1), clock, 50)
        assert len(result.successful) == 49
        assert clock.now() < 3600.0

    async def test_a_retry_after_of_a_billion_seconds_on_every_row_ends_the_run(self, clock: QuickClock) -> None:
        def script(*_: object) -> None:
            raise refusal(1e9)

        engine = FakeEngine(script, clock=clock, workers=4, use_adaptive_concurrency=True)
        result = await run_rows(engine, clock, 50)
        assert len(result.failures) == 50
        assert engine.asked.total() <= 20
        assert clock.now() < 3600.0


class TestMinuteLimits:
    @pytest.mark.parametrize("hint", [True, False], ids=["Retry-After", ""])
    @pytest.mark.parametrize("limit", [10, 60])
    async def test_a_limit_per_minute_loses_no_row(self, limit: int, hint: bool, clock: QuickClock) -> None:
        taken: dict[int, int] = {}

        def script(*_: object) -> None:
            minute = int(clock.now() // 60)
            taken[minute] = taken.get(minute, 0) + 1
            if taken[minute] > limit:
                raise refusal((minute + 1) * 60 - clock.now() if hint else None)

        engine = FakeEngine(lambda *a: script(*a) or clock.sleep(0.3), clock=clock, use_adaptive_concurrency=True)
        assert not lost(await outcomes(engine, clock, 4 * limit))
        assert clock.now() < 360.0


class TestOutages:
    @pytest.mark.parametrize(
        "error", [fault(500), connection_lost(), refusal(), timeout()], ids=["500", "connection", "503", "timeout"]
    )
    async def test_an_outage_of_a_minute_loses_no_row(self, error: RequestError, clock: QuickClock) -> None:
        server = Down(clock, error, 2.0, 62.0)
        engine = FakeEngine(server, clock=clock, workers=50, use_adaptive_concurrency=True)
        assert not lost(await outcomes(engine, clock, 3000))
        assert server.requests <= 500, "a fixed concurrency would make 50,000 a second"
        assert clock.now() < 120.0

    async def test_an_outage_of_max_outage_ends_the_run_resumable(
        self, clock: QuickClock, config: InferenceConfig
    ) -> None:
        write_jsonl(Path(str(config.input_path)), questions(500))
        server = Down(clock, connection_lost(), 2.0, 1e9)
        engine = FakeEngine(server, clock=clock, workers=4, max_outage=300.0)
        summary = await run_file(engine, clock, config)
        assert summary.completed + summary.failed == 500
        assert summary.completed >= 40
        assert 300.0 <= clock.now() < 400.0
        assert "max_outage" in summary.failure_samples[-1][1].error_message
        again = FakeEngine(clock=clock)
        assert (await run_file(again, clock, config)).resumed == summary.completed

    async def test_an_outage_in_an_earlier_run_of_the_engine_does_not_end_the_next_run(self, clock: QuickClock) -> None:
        is_down = False

        async def script(text: str, attempt: int) -> None:
            await clock.sleep(0.1)
            if is_down or (number(text) == 0 and attempt == 3):
                raise fault(500)

        engine = FakeEngine(script, clock=clock, workers=1, max_outage=100.0)
        assert not (await run_rows(engine, clock, 20)).has_failures
        is_down = True
        with pytest.raises(EngineDeadError, match="max_outage"):
            await outcomes(engine, clock, 20)
        is_down = False
        engine.asked["question 0"] = 2
        async with passing(clock):
            await clock.sleep(3600.0)
        assert not lost(await outcomes(engine, clock, 20))

    @pytest.mark.parametrize("error", [fault(500), connection_lost()], ids=["500", "connection"])
    async def test_an_endpoint_that_never_answers_ends_the_run_early(
        self, error: RequestError, clock: QuickClock
    ) -> None:
        async def script(*_: object) -> None:
            await clock.sleep(0.001)
            raise error

        engine = FakeEngine(script, clock=clock, workers=50, use_adaptive_concurrency=True)
        result = await run_rows(engine, clock, 500)
        assert len(result.failures) == 500
        assert engine.asked.total() <= 150
        assert clock.now() < 600.0
        assert "no request was answered" in result.failures[499].error_message

    async def test_an_endpoint_that_refuses_everything_from_the_start_ends_the_run(self, clock: QuickClock) -> None:
        def script(*_: object) -> None:
            raise refusal()

        engine = FakeEngine(script, clock=clock, workers=50, use_adaptive_concurrency=True)
        result = await run_rows(engine, clock, 100)
        assert len(result.failures) == 100
        assert clock.now() < 3600.0
        assert engine.asked.total() < 1000


class TestFaultsOfSingleRows:
    @pytest.mark.slow
    async def test_a_quarter_of_all_requests_that_fail_at_random_lose_no_row(self, clock: QuickClock) -> None:
        rng = random.Random(0)

        async def script(*_: object) -> None:
            await clock.sleep(0.1)
            if rng.random() < 0.25:
                raise fault(500)

        engine = FakeEngine(script, clock=clock, workers=50, use_adaptive_concurrency=True)
        assert not lost(await outcomes(engine, clock, 5000))

    @pytest.mark.parametrize("error", [fault(500), timeout()], ids=["500", "timeout"])
    async def test_a_row_that_always_fails_ends_after_its_retries(self, error: RequestError, clock: QuickClock) -> None:
        async def script(text: str, _: int) -> None:
            await clock.sleep(0.1)
            if number(text) == 7:
                raise error

        engine = FakeEngine(script, clock=clock, workers=4, max_retries=3)
        assert lost(await outcomes(engine, clock, 2000)) == [7]
        assert engine.asked["question 7"] == 4

    @pytest.mark.parametrize("count", [1, 3, 8])
    async def test_rows_that_always_fail_end_soon_when_all_others_are_answered(
        self, count: int, clock: QuickClock
    ) -> None:
        """They failed while others were answered, so that the endpoint is not to blame."""

        async def script(text: str, _: int) -> None:
            await clock.sleep(0.1)
            if number(text) < count:
                raise fault(500)

        engine = FakeEngine(script, clock=clock, workers=10, use_adaptive_concurrency=True)
        assert sorted(lost(await outcomes(engine, clock, 200))) == [*range(count)]
        assert clock.now() < 90.0

    async def test_a_row_that_is_always_refused_while_others_are_answered_ends(self, clock: QuickClock) -> None:
        async def script(text: str, _: int) -> None:
            await clock.sleep(0.1)
            if number(text) == 7:
                raise refusal()

        engine = FakeEngine(script, clock=clock, workers=4, max_retries=3, use_adaptive_concurrency=True)
        rows = await outcomes(engine, clock, 3000)
        assert lost(rows) == [7]
        failure = rows[7]
        assert isinstance(failure, FailureDetail)
        assert failure.error_type is InferenceErrorType.API_STATUS


async def test_saved_rows_are_complete_after_an_early_end(clock: QuickClock, config: InferenceConfig) -> None:
    def script(text: str, _: int) -> None:
        if number(text) >= 20:
            raise rejected("the key was revoked", 401, ErrorScope.ACCOUNT)

    await run_file(FakeEngine(script, clock=clock, workers=1), clock, config)
    rows = read_jsonl(Path(str(config.output_path)))
    assert [row["messages"][-1]["content"] for row in rows] == [answer_to(f"question {i}") for i in range(20)]
    assert (Path(str(config.output_path)).parent / "scratch" / "out.jsonl").exists()
