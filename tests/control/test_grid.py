"""How well the controller follows servers of many kinds: which share of the capacity is used, and how much is refused.

Each case is a job in virtual time, including the start, against a server whose capacity the client does not know. No
row may be lost, and every job ends. `benchmarks/adaptive.py` measures the same with real servers in real time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.control.simulation import (
    FixedWindow,
    InFlight,
    JobResult,
    Noise,
    Outage,
    Reply,
    Server,
    TokenBucket,
    broken,
    refused,
    simulate,
    steady,
    steps,
)


@dataclass(frozen=True)
class Case:
    """A server, the length of the job in seconds, and the result that is required: at least `used`, at most `refused`."""

    server: Callable[[], Server]
    seconds: float = 30.0
    used: float = 0.95
    refused: float = 0.04
    workers: int = 256
    rows: int | None = None
    sizes: Callable[[], int] = lambda: 1

    def run(self, seed: int) -> JobResult:
        return simulate(self.server(), self.seconds, seed=seed, workers=self.workers, rows=self.rows, sizes=self.sizes)


def tokens() -> int:
    """The number of tokens in a request."""
    return random.choice([50, 100, 200, 400, 800])


# Cases of the default suite.
CASES = {
    "73 a second": Case(lambda: TokenBucket(steady(73))),
    "100 a second, little saved up": Case(lambda: TokenBucket(steady(100), burst=0.1), refused=0.05),
    "120, then 45 a second": Case(lambda: TokenBucket(steps((30, 120), (30, 45))), 60, refused=0.05),
    "40, then 160 a second": Case(lambda: TokenBucket(steps((30, 40), (30, 160))), 60, 0.93),
    "50 a second with Retry-After": Case(lambda: TokenBucket(steady(50), hint=True)),
    "2 a second": Case(lambda: TokenBucket(steady(2)), 60, refused=0.21),
    "40 in flight": Case(lambda: InFlight(40)),
    "3 in flight": Case(lambda: InFlight(3)),
    "1 in flight": Case(lambda: InFlight(1), refused=0.07),
    "60 a minute": Case(lambda: FixedWindow(60), 240, refused=0.12),
    "60 a minute with Retry-After": Case(lambda: FixedWindow(60, hint=True), 240),
    "nothing for a minute": Case(lambda: TokenBucket(steps((30, 100), (60, 0.0), (30, 100))), 120, refused=0.08),
}

# More servers of the same kinds, for the slow suite.
MORE_CASES = {
    "30 a second": Case(lambda: TokenBucket(steady(30)), refused=0.1),
    "300 a second": Case(lambda: TokenBucket(steady(300)), used=0.9, refused=0.08),
    "10 a second": Case(lambda: TokenBucket(steady(10)), 60, refused=0.08),
    "10 a second with Retry-After": Case(lambda: TokenBucket(steady(10), hint=True), 60),
    "100 a second, 50 ms away": Case(lambda: TokenBucket(steady(100), round_trip=0.05), refused=0.1),
    "100 a second, 2 s an answer": Case(lambda: TokenBucket(steady(100), latency=2.0), refused=0.06),
    "100, then 50 a second, little saved up": Case(
        lambda: TokenBucket(steps((30, 100), (30, 50)), burst=0.1), 60, refused=0.05
    ),
    "50, then 150 a second, little saved up": Case(
        lambda: TokenBucket(steps((30, 50), (30, 150)), burst=0.1), 60, 0.85
    ),
    "50, then 150 a second with Retry-After": Case(lambda: TokenBucket(steps((30, 50), (30, 150)), hint=True), 60),
    "100, then 50 a second with Retry-After": Case(lambda: TokenBucket(steps((30, 100), (30, 50)), hint=True), 60),
    # Each refusal costs a second, but such a server saves up only a tenth of a second.
    "100 a second, little saved up, with Retry-After": Case(
        lambda: TokenBucket(steady(100), burst=0.1, hint=True), used=0.6
    ),
    "10 a second, one saved up": Case(lambda: TokenBucket(steady(10), burst=0.1), 60, 0.78, 0.12),
    "10 a second, one saved up, with Retry-After": Case(
        lambda: TokenBucket(steady(10), burst=0.1, hint=True), 60, 0.34, 0.06
    ),
    "20,000 tokens a second": Case(
        lambda: TokenBucket(steady(20_000), by_size=True), rows=3000, sizes=tokens, used=0.7, refused=0.2
    ),
    "40 in flight, answers of any length": Case(lambda: InFlight(40, spread=0.8), used=0.87),
    "1 in flight, 50 ms an answer": Case(lambda: InFlight(1, latency=0.05)),
    "200 in flight, 30 s an answer": Case(lambda: InFlight(200, latency=30), 150, refused=0.06, workers=500),
    "500 in flight, 30 s an answer": Case(lambda: InFlight(500, latency=30), 150, refused=0.0, workers=500),
    "60 a minute, begun in the middle": Case(lambda: FixedWindow(60, offset=35), 240, 0.89, 0.18),
    "10 a minute": Case(lambda: FixedWindow(10), 240, 0.9, 0.45),
    "10 a minute with Retry-After": Case(lambda: FixedWindow(10, hint=True), 240, 0.88, 0.08),
    "600 a minute": Case(lambda: FixedWindow(600), 240, refused=0.05),
}


def check(case: Case, seed: int) -> None:
    result = case.run(seed)
    assert result.lost == 0
    assert result.used >= case.used
    assert result.refused <= case.refused


@pytest.mark.parametrize("name", CASES)
def test_capacity_is_used_and_little_is_refused(name: str) -> None:
    check(CASES[name], seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", CASES | MORE_CASES)
def test_capacity_is_used_and_little_is_refused_for_any_seed(name: str, seed: int) -> None:
    check((CASES | MORE_CASES)[name], seed)


def noisy(server: Callable[[], Server], seed: int, *, adaptive: bool) -> JobResult:
    result = simulate(server(), 20, workers=100, seed=seed, adaptive=adaptive, limit=4000.0)
    assert result.lost == 0
    return result


def check_noise(server: Callable[[], Server], seed: int, least: float) -> None:
    adaptive, fixed = noisy(server, seed, adaptive=True), noisy(server, seed, adaptive=False)
    assert adaptive.answered >= least * fixed.answered


@pytest.mark.parametrize("seconds", [1, 10, 30])
def test_server_that_refuses_everything_while_it_loads_is_used_soon_afterwards(seconds: int) -> None:
    loading = Outage(Noise(0, latency=0.5, limit=16), 0, seconds, refused(0.01, None, 503))
    result = simulate(loading, 600, workers=16, rows=2000, limit=1000.0)
    assert result.lost == 0
    assert result.ended <= seconds + 16 + 1.1 * 2000 * 0.5 / 16


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_full_speed_returns_after_half_a_minute_of_many_refusals(share: float) -> None:
    """60 to 80% of the requests are refused from second 30 until second 60, and none before and after."""

    class Spell(Outage):
        def request(self, now: float, size: int) -> Reply:
            is_bad = self.begin <= now < self.end and random.random() < share
            return self.down if is_bad else self.server.request(now, size)

    spell = Spell(Noise(0), 30, 60, refused(0.01, None, 503))
    result = simulate(spell, 120, workers=100, rows=100_000, seed=3, limit=1000.0)
    assert result.lost == 0
    assert result.ended <= 240.0, "at full speed it takes 130 s"


@pytest.mark.parametrize("seed", range(3))
def test_random_refusals_at_a_few_requests_per_second_cost_little_of_a_fixed_concurrency(seed: int) -> None:
    def server() -> Noise:
        return Noise(0.1, latency=2.0, limit=16, round_trip=0.02)

    adaptive, fixed = (simulate(server(), 300, workers=16, seed=seed, adaptive=adaptive) for adaptive in (True, False))
    assert adaptive.answered >= 0.8 * fixed.answered


# Seconds that a refusal takes: as long as an answer, or nearly none.
ROUND_TRIPS = {"slow": None, "fast": 0.002}


@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
@pytest.mark.parametrize("share", [0.01, 0.06, 0.25])
def test_random_refusals_cost_little_of_a_fixed_concurrency(share: float, round_trip: str) -> None:
    check_noise(lambda: Noise(share, round_trip=ROUND_TRIPS[round_trip]), seed=0, least=0.8)


def test_one_backend_of_four_that_refuses_everything_costs_little_of_a_fixed_concurrency() -> None:
    check_noise(lambda: Noise(0.25, round_trip=0.002, in_turn=True), seed=0, least=0.8)


@pytest.mark.slow
@pytest.mark.parametrize("round_trip", ROUND_TRIPS)
@pytest.mark.parametrize("share", [0.01, 0.03, 0.06, 0.12, 0.25])
def test_random_refusals_cost_little_for_nearly_any_seed(share: float, round_trip: str) -> None:
    def answered(seed: int, *, adaptive: bool) -> int:
        return noisy(lambda: Noise(share, round_trip=ROUND_TRIPS[round_trip]), seed, adaptive=adaptive).answered

    shares = sorted(answered(seed, adaptive=True) / answered(seed, adaptive=False) for seed in range(10))
    assert shares[0] >= 0.5
    assert shares[1] >= 0.8


@pytest.mark.parametrize("share", [0.06, 0.25])
def test_random_refusals_with_retry_after_cost_at_most_half_of_a_fixed_concurrency(share: float) -> None:
    """Each of them stops all rows for a second, until the controller recognises them as noise."""
    check_noise(lambda: Noise(share, hint=1.0), seed=0, least=0.4)


@pytest.mark.parametrize("share", [0.06, 0.25])
def test_random_failures_cost_little_of_a_fixed_concurrency(share: float) -> None:
    check_noise(lambda: Noise(share, status=500), seed=0, least=0.9)


@pytest.mark.parametrize("share", [0.06, 0.25])
def test_random_failures_and_a_limit_on_attempts_in_flight_lose_no_row(share: float) -> None:
    """Status 500 is not a refusal, so these failures do not hide the limit."""
    result = simulate(Noise(share, status=500, limit=40), 20, workers=40, seed=0)
    assert result.lost == 0


DOWN = {"500": broken(0.001, 500), "connection": broken(0.001, None), "503": refused(0.001, None, 503)}


@pytest.mark.parametrize("name", DOWN)
def test_an_outage_of_a_minute_loses_no_row(name: str) -> None:
    """Of 20,000 rows, hundreds are in flight or wait for a retry while nothing is answered."""
    result = simulate(Outage(Noise(0), 5, 65, DOWN[name]), 90, rows=20_000, workers=100)
    assert result.lost == 0
    assert result.ended < 120.0, "the run continues at full speed"


@pytest.mark.slow
@pytest.mark.parametrize("name", DOWN)
@pytest.mark.parametrize("seconds", [3, 20, 200, 600])
def test_outages_of_any_length_lose_no_row(name: str, seconds: int) -> None:
    result = simulate(Outage(Noise(0), 5, 5 + seconds, DOWN[name]), 90, rows=20_000, workers=100, limit=2000.0)
    assert result.lost == 0
    assert result.ended < 5 + seconds + 60.0


def test_hundred_rows_all_start_before_the_first_answer() -> None:
    """An answer takes 5 s. If half of the rows started after the first answers, the job would take 10 s."""
    result = simulate(InFlight(100, latency=5, spread=0), 7, workers=100, rows=100)
    assert result.lost == 0
    assert result.ended <= 7.0


def test_fixed_concurrency_floods_a_server_with_a_rate_limit() -> None:
    """Without the controller, at least half of the requests are refused."""
    result = simulate(TokenBucket(steady(100)), 10, adaptive=False)
    assert result.refused >= 0.5


def test_the_simulation_is_deterministic() -> None:
    case = CASES["73 a second"]
    assert case.run(3) == case.run(3)


class RequestedWait(Outage):
    """Requests a wait until the end of the outage."""

    def request(self, now: float, size: int) -> Reply:
        if self.begin <= now < self.end:
            return refused(0.001, self.end - now)
        return self.server.request(now, size)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0, 20], ids=["at the start", "later"])
@pytest.mark.parametrize("seconds", [5, 30, 60])
def test_requested_wait_costs_little_more_than_its_length(begin: int, seconds: int) -> None:
    """60,000 rows take a minute; a wait before the first answer says nothing about the rate."""
    server = RequestedWait(Noise(0), begin, begin + seconds, refused())
    result = simulate(server, 60 + seconds, workers=100, rows=60_000)
    assert result.lost == 0
    assert result.ended <= 1.2 * (60 + seconds)
