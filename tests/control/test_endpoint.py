"""What an endpoint's answers and refusals do to permits and pace; what speaks for it and what does not."""

from __future__ import annotations

import pytest

from asyncinfer import InferenceErrorType, RemoteParams, RequestError, Usage
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.rate_limit import Cost, Observation
from tests.fakes import refusal, rejection, timeout


def fault(status: int) -> RequestError:
    return RequestError(
        "broke", error_type=InferenceErrorType.API_STATUS, status_code=status, is_retryable=status >= 500
    )


@pytest.fixture
def endpoint() -> Endpoint:
    """An adaptive one of 101 workers: it begins with 51 permits, and adds or cuts in windows of a second."""
    return Endpoint(101, RemoteParams(num_workers=101))


def answer(endpoint: Endpoint, count: int, now: float) -> None:
    for _ in range(count):
        endpoint.answered(endpoint.begin(now), now, Usage())


def fail(endpoint: Endpoint, error: RequestError | None, count: int, now: float, in_flight: int = 9) -> None:
    for _ in range(count):
        endpoint.failed(endpoint.begin(now), now, error, in_flight=in_flight)


class TestPermits:
    def test_are_fixed_without_adaptive_concurrency(self) -> None:
        for endpoint in (Endpoint(7), Endpoint(7, RemoteParams(num_workers=7, use_adaptive_concurrency=False))):
            fail(endpoint, refusal(), 100, 0.0)
            fail(endpoint, refusal(), 100, 5.0)
            assert endpoint.permits() == 7
            assert endpoint.wait(5.0) == 0.0, "nor is there a pace"

    def test_grow_while_all_is_well(self, endpoint: Endpoint) -> None:
        answer(endpoint, 10, 0.0)
        answer(endpoint, 10, 1.0)
        assert endpoint.permits() == 51 + 12

    @pytest.mark.parametrize("error", [rejection(), fault(500), fault(404)])
    def test_are_not_for_one_rows_failure_to_shrink(self, endpoint: Endpoint, error: RequestError) -> None:
        fail(endpoint, error, 100, 0.0)
        fail(endpoint, error, 100, 2.0)
        assert endpoint.permits() == 51
        assert endpoint.refusals == 0
        assert not endpoint.trace

    def test_shrink_for_timeouts_under_load(self, endpoint: Endpoint) -> None:
        fail(endpoint, timeout(), 10, 0.0)
        fail(endpoint, timeout(), 1, 1.0)
        assert endpoint.permits() == 40

    def test_do_not_shrink_for_the_timeout_of_an_attempt_that_was_alone(self, endpoint: Endpoint) -> None:
        fail(endpoint, timeout(), 20, 0.0, in_flight=1)
        fail(endpoint, timeout(), 20, 2.0, in_flight=1)
        assert endpoint.permits() == 51

    def test_do_not_shrink_for_attempts_that_were_given_up(self, endpoint: Endpoint) -> None:
        fail(endpoint, None, 20, 0.0)
        fail(endpoint, None, 20, 2.0)
        assert endpoint.permits() == 51

    def test_shrink_for_refusals_by_an_endpoint_that_takes_less_than_it_did(self, endpoint: Endpoint) -> None:
        """Refused before the pace was back at what had been delivered: no probe of its own is to blame."""
        fail(endpoint, refusal(), 1, 0.0)
        for i in range(10):
            fail(endpoint, refusal(), 1, 0.2 * (i + 1))
        assert endpoint.permits() == 40


