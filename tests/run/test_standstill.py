"""A run that sends nothing reports why, and until when: in its progress, in the progress file, and as a warning."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from asyncinfer import Conversation, Progress, RequestError
from asyncinfer.run import progress as progress_module
from asyncinfer.run.events import Events, RunEvent, RunWaits
from asyncinfer.run.progress import ProgressReporter
from asyncinfer.run.stats import RunStats
from asyncinfer.types.answer import Completion
from asyncinfer.types.limits import LimitObservation
from tests.control.errors import connection_lost
from tests.fakes import FakeClock, FakeEngine, questions, refusal
from tests.run.clock import QuickClock, passing


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def virtual_reports(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeClock], None]:
    """Lets the reporter sleep on the clock of the run, so that it reports in virtual time."""

    def use(clock: FakeClock) -> None:
        class VirtualSleep:
            sleep = staticmethod(clock.sleep)
            move_on_after = staticmethod(anyio.move_on_after)
            CancelScope = anyio.CancelScope

        monkeypatch.setattr(progress_module, "anyio", VirtualSleep)

    return use


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class Sender:
    """An executor that last sent something at `sent`, and waits for `reason`."""

    def __init__(self, clock: FakeClock, reason: str | None) -> None:
        self._clock, self._reason = clock, reason
        self.sent = 0.0

    @property
    def silent_for(self) -> float:
        return self._clock.now() - self.sent

    def why_waiting(self) -> str | None:
        return self._reason


class TestReporter:
    """The reporter alone, with a reason that the test sets."""

    @pytest.fixture(autouse=True)
    def virtual(self, clock: FakeClock, virtual_reports: Callable[[FakeClock], None]) -> None:
        virtual_reports(clock)

    async def watch(self, reporter: ProgressReporter, clock: FakeClock, seconds: float) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.run)
            tasks.start_soon(clock.run)
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()

    async def test_ten_seconds_without_a_request_log_a_warning_with_the_reason(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        stats = RunStats(clock, 5)
        await self.watch(
            ProgressReporter(stats, None, None, Sender(clock, "a rate limit is used up"), Events()), clock, 9.0
        )
        assert not warnings(caplog)
        await self.watch(
            ProgressReporter(stats, None, None, Sender(clock, "a rate limit is used up"), Events()), clock, 3.0
        )
        assert len(warnings(caplog)) == 1
        assert "a rate limit is used up" in warnings(caplog)[0]

    async def test_the_warning_comes_at_most_once_a_minute(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen = list[RunEvent]()
        reporter = ProgressReporter(RunStats(clock, 5), None, None, Sender(clock, "it waits"), Events([seen.append]))
        await self.watch(reporter, clock, 200.0)
        assert 3 <= len(warnings(caplog)) <= 4
        assert [event.reason for event in seen if isinstance(event, RunWaits)] == ["it waits"] * len(warnings(caplog))

    async def test_progress_has_the_reason_until_something_is_sent(self, clock: FakeClock) -> None:
        stats, seen = RunStats(clock, 5), list[str | None]()
        sender = Sender(clock, "it waits")

        def keep(progress: Progress) -> None:
            seen.append(progress.waiting)

        reporter = ProgressReporter(stats, None, keep, sender, Events())
        await self.watch(reporter, clock, 12.0)
        sender.sent = clock.now()
        await self.watch(reporter, clock, 1.0)
        assert seen == [None, "it waits", None]

    async def test_the_progress_file_has_the_reason(self, clock: FakeClock, tmp_path: Path) -> None:
        path = tmp_path / "progress.json"
        reporter = ProgressReporter(RunStats(clock, 5), path, None, Sender(clock, "it waits"), Events())
        reporter._watch()
        await reporter._write(reporter._stats.progress())
        assert json.loads(path.read_text())["waiting"] is None
        clock._now = 11.0
        reporter._watch()
        await reporter._write(reporter._stats.progress())
        assert json.loads(path.read_text())["waiting"] == "it waits"
        await reporter.finish()
        assert json.loads(path.read_text())["waiting"] is None

    async def test_a_run_that_only_waits_for_answers_says_nothing(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        await self.watch(ProgressReporter(RunStats(clock, 5), None, None, Sender(clock, None), Events()), clock, 300.0)
        assert not warnings(caplog)


class Waits:
    """The reasons that a run reports, in order, each once."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, progress: Progress) -> None:
        if progress.waiting is not None and progress.waiting not in self.seen:
            self.seen.append(progress.waiting)


