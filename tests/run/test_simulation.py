"""Whole runs against servers whose capacity the client does not know, in virtual time.

Every request passes through the executor, the semaphore and the controller. Only the clock and the server are simulated.
`benchmarks/adaptive.py` measures the same with real servers in real time.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import pytest

from asyncinfer import Conversation
from tests.fakes import FakeClock, FakeEngine, question, refusal
from tests.run.clock import QuickClock

LATENCY = 0.05  # seconds that an admitted request takes

Rate = Callable[[float], float]


def steady(rate: float) -> Rate:
    return lambda _: rate


def stepped(before: float, after: float, at: float) -> Rate:
    return lambda now: before if now < at else after


@dataclass
class Bucket:
    """A server that admits `rate(now)` requests a second, and at once what it has saved up of `burst` seconds,
    at least one. Others are refused; with `hints` it says in how many whole seconds to come again.
    """

    clock: FakeClock
    rate: Rate
    seconds: float
    burst: float = 1.0
    hints: bool = False
    admitted: int = 0
    refused: int = 0
    _tokens: float = math.inf
    _at: float = 0.0

    @property
    def capacity(self) -> int:
        """What it could have admitted by the end, the full bucket at the start included."""
        steps = int(self.seconds * 10)
        return int(self._most(0.0) + sum(self.rate(i / 10) / 10 for i in range(steps)))

    def __call__(self, _: str, __: int) -> Awaitable[None]:
        now = self.clock.now()
        rate = self.rate(now)
        self._tokens, self._at = min(self._most(now), self._tokens + rate * (now - self._at)), now
        if self._tokens < 1:
            self.refused += now < self.seconds
            raise refusal(float(max(1, math.ceil((1 - self._tokens) / rate))) if self.hints else None)
        self._tokens -= 1
        self.admitted += now < self.seconds
        return self.clock.sleep(LATENCY)

    def _most(self, now: float) -> float:
        return max(1.0, self.rate(now) * self.burst)


@dataclass
class Queue:
    """A server that refuses nothing and works off `rate` requests a second, one after the other."""

    clock: FakeClock
    rate: float
    seconds: float
    admitted: int = 0
    refused: int = 0
    _free: float = 0.0

    @property
    def capacity(self) -> int:
        return int(self.rate * self.seconds)

    async def __call__(self, _: str, __: int) -> None:
        self._free = max(self._free, self.clock.now()) + 1 / self.rate
        await self.clock.sleep(self._free - self.clock.now())
        self.admitted += self.clock.now() < self.seconds


@dataclass
class Report:
    """How a run went: shares of the server's capacity used and of the requests refused, until its time was up."""

    used: float
    refused: float
    engine: FakeEngine = field(repr=False)