class TestRefusals:
    def test_that_the_pace_provoked_stay_out_of_the_window(self, endpoint: Endpoint) -> None:
        """A hundred under way when the first of them was refused: one cut of the pace, one refusal in the window."""
        answer(endpoint, 150, 0.0)
        under_way = [endpoint.begin(0.5) for _ in range(100)]
        for attempt in under_way:
            endpoint.failed(attempt, 1.0, refusal(), in_flight=100)
        assert endpoint.refusals == 100
        assert [decision.why for decision in endpoint.trace].count("refused") == 1
        assert endpoint.permits() == 63, "one in 151 is less than 1%"

    def test_set_a_pace(self, endpoint: Endpoint) -> None:
        for i in range(200):
            answer(endpoint, 1, i / 100)
        fail(endpoint, refusal(), 1, 2.0)
        assert 0 < endpoint.wait(2.0) < 0.05
        rate = endpoint.trace[-1].rate
        assert rate == pytest.approx(95, rel=0.05)

    @pytest.mark.parametrize("adaptive", [True, False])
    def test_with_a_retry_after_hold_every_row(self, adaptive: bool) -> None:
        endpoint = Endpoint(4, RemoteParams(num_workers=4, use_adaptive_concurrency=adaptive))
        fail(endpoint, refusal(30.0), 1, 10.0)
        assert endpoint.wait(10.0) == pytest.approx(30.0, abs=0.01)
        fail(endpoint, refusal(5.0), 1, 11.0)
        assert endpoint.wait(20.0) == pytest.approx(20.0, abs=0.2), "a shorter wait does not end a longer one"
        assert endpoint.wait(40.2) == 0.0


class TestLimits:
    def test_hold_attempts_and_settle_on_the_usage(self) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, output_tokens_per_minute=100))
        assert endpoint.counts_tokens
        first = endpoint.begin(0.0, Cost(1, 10, 90))
        assert endpoint.wait(0.0, Cost(1, 10, 90)) == float("inf")
        endpoint.answered(first, 1.0, Usage(10, 5, 15))
        assert endpoint.wait(1.0, Cost(1, 10, 90)) == 0.0

    def test_count_no_tokens_of_what_was_refused(self) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, input_tokens_per_minute=100, use_adaptive_concurrency=False))
        endpoint.failed(endpoint.begin(0.0, Cost(1, 90, 0)), 1.0, refusal(), in_flight=1)
        assert endpoint.wait(1.0, Cost(1, 100, 0)) == 0.0

    @pytest.mark.parametrize("error", [fault(500), timeout(), None], ids=["500", "timeout", "given up"])
    def test_count_what_was_reserved_where_nobody_knows(self, error: RequestError | None) -> None:
        endpoint = Endpoint(9, RemoteParams(num_workers=9, input_tokens_per_minute=100))
        endpoint.failed(endpoint.begin(0.0, Cost(1, 90, 0)), 1.0, error, in_flight=1)
        assert endpoint.wait(1.0, Cost(1, 10, 0)) == 0.0
        assert endpoint.wait(1.0, Cost(1, 11, 0)) == 60.0

    def test_are_learnt_from_what_the_endpoint_tells(self, endpoint: Endpoint) -> None:
        assert not endpoint.counts_tokens
        endpoint.told(endpoint.begin(0.0), {"tokens": Observation(6000, 0, 60.0)})
        assert endpoint.counts_tokens
        assert endpoint.wait(0.0, Cost(1, 100, 100)) == pytest.approx(2.0)


class TestTheTrace:
    def test_tells_of_every_decision_and_its_reason(self, endpoint: Endpoint) -> None:
        answer(endpoint, 100, 0.0)
        answer(endpoint, 100, 1.0)
        fail(endpoint, refusal(2.0), 1, 1.5)
        assert [decision.why for decision in endpoint.trace] == [
            "warmup: 51 permits before",
            "refused",
            "held for 2 s",
        ]
        assert [decision.permits for decision in endpoint.trace] == [63, 63, 63]
        assert endpoint.trace[0].rate is None
        assert endpoint.trace[-1].at == 1.5

    def test_is_bounded(self, endpoint: Endpoint) -> None:
        for i in range(20_000):
            endpoint.failed(endpoint.begin(float(i)), float(i), refusal(), in_flight=2)
        assert len(endpoint.trace) == 10_000