class TestRuns:
    """Whole runs that send nothing for a while."""

    async def run(self, engine: FakeEngine, clock: FakeClock, count: int) -> list[str]:
        """Run rows that are not saved: virtual time would pass while a thread writes."""
        waits = Waits()

        async def source() -> AsyncIterator[Conversation]:
            for conversation in questions(count):
                yield conversation

        async with passing(clock):
            async for _ in engine.ainfer_iter(source(), on_progress=waits):
                pass
        return waits.seen

    @pytest.fixture
    def clock(self, virtual_reports: Callable[[FakeClock], None]) -> QuickClock:
        clock = QuickClock()
        virtual_reports(clock)
        return clock

    async def test_a_long_retry_after_is_reported_with_its_end(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(text: str, attempt: int) -> None:
            if clock.now() < 100.0:
                raise refusal(100.0 - clock.now())

        seen = await self.run(FakeEngine(script, clock=clock, workers=2), clock, 5)
        assert seen
        assert re.search(r"asked to wait; the next request is sent in \d+ s", seen[0])
        assert any("asked to wait" in warning for warning in warnings(caplog))

    async def test_an_outage_is_reported(self, clock: QuickClock) -> None:
        async def script(text: str, attempt: int) -> None:
            await clock.sleep(0.1)
            if 1.0 <= clock.now() < 300.0:
                raise connection_lost()

        seen = await self.run(FakeEngine(script, clock=clock, workers=4), clock, 100)
        assert any("fails every row" in reason for reason in seen)

    async def test_rows_that_all_back_off_are_reported(self, clock: QuickClock) -> None:
        def script(text: str, attempt: int) -> None:
            if attempt == 1:
                raise RequestError(
                    "come later", error_type=connection_lost().error_type, is_retryable=True, retry_after=100.0
                )

        seen = await self.run(FakeEngine(script, clock=clock, workers=4), clock, 2)
        assert any("wait for a retry" in reason for reason in seen)

    async def test_a_run_that_sends_all_the_time_reports_nothing(
        self, clock: QuickClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen = await self.run(FakeEngine(lambda *_: clock.sleep(1.0), clock=clock, workers=2), clock, 60)
        assert not seen
        assert not warnings(caplog)


class HeadersOnce(FakeEngine):
    """Sends limit headers only with its first answer."""

    seen: LimitObservation

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        if self.asked.total() == 1:
            completion.limits = {"requests": self.seen}
        return completion


@pytest.mark.parametrize(
    "seen",
    [
        LimitObservation(10, 0, 60.0),
        LimitObservation(10, 1, 60.0),
        LimitObservation(10, 9, 60.0),
        LimitObservation(1, 0, 300.0),
        LimitObservation(0, 0, 60.0),
        LimitObservation(10, 0, 86_400.0),
        LimitObservation(10, 0, math.inf),
        LimitObservation(10, 0, 0.0),
    ],
    ids=str,
)
async def test_limit_headers_that_came_once_do_not_stop_the_run(seen: LimitObservation) -> None:
    clock = QuickClock()
    engine = HeadersOnce(clock=clock, workers=1)
    engine.seen = seen
    async with passing(clock):
        result = await engine.ainfer_partial(questions(200))
    assert not result.has_failures
    assert clock.now() <= 601.0, "the observation expires"