async def simulate(server: Bucket | Queue, workers: int = 256, **remote: object) -> Report:
    """Run so many rows that the server has enough to do, and see that every one is answered."""
    random.seed(0)  # the jitter of the retries
    engine = FakeEngine(server, workers=workers, clock=server.clock, **{"use_adaptive_concurrency": True, **remote})
    rows = server.capacity + 20

    async def source() -> AsyncIterator[Conversation]:
        for i in range(rows):
            yield question(f"{i}", conversation_id=f"q{i}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.clock.run)
        outcomes = {i: outcome async for i, outcome in engine.ainfer_iter(source())}
        tasks.cancel_scope.cancel()
    assert len(outcomes) == rows
    assert all(isinstance(outcome, Conversation) for outcome in outcomes.values()), "a row was lost"
    requests = server.admitted + server.refused
    return Report(server.admitted / server.capacity, server.refused / requests, engine)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


CASES = {
    "steady 100/s": (steady(100), 30),
    "100/s, then 50": (stepped(100, 50, at=30), 60),
    "50/s, then 150": (stepped(50, 150, at=30), 60),
    "10/s": (steady(10), 60),
}


@pytest.mark.slow
@pytest.mark.parametrize("hints", [False, True], ids=["", "Retry-After"])
@pytest.mark.parametrize("case", CASES)
async def test_an_unknown_rate_is_used_and_little_is_refused(case: str, hints: bool, clock: QuickClock) -> None:
    rate, seconds = CASES[case]
    report = await simulate(Bucket(clock, rate, seconds, hints=hints))
    assert report.used >= 0.92
    assert report.refused <= 0.08


@pytest.mark.parametrize(
    "case",
    ["steady 100/s", *(pytest.param(case, marks=pytest.mark.slow) for case in ("100/s, then 50", "50/s, then 150"))],
)
async def test_the_rate_of_a_server_with_a_small_bucket_is_used(case: str, clock: QuickClock) -> None:
    rate, seconds = CASES[case]
    report = await simulate(Bucket(clock, rate, seconds, burst=0.1))
    assert report.used >= 0.92
    assert report.refused <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("case", ["steady 100/s", "100/s, then 50", "50/s, then 150"])
async def test_retry_after_of_a_server_with_a_small_bucket_costs_part_of_its_rate(case: str, clock: QuickClock) -> None:
    """A refusal costs a whole second, of which the server saves up a tenth. Without refusals the rate is not found."""
    rate, seconds = CASES[case]
    report = await simulate(Bucket(clock, rate, seconds, burst=0.1, hints=True))
    assert report.used >= 0.5
    assert report.refused <= 0.03


async def test_ten_a_second_with_a_bucket_of_one_token(clock: QuickClock) -> None:
    """A request that comes a moment too early is refused, and there are few requests to learn from."""
    report = await simulate(Bucket(clock, steady(10), 60, burst=0.1))
    assert report.used >= 0.75
    assert report.refused <= 0.1


async def test_ten_a_second_with_a_bucket_of_one_token_and_retry_after(clock: QuickClock) -> None:
    """Each refusal asks for a wait of a second, the time of ten requests; one request is saved up meanwhile."""
    report = await simulate(Bucket(clock, steady(10), 60, burst=0.1, hints=True))
    assert report.used >= 0.4
    assert report.refused <= 0.06


async def test_slow_answers_do_not_lower_the_rate(clock: QuickClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds an answer: answers say little about the rate at which requests are accepted."""
    monkeypatch.setitem(globals(), "LATENCY", 2.0)
    report = await simulate(Bucket(clock, steady(100), 30))
    assert report.used >= 0.92
    assert report.refused <= 0.08


async def test_a_server_that_queues_is_used_in_full(clock: QuickClock) -> None:
    """Answers that take longer and longer, up to 2.5 s, are no overload."""
    report = await simulate(Queue(clock, rate=100, seconds=30))
    assert report.used >= 0.98
    assert report.refused == 0.0
    assert report.engine._endpoint.permits() == 256
    assert report.engine._endpoint.wait(clock.now()) == 0.0, "there is no pace where nothing was refused"


async def test_a_fixed_concurrency_floods_the_same_server(clock: QuickClock) -> None:
    """What the controller is for."""
    report = await simulate(Bucket(clock, steady(100), 10), use_adaptive_concurrency=False)
    assert report.refused >= 0.5


async def test_a_limit_set_by_the_user_avoids_every_refusal(clock: QuickClock) -> None:
    """600 requests are sent at once each minute, to a server that saves up as many."""
    report = await simulate(Bucket(clock, steady(10), 121, burst=60.0), requests_per_minute=600)
    assert report.refused == 0.0
    assert clock.now() > 120.0


@pytest.mark.slow
async def test_a_server_that_refuses_everything_for_ten_seconds_loses_no_row(clock: QuickClock) -> None:
    """Single requests find out when it accepts again."""

    def paused(now: float) -> float:
        return 0.001 if 20 <= now < 30 else 100.0

    report = await simulate(Bucket(clock, paused, 60))
    assert report.refused <= 0.08
