"""What follows from a failed attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import RequestError
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.retry import NO, RetryPolicy
from tests.fakes import refusal, rejection, timeout

POLICY = RetryPolicy(max_retries=3, base=1.0, max=30.0)


def test_a_rejection_is_final() -> None:
    assert POLICY.decide(rejection(), 0, admitted_since=True, jitter=0.5) == NO


def test_a_fault_is_tried_again_until_the_retries_are_spent() -> None:
    for spent in range(3):
        retry = POLICY.decide(timeout(), spent, admitted_since=False, jitter=0.999)
        assert (retry.kind, retry.spends) == ("transient", True)
        assert retry.after == pytest.approx(0.999 * 2**spent)
    assert POLICY.decide(timeout(), 3, admitted_since=True, jitter=0.5) == NO


def test_a_refusal_by_an_endpoint_that_works_costs_nothing() -> None:
    retry = POLICY.decide(refusal(), 3, admitted_since=True, jitter=0.5)
    assert (retry.kind, retry.spends) == ("rate_limit", False)
    assert POLICY.decide(refusal(), 3, admitted_since=False, jitter=0.5) == NO


@given(after=st.floats(0.001, 1e6))
def test_what_the_endpoint_asks_for_is_honoured_in_full(after: float) -> None:
    assert POLICY.decide(refusal(after), 0, admitted_since=False, jitter=0.0).after == after


@given(spent=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_the_backoff_stays_within_its_bounds(spent: int, jitter: float) -> None:
    assert 0 <= RetryPolicy(10_000).backoff(spent, jitter) <= 30.0


def test_a_refusal_holds_the_endpoint() -> None:
    endpoint = Endpoint(limit=4)
    first, second = endpoint.begin(9.0), endpoint.begin(9.0)
    endpoint.failed(first, 10.0, refusal(5.0), in_flight=2)
    endpoint.failed(second, 11.0, refusal(None), in_flight=1)
    assert endpoint.wait(12.0) == 3.0
    assert endpoint.wait(15.0) == 0.0
    endpoint.answered(endpoint.begin(15.0), 16.0, None)
    assert (endpoint.admissions, endpoint.refusals) == (1, 2)


def test_errors_carry_facts() -> None:
    assert isinstance(refusal(2.0), RequestError)
    assert refusal(2.0).retry_after == 2.0
