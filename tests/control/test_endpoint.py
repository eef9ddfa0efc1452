"""`Endpoint`: how answers, refusals and failures change permits and pace."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncinfer import InferenceErrorType, RemoteParams, RequestError, Usage
from asyncinfer.control.aimd import Phase
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import Demand
from asyncinfer.types.limits import LimitObservation
from tests.control.errors import connection_lost, fault, quota
from tests.fakes import refusal, rejection, timeout


@pytest.fixture
def endpoint() -> Endpoint:
    """An adaptive endpoint with 101 workers. It starts with 51 permits and adds 12 at a time."""
    return Endpoint(101, RemoteParams(num_workers=101))


def answer(endpoint: Endpoint, count: int, now: float) -> None:
    for _ in range(count):
        endpoint.answered(endpoint.begin(now), now, Usage())


def fail(endpoint: Endpoint, error: RequestError | None, count: int, now: float, in_flight: int = 9) -> None:
    for _ in range(count):
        endpoint.failed(endpoint.begin(now), now, error, in_flight=in_flight, row=0)


class TestPermits:
    @pytest.mark.parametrize("remote", [None, RemoteParams(num_workers=7, use_adaptive_concurrency=False)])
    def test_permits_are_fixed_without_adaptive_concurrency(self, remote: RemoteParams | None) -> None:
        endpoint = Endpoint(7, remote)
        fail(endpoint, refusal(), 100, 0.0)
        fail(endpoint, refusal(), 100, 5.0)
        endpoint.update(10.0)
        assert endpoint.permits() == 7
        assert endpoint.wait(10.0) == 0.0, "there is no pace either"
        assert endpoint.rate is None

    def test_permits_grow_while_attempts_are_answered(self, endpoint: Endpoint) -> None:
        answer(endpoint, 10, 0.0)
        answer(endpoint, 10, 1.0)
        assert endpoint.permits() == 51 + 12

    def test_permits_grow_while_attempts_are_pending_without_a_refusal(self, endpoint: Endpoint) -> None:
        now = 0.0
        for _ in range(51):
            endpoint.begin(now)
        while (after := endpoint.next_update(now)) < math.inf:
            now += after
            endpoint.update(now)
        assert endpoint.permits() == 101
        assert now < 2.0

    @pytest.mark.parametrize("error", [rejection(), fault(500), fault(404)])
    def test_permits_do_not_shrink_for_errors_that_say_nothing_about_load(
        self, endpoint: Endpoint, error: RequestError
    ) -> None:
        fail(endpoint, error, 100, 0.0)
        fail(endpoint, error, 100, 2.0)
        assert endpoint.permits() >= 51
        assert endpoint.rate is None

    def test_permits_shrink_for_timeouts_under_load(self, endpoint: Endpoint) -> None:
        fail(endpoint, timeout(), 10, 0.0)
        fail(endpoint, timeout(), 1, 1.0)
        assert endpoint.permits() == 40

    def test_permits_do_not_shrink_for_the_timeout_of_a_single_attempt(self, endpoint: Endpoint) -> None:
        fail(endpoint, timeout(), 20, 0.0, in_flight=1)
        fail(endpoint, timeout(), 20, 2.0, in_flight=1)
        assert endpoint.permits() == 51

    def test_permits_do_not_shrink_for_cancelled_attempts(self, endpoint: Endpoint) -> None:
        fail(endpoint, None, 20, 0.0)
        fail(endpoint, None, 20, 2.0)
        assert endpoint.permits() == 51


class TestRefusals:
    def test_many_refusals_set_a_pace(self, endpoint: Endpoint) -> None:
        for i in range(200):
            answer(endpoint, 1, i / 100)
        fail(endpoint, refusal(), 10, 2.0)
        assert endpoint.rate is not None
        assert 0 < endpoint.rate <= 110
        assert 0 < endpoint.wait(2.0) < 1.0

    def test_one_refusal_sets_no_pace(self, endpoint: Endpoint) -> None:
        answer(endpoint, 200, 1.0)
        fail(endpoint, refusal(), 1, 2.0)
        assert endpoint.rate is None

    @pytest.mark.parametrize("adaptive", [True, False])
    def test_retry_after_delays_every_row(self, adaptive: bool) -> None:
        endpoint = Endpoint(4, RemoteParams(num_workers=4, use_adaptive_concurrency=adaptive))
        first, second = endpoint.begin(10.0), endpoint.begin(10.0)
        endpoint.failed(first, 10.0, refusal(30.0), in_flight=2, row=0)
        assert endpoint.wait(10.0) == pytest.approx(30.0, abs=0.01)
        endpoint.failed(second, 11.0, refusal(5.0), in_flight=1, row=1)
        assert endpoint.wait(20.0) == pytest.approx(20.0, abs=0.2), "a shorter wait does not end a longer one"
        assert endpoint.wait(40.2) == 0.0

    def test_refusal_without_a_wait_does_not_end_an_earlier_wait(self) -> None:
        endpoint = Endpoint(limit=4)
        first, second = endpoint.begin(9.0), endpoint.begin(9.0)
        endpoint.failed(first, 10.0, refusal(5.0), in_flight=2)
        endpoint.failed(second, 11.0, refusal(None), in_flight=1)
        assert endpoint.wait(12.0) == 3.0
        assert endpoint.wait(15.0) == 0.0
        endpoint.answered(endpoint.begin(15.0), 16.0, None)
        assert endpoint.answers == 1

    @pytest.mark.parametrize("adaptive", [True, False])
    @pytest.mark.parametrize("seconds", [901.0, 86_400.0, 1e9])
    def test_wait_longer_than_max_wait_is_ignored(self, adaptive: bool, seconds: float) -> None:
        endpoint = Endpoint(4, RemoteParams(num_workers=4, use_adaptive_concurrency=adaptive))
        fail(endpoint, refusal(seconds), 1, 10.0)
        fail(endpoint, quota(seconds), 1, 10.0)
        assert endpoint.wait(10.0) <= 15.0


class TestOutages:
    def test_attempts_are_spaced_out_while_every_row_fails(self, endpoint: Endpoint) -> None:
        answer(endpoint, 10, 0.0)
        for row in range(30):
            endpoint.failed(endpoint.begin(1.0), 1.0, connection_lost(), in_flight=4, row=row)
        assert endpoint.wait(1.0) > 0.0
        answer(endpoint, 1, 5.0)
        assert endpoint.wait(5.0) == 0.0

    def test_outage_does_not_change_permits_and_pace(self, endpoint: Endpoint) -> None:
        answer(endpoint, 10, 0.0)
        permits = endpoint.permits()
        for row in range(100):
            endpoint.failed(endpoint.begin(1.0), 1.0, connection_lost(), in_flight=4, row=row)
        assert endpoint.permits() == permits
        assert endpoint.rate is None


class TestStandstill:
    def test_no_standstill_while_the_endpoint_accepts_attempts(self, endpoint: Endpoint) -> None:
        assert endpoint.standstill(0.0) is None

    def test_standstill_names_the_requested_wait_and_its_seconds(self, endpoint: Endpoint) -> None:
        fail(endpoint, refusal(30.0), 1, 10.0)
        stop = endpoint.standstill(15.0)
        assert stop is not None
        assert stop.seconds == pytest.approx(25.0, abs=0.1)
        assert "asked to wait" in stop.reason

    def test_standstill_names_an_outage(self, endpoint: Endpoint) -> None:
        for row in range(100):
            endpoint.failed(endpoint.begin(1.0), 1.0, connection_lost(), in_flight=4, row=row)
        stop = endpoint.standstill(1.0)
        assert stop is not None
        assert "fails every row" in stop.reason

    def test_standstill_until_an_answer_is_infinite(self) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, output_tokens_per_minute=100))
        endpoint.begin(0.0, Demand(1, 10, 90))
        stop = endpoint.standstill(0.0, Demand(1, 10, 90))
        assert stop is not None
        assert stop.seconds == math.inf
        assert "rate limit" in stop.reason

    def test_standstill_names_a_closed_endpoint(self, endpoint: Endpoint) -> None:
        for i in range(200):
            fail(endpoint, refusal(), 1, i / 10)
        stop = endpoint.standstill(20.0)
        assert stop is not None
        assert "refuses every request" in stop.reason

    def test_standstill_names_the_rate_while_the_endpoint_accepts_some_attempts(self, endpoint: Endpoint) -> None:
        for i in range(200):
            answer(endpoint, 1, i / 100)
        fail(endpoint, refusal(), 10, 2.0)
        stop = endpoint.standstill(2.0)
        assert stop is not None
        assert stop.reason == "requests are sent at a lower rate"


class TestRateLimits:
    def test_reserved_tokens_delay_attempts_until_the_usage_is_known(self) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, output_tokens_per_minute=100))
        assert endpoint.counts_tokens
        first = endpoint.begin(0.0, Demand(1, 10, 90))
        assert endpoint.wait(0.0, Demand(1, 10, 90)) == math.inf
        endpoint.answered(first, 1.0, Usage(10, 5, 15))
        assert endpoint.wait(1.0, Demand(1, 10, 90)) == 0.0

    def test_a_refused_attempt_uses_no_tokens(self) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, input_tokens_per_minute=100, use_adaptive_concurrency=False))
        endpoint.failed(endpoint.begin(0.0, Demand(1, 90, 0)), 1.0, refusal(), in_flight=1)
        assert endpoint.wait(1.0, Demand(1, 100, 0)) == 0.0

    @pytest.mark.parametrize("error", [fault(500), timeout(), None], ids=["500", "timeout", "cancelled"])
    def test_an_attempt_of_unknown_usage_keeps_its_reservation(self, error: RequestError | None) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, input_tokens_per_minute=100))
        endpoint.failed(endpoint.begin(0.0, Demand(1, 90, 0)), 1.0, error, in_flight=1)
        assert endpoint.wait(1.0, Demand(1, 10, 0)) == 0.0
        assert endpoint.wait(1.0, Demand(1, 11, 0)) == 60.0

    def test_limits_are_observed_in_responses(self, endpoint: Endpoint) -> None:
        assert not endpoint.counts_tokens
        endpoint.observe_limits(endpoint.begin(0.0), {"tokens": LimitObservation(6000, 0, 60.0)}, 0.0)
        assert endpoint.counts_tokens
        assert endpoint.wait(0.0, Demand(1, 100, 100)) == pytest.approx(2.0)

    def test_a_limit_that_was_observed_once_expires(self, endpoint: Endpoint) -> None:
        endpoint.observe_limits(endpoint.begin(0.0), {"requests": LimitObservation(10, 0, 60.0)}, 0.0)
        assert 0.0 < endpoint.wait(0.0) < 60.0
        assert endpoint.wait(120.0) == 0.0


class TestDecisions:
    def test_every_decision_is_recorded_with_its_reason(self, endpoint: Endpoint) -> None:
        answer(endpoint, 100, 0.0)
        answer(endpoint, 100, 1.0)
        fail(endpoint, refusal(2.0), 1, 1.5)
        assert [decision.why for decision in endpoint.decisions.entries] == [
            "warmup: 51 permits before",
            "the endpoint asked to wait 2 s",
        ]
        assert [decision.permits for decision in endpoint.decisions.entries] == [63, 63]
        assert endpoint.decisions.entries[0].rate is None
        assert endpoint.decisions.entries[-1].at == 1.5

    def test_number_of_kept_decisions_is_bounded(self, endpoint: Endpoint) -> None:
        for i in range(20_000):
            endpoint.failed(endpoint.begin(float(i)), float(i), refusal(0.5), in_flight=2)
        assert len(endpoint.decisions.entries) <= 10_000


ERRORS = {
    "refused": refusal(),
    "refused for a second": refusal(1.0),
    "refused for ten minutes": refusal(600.0),
    "refused forever": refusal(1e9),
    "quota": quota(),
    "timeout": timeout(),
    "500": fault(500),
    "400": fault(400),
    "connection": connection_lost(),
    "cancelled": None,
}


class EndpointMachine(RuleBasedStateMachine):
    """There is always a permit, and every wait is bounded, whatever the endpoint does."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = Endpoint(8, RemoteParams(num_workers=8))
        self.now = 0.0
        self.flights: list[Permit] = []

    def start(self) -> Permit:
        permit = self.endpoint.begin(self.now)
        self.flights.append(permit)
        return permit

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 2.0, 30.0, 1000.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.endpoint.update(self.now)

    @rule(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.endpoint.update(self.now)
            if len(self.flights) < self.endpoint.permits() and not self.endpoint.wait(self.now):
                self.start()

    @precondition(lambda self: self.flights)
    @rule(count=st.integers(1, 8), tokens=st.sampled_from([0, 10, -1, 10**309]))
    def answer(self, count: int, tokens: int) -> None:
        for permit in self.flights[:count]:
            self.flights.remove(permit)
            self.endpoint.answered(permit, self.now, Usage(tokens, tokens, tokens))

    @precondition(lambda self: self.flights)
    @rule(count=st.integers(1, 8), error=st.sampled_from(sorted(ERRORS)))
    def fail(self, count: int, error: str) -> None:
        for row, permit in enumerate(self.flights[:count]):
            in_flight = len(self.flights)
            self.flights.remove(permit)
            self.endpoint.failed(permit, self.now, ERRORS[error], in_flight=in_flight, row=row)

    @precondition(lambda self: self.flights)
    @rule(limit=st.integers(0, 100), left=st.integers(0, 100), reset=st.sampled_from([0.0, 1.0, 60.0, 300.0, 1e6]))
    def observe(self, limit: int, left: int, reset: float) -> None:
        self.endpoint.observe_limits(self.flights[0], {"requests": LimitObservation(limit, left, reset)}, self.now)

    @invariant()
    def there_is_a_permit(self) -> None:
        assert 1 <= self.endpoint.permits() <= 8

    @invariant()
    def every_wait_is_bounded(self) -> None:
        assert 0.0 <= self.endpoint.wait(self.now) <= 900.0

    def teardown(self) -> None:
        """From now on the endpoint answers everything. 100 attempts take a bounded time."""
        for permit in self.flights:
            self.endpoint.failed(permit, self.now, None, in_flight=1)
        began = self.now
        for _ in range(100):
            self.endpoint.update(self.now)
            self.now += self.endpoint.wait(self.now) + 0.001
            permit = self.endpoint.begin(self.now)
            self.now += 0.1
            self.endpoint.answered(permit, self.now, Usage(1, 1, 2))
        assert self.now - began <= 900.0 + 100 * 16.0


TestEndpointWithAnySequence = EndpointMachine.TestCase


def test_phases_are_warmup_backoff_and_recovery() -> None:
    assert {phase.name for phase in Phase} == {"WARMUP", "BACKOFF", "RECOVERY"}


def test_an_unexpected_status_counts_as_accepted(endpoint: Endpoint) -> None:
    """The endpoint took the request. The status does not show how many requests it accepts."""
    error = RequestError("teapot", error_type=InferenceErrorType.API_STATUS, status_code=418)
    fail(endpoint, error, 200, 1.0)
    assert endpoint.rate is None
