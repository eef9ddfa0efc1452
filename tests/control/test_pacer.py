"""`Pacer`: its modes, and what leads from one mode to another."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.control.pacer import Mode, Pacer
from asyncinfer.control.pacing.capacity import CapacityEstimate
from asyncinfer.control.pacing.evidence import AttemptCounts
from asyncinfer.control.pacing.noise import Noise as KnownNoise
from asyncinfer.control.pacing.open import OpenMode
from asyncinfer.control.pacing.transitions import StartTrial

Admits = Callable[[float], bool]


def end(pacer: Pacer, now: float, number: int, *, refused: bool) -> None:
    """End an attempt as the controller does."""
    if refused:
        pacer.refused(now, number)
        pacer.sample(now, number, refused=True)
    else:
        pacer.sample(now, number, refused=False)
        pacer.answered(now)


class Client:
    """Sends as soon as a pacer allows it. At most `permits` attempts are in flight, and each takes `latency` seconds."""

    def __init__(self, pacer: Pacer, permits: int = 20, latency: float = 0.02) -> None:
        self.pacer, self.permits, self.latency = pacer, permits, latency
        self.now = 0.0
        self.sent = self.refused = 0
        self._flights: list[tuple[float, int, bool]] = []
        # Results that wait for those of earlier attempts, and the number of the next sample.
        self._outcomes: dict[int, bool] = {}
        self._next = 1

    def run(self, seconds: float, admits: Admits) -> Client:
        """Send for so many seconds. `admits(now)` returns whether the server accepts an attempt."""
        self.sent = self.refused = 0
        until = self.now + seconds
        while self.now < until:
            wait = self.pacer.wait(self.now)
            if wait <= 0 and len(self._flights) < self.permits:
                self._send(admits)
                continue
            arrival = self._flights[0][0] if self._flights else math.inf
            self.now = min(arrival, self.now + wait if wait > 0 else math.inf, until)
            self._receive()
        return self

    def _send(self, admits: Admits) -> None:
        number = self.pacer.started(self.now)
        self.sent += 1
        refused = not admits(self.now)
        after = 0.001 if refused else self.latency
        heapq.heappush(self._flights, (self.now + after, number, refused))

    def _receive(self) -> None:
        while self._flights and self._flights[0][0] <= self.now:
            _, number, refused = heapq.heappop(self._flights)
            self.refused += refused
            self._outcomes[number] = refused
            (self.pacer.refused(self.now, number) if refused else self.pacer.answered(self.now))
            while self._next in self._outcomes:
                self.pacer.sample(self.now, self._next, refused=self._outcomes.pop(self._next))
                self._next += 1


def everything(_: float) -> bool:
    return True


def nothing(_: float) -> bool:
    return False


class Bucket:
    """A server that accepts `rate` attempts a second and saves up a second of them."""

    def __init__(self, rate: float) -> None:
        self._rate, self._tokens, self._at = rate, rate, 0.0

    def __call__(self, now: float) -> bool:
        self._tokens = min(self._rate, self._tokens + self._rate * (now - self._at))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Noise:
    """A server that refuses a share of the attempts at random."""

    def __init__(self, share: float) -> None:
        self._share, self._rng = share, random.Random(1)

    def __call__(self, _: float) -> bool:
        return self._rng.random() >= self._share


@pytest.fixture
def client() -> Client:
    return Client(Pacer())


@pytest.fixture
def paced(client: Client) -> Client:
    """A client that has found out that the server accepts 100 attempts per second."""
    bucket = Bucket(100)
    client.run(10.0, bucket)
    assert client.pacer.mode is Mode.CRUISE
    return client


class TestOpen:
    def test_open_mode_has_no_rate(self, client: Client) -> None:
        client.run(5.0, everything)
        assert client.pacer.mode is Mode.OPEN
        assert client.pacer.rate is None

    def test_ramp_bounds_the_attempts_in_flight(self) -> None:
        pacer = Pacer()
        first = 0
        while pacer.wait(0.0) == 0.0:
            pacer.started(0.0)
            first += 1
        assert 1 <= first <= 10
        assert 0 < pacer.wait(0.0) <= 0.01
        later = 0
        while pacer.wait(0.1) == 0.0:
            pacer.started(0.1)
            later += 1
        assert 10 <= later <= 20

    def test_each_answer_allows_two_more_attempts(self) -> None:
        pacer = Pacer()
        while pacer.wait(0.0) == 0.0:
            pacer.started(0.0)
        pacer.answered(0.0)
        allowed = 0
        while pacer.wait(0.0) == 0.0:
            pacer.started(0.0)
            allowed += 1
        assert allowed == 2

    def test_attempt_that_ends_without_an_answer_allows_another_attempt(self) -> None:
        pacer = Pacer()
        while pacer.wait(0.0) == 0.0:
            pacer.started(0.0)
        pacer.ended()
        assert pacer.wait(0.0) == 0.0

    @pytest.mark.parametrize("share", [0.005, 0.01])
    def test_rare_refusals_set_no_rate(self, client: Client, share: float) -> None:
        every = round(1 / share)
        count = itertools.count(1)
        client.run(10.0, lambda _: next(count) % every != 0)
        assert client.pacer.mode is Mode.OPEN

    def test_many_attempts_at_one_clock_reading_give_a_finite_rate(self) -> None:
        """A coarse clock can show the same time for hundreds of attempts."""
        capacity = CapacityEstimate(noise=KnownNoise(75, 25))
        mode, counts = OpenMode(capacity), AttemptCounts(1.0)
        transition = None
        for i in range(200):
            counts.add(refused=i % 4 == 0)
            transition = mode.sample(1.0, counts, refused=i % 4 == 0)
        assert isinstance(transition, StartTrial)
        assert 0.0 < transition.rate < math.inf


class TestFindingARate:
    @pytest.mark.parametrize("rate", [20, 50, 100, 300])
    def test_the_rate_settles_near_the_capacity_of_the_server(self, client: Client, rate: int) -> None:
        bucket = Bucket(rate)
        client.run(20.0, bucket)
        client.run(10.0, bucket)
        assert client.pacer.mode is Mode.CRUISE
        assert client.pacer.rate == pytest.approx(rate, rel=0.15)
        assert client.sent - client.refused >= 0.9 * 10 * rate
        assert client.refused <= 0.08 * client.sent

    def test_refusals_in_a_row_start_a_trial_below_the_accepted_rate(self, client: Client) -> None:
        client.run(1.0, everything)
        accepted_rate = client.sent / 1.0
        while client.pacer.mode is Mode.OPEN:
            client.run(0.0005, nothing)
            assert client.now < 2.0
        assert client.pacer.mode is Mode.TRIAL
        assert client.pacer.rate is not None
        assert client.pacer.rate <= 1.05 * accepted_rate

    def test_attempts_are_spaced_by_the_rate(self, paced: Client) -> None:
        rate = paced.pacer.rate
        assert rate is not None
        paced.run(0.4, everything)
        assert paced.sent == pytest.approx(0.4 * rate, rel=0.25)

    def test_rate_rises_after_the_capacity_rises(self, paced: Client) -> None:
        bucket = Bucket(200)
        paced.run(20.0, bucket)
        paced.run(10.0, bucket)
        assert paced.sent - paced.refused >= 0.85 * 2000

    def test_rate_falls_after_the_capacity_falls(self, paced: Client) -> None:
        bucket = Bucket(40)
        paced.run(20.0, bucket)
        paced.run(10.0, bucket)
        assert paced.sent - paced.refused >= 0.85 * 400
        assert paced.refused <= 0.1 * paced.sent

    def test_rate_is_removed_if_attempts_never_reach_it(self, paced: Client) -> None:
        """With one attempt at a time, the client sends far below the rate, so the rate cannot be judged."""
        paced.permits, paced.latency = 1, 0.2
        paced.run(20.0, everything)
        assert paced.pacer.mode is Mode.OPEN


class TestNoise:
    @pytest.mark.parametrize("share", [0.06, 0.12, 0.25])
    def test_random_refusals_do_not_slow_the_client_down(self, client: Client, share: float) -> None:
        noise = Noise(share)
        client.run(10.0, noise)
        client.run(10.0, noise)
        assert client.sent >= 0.7 * 10 * client.permits / client.latency * (1 - share)

    def test_share_of_noise_is_measured(self, client: Client) -> None:
        client.run(20.0, Noise(0.25))
        assert client.pacer.noise_share == pytest.approx(0.25, abs=0.1)

    def test_noise_that_ends_is_forgotten(self, client: Client) -> None:
        client.run(20.0, Noise(0.25))
        client.run(20.0, everything)
        assert client.pacer.mode is Mode.OPEN
        assert client.pacer.noise_share <= 0.01

    def test_rate_limit_is_found_in_spite_of_noise(self, client: Client) -> None:
        noise, bucket = Noise(0.1), Bucket(50)

        def admits(now: float) -> bool:
            return noise(now) and bucket(now)

        client.run(30.0, admits)
        client.run(10.0, admits)
        assert client.refused <= 0.3 * client.sent

    def test_rate_limit_is_not_mistaken_for_noise(self, client: Client) -> None:
        bucket = Bucket(100)
        client.run(60.0, bucket)
        assert client.pacer.noise_share <= 0.03
        assert client.pacer.mode is not Mode.OPEN


class TestClosed:
    def test_attempts_become_rare_while_everything_is_refused(self, client: Client) -> None:
        client.run(5.0, nothing)
        assert client.pacer.mode is Mode.CLOSED
        client.run(60.0, nothing)
        assert 3 <= client.sent <= 40
        assert client.pacer.wait(client.now) <= 15.0

    def test_closed_endpoint_gets_an_attempt_at_least_every_fifteen_seconds(self, paced: Client) -> None:
        paced.run(600.0, nothing)
        assert paced.pacer.mode is Mode.CLOSED
        paced.run(150.0, nothing)
        assert paced.sent >= 10

    def test_first_accepted_attempt_opens_a_closed_endpoint(self, paced: Client) -> None:
        paced.run(60.0, nothing)
        bucket = Bucket(100)
        paced.run(30.0, bucket)
        paced.run(10.0, bucket)
        assert paced.pacer.mode is not Mode.CLOSED
        assert paced.sent - paced.refused >= 0.85 * 1000

    def test_answer_lets_an_attempt_start_at_once_while_closed(self, client: Client) -> None:
        """An endpoint that limits the attempts in flight has room for another then."""
        client.run(5.0, nothing)
        pacer = client.pacer
        assert pacer.mode is Mode.CLOSED
        assert pacer.wait(client.now) > 0.0
        pacer.answered(client.now)
        assert pacer.wait(client.now) == 0.0

    def test_attempt_accepted_at_the_time_of_closing_opens_the_endpoint(self) -> None:
        """With a coarse clock, both responses arrive at the same time."""
        pacer, now = Pacer(), 1.0
        for _ in range(20):
            pacer.wait(now)
            number = pacer.started(now)
            end(pacer, now, number, refused=True)
        assert pacer.mode is Mode.CLOSED
        end(pacer, now, pacer.started(now), refused=False)
        assert pacer.mode is Mode.OPEN, "nothing was accepted before, so no rate is known"
        assert pacer.wait(now) == 0.0


class TestRequestedWait:
    def test_nothing_starts_before_the_end_of_a_requested_wait(self, paced: Client) -> None:
        now = paced.now
        paced.pacer.delay_until(now, now + 10.0)
        assert paced.pacer.wait(now) == pytest.approx(10.0, abs=0.05)
        assert paced.pacer.wait(now + 10.0) == 0.0

    def test_a_shorter_requested_wait_does_not_end_a_longer_one(self, paced: Client) -> None:
        now = paced.now
        paced.pacer.delay_until(now, now + 10.0)
        paced.pacer.delay_until(now, now + 1.0)
        assert paced.pacer.wait(now) == pytest.approx(10.0, abs=0.05)

    def test_rate_after_a_requested_wait_is_close_to_the_rate_before(self, paced: Client) -> None:
        """A bucket that saves up a second loses nothing in a wait of a second."""
        before, now = paced.pacer.rate, paced.now
        assert before is not None
        paced.pacer.delay_until(now, now + 1.0)
        assert paced.pacer.mode is Mode.CRUISE
        assert paced.pacer.rate == pytest.approx(before, rel=0.3)

    def test_waits_requested_from_attempts_in_flight_together_count_once(self, paced: Client) -> None:
        now = paced.now
        paced.pacer.delay_until(now, now + 1.0)
        rate = paced.pacer.rate
        for i in range(20):
            paced.pacer.delay_until(now + i / 1000, now + 1.0 + i / 1000)
        assert paced.pacer.rate == rate

    def test_rate_can_be_confirmed_more_than_a_thousand_times(self) -> None:
        """An endpoint that asks to wait after each attempt, at the same rate all the time."""
        pacer, now = Pacer(), 0.0
        for _ in range(1200):
            now += pacer.wait(now)
            number = pacer.started(now)
            now += 0.01
            end(pacer, now, number, refused=True)
            pacer.delay_until(now, now + 60.0)
        assert pacer.wait(now) == pytest.approx(60.0, abs=0.05)


class TestReset:
    def test_reset_forgets_rate_and_noise(self, paced: Client) -> None:
        paced.pacer.reset(paced.now)
        assert (paced.pacer.mode, paced.pacer.rate, paced.pacer.noise_share) == (Mode.OPEN, None, 0.0)


@given(replies=st.lists(st.tuples(st.floats(0, 20), st.booleans(), st.sampled_from([0.0, 0.5, 30.0])), max_size=200))
def test_no_sequence_of_replies_stops_the_pacer_for_long(replies: list[tuple[float, bool, float]]) -> None:
    pacer, now = Pacer(), 0.0
    for pause, refused, requested in replies:
        wait = pacer.wait(now)
        assert 0.0 <= wait <= 30.0 + 15.0
        now += wait
        number = pacer.started(now)
        now += pause
        end(pacer, now, number, refused=refused)
        if refused and requested:
            pacer.delay_until(now, now + requested)
        assert pacer.rate is None or pacer.rate > 0.0


@given(pauses=st.lists(st.floats(0, 0.02), min_size=50, max_size=300))
def test_late_attempts_are_not_followed_by_a_burst(pauses: list[float]) -> None:
    """No half second has more attempts than the rate allows, however irregular the calls are."""
    pacer, now, starts = Pacer(mode=Mode.CRUISE, rate=100.0), 0.0, list[float]()
    for pause in pauses:
        now += max(pause, pacer.wait(now))
        pacer.started(now)
        starts.append(now)
    for i, start in enumerate(starts):
        within = [at for at in starts[i:] if at < start + 0.5]
        assert len(within) <= 50 + 2
