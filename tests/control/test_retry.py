"""`RetryPolicy` and `FaultShare`: whether and when a failed attempt is made again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import RequestError
from asyncinfer.control.availability import Health
from asyncinfer.control.retry import NO_RETRY, FaultShare, Retry, RetryPolicy
from tests.control.errors import fault
from tests.fakes import refusal, rejection, timeout

POLICY = RetryPolicy(max_retries=3, base=1.0, max=30.0, max_wait=900.0)
WORKING, SILENT, OUT = Health(True, False), Health(False, False), Health(False, True)


def decide(
    error: RequestError,
    *,
    policy: RetryPolicy = POLICY,
    spent: int = 0,
    attempts: int = 1,
    answered_since: bool = False,
    health: Health = SILENT,
    fault_share: float = 0.0,
    jitter: float = 0.5,
) -> Retry:
    return policy.decide(
        error,
        spent=spent,
        attempts=attempts,
        answered_since=answered_since,
        health=health,
        fault_share=fault_share,
        jitter=jitter,
    )


@pytest.mark.parametrize("health", [WORKING, SILENT, OUT])
def test_a_rejection_is_not_tried_again(health: Health) -> None:
    assert decide(rejection(), health=health, answered_since=True) == NO_RETRY


def test_a_fault_is_tried_again_until_the_retries_are_spent() -> None:
    for spent in range(3):
        retry = decide(timeout(), spent=spent, attempts=spent + 1, health=WORKING, jitter=0.999)
        assert (retry.is_final, retry.spends) == (False, True)
        assert retry.after == pytest.approx(0.999 * 2**spent)
    assert decide(timeout(), spent=3, attempts=4, health=WORKING, answered_since=True) == NO_RETRY


def test_a_refusal_by_an_endpoint_that_works_spends_no_retry() -> None:
    retry = decide(refusal(), spent=3, health=WORKING)
    assert (retry.is_final, retry.spends) == (False, False)


def test_refusal_by_an_endpoint_without_recent_answers_spends_a_retry() -> None:
    assert decide(refusal(), health=SILENT).spends
    assert decide(refusal(), spent=3, health=SILENT) == NO_RETRY


@pytest.mark.parametrize("error", [fault(500), timeout(), refusal()], ids=["500", "timeout", "refusal"])
def test_failure_during_an_outage_spends_no_retry(error: RequestError) -> None:
    retry = decide(error, spent=3, attempts=100, health=OUT)
    assert not retry.is_final
    assert not retry.spends


@given(after=st.floats(0.001, 900.0))
def test_requested_wait_is_used_in_full(after: float) -> None:
    assert decide(refusal(after), jitter=0.0).after == after


@given(after=st.floats(900.1, 1e300), spent=st.integers(0, 3))
def test_requested_wait_beyond_max_wait_is_replaced_by_the_backoff(after: float, spent: int) -> None:
    assert decide(refusal(after), spent=spent, health=WORKING).after <= 30.0


def test_requested_wait_of_zero_is_replaced_by_the_backoff() -> None:
    assert decide(refusal(0.0), health=WORKING).after == 0.5


@given(spent=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_the_backoff_is_at_most_the_configured_maximum(spent: int, jitter: float) -> None:
    assert 0 <= RetryPolicy(10_000).backoff(spent, jitter) <= 30.0


class TestWithoutRetries:
    POLICY = RetryPolicy(max_retries=0)

    @pytest.mark.parametrize("health", [WORKING, SILENT, OUT])
    def test_fault_fails_the_row_without_retries(self, health: Health) -> None:
        assert decide(fault(), policy=self.POLICY, health=health, fault_share=0.5) == NO_RETRY

    def test_refusal_without_retries_is_tried_again_only_while_others_are_answered(self) -> None:
        retry = decide(refusal(), policy=self.POLICY, health=WORKING, answered_since=True)
        assert (retry.is_final, retry.spends) == (False, False)
        assert decide(refusal(), policy=self.POLICY, health=WORKING) == NO_RETRY


class TestCoincidence:
    def test_row_is_tried_again_if_chance_explains_its_failures(self) -> None:
        """If a quarter of all requests fail at random, some of a million rows fail six times in a row."""
        assert not decide(fault(), spent=3, attempts=6, health=WORKING, fault_share=0.25).is_final

    def test_wait_after_random_failures_does_not_grow_while_others_are_answered(self) -> None:
        first, later = (
            decide(fault(), spent=spent, attempts=spent + 1, answered_since=True, health=WORKING, fault_share=0.25)
            for spent in (1, 5)
        )
        assert later.after == first.after > 0.0

    def test_row_fails_if_chance_does_not_explain_its_failures(self) -> None:
        assert decide(fault(), spent=3, attempts=20, health=WORKING, fault_share=0.25) == NO_RETRY

    def test_row_fails_after_its_retries_if_no_other_row_failed(self) -> None:
        assert decide(fault(), spent=3, attempts=4, health=WORKING, fault_share=0.0) == NO_RETRY

    @given(share=st.floats(0, 0.5))
    def test_row_that_always_fails_is_not_tried_forever(self, share: float) -> None:
        attempts = next(n for n in range(1, 100) if decide(fault(), spent=3, attempts=n, fault_share=share) == NO_RETRY)
        assert attempts <= 27


class TestFaultShare:
    def test_share_of_faults_is_zero_before_any_row(self) -> None:
        assert FaultShare().share == 0.0

    def test_share_of_faults_counts_only_first_attempts(self) -> None:
        faults = FaultShare()
        for i in range(100):
            faults.add(is_fault=i % 4 == 0)
        assert faults.share == 0.25

    def test_share_of_faults_is_zero_with_few_faults(self) -> None:
        """So a single row that always fails is given up after exactly its retries."""
        faults = FaultShare()
        for _ in range(4):
            faults.add(is_fault=True)
        assert faults.share == 0.0

    def test_faults_at_the_start_of_a_run_are_a_small_share(self) -> None:
        faults = FaultShare()
        for _ in range(5):
            faults.add(is_fault=True)
        assert faults.share == 0.2, "a share above a twentieth counts as a fifth at least"

    def test_share_of_faults_is_at_most_a_half(self) -> None:
        faults = FaultShare()
        for _ in range(500):
            faults.add(is_fault=True)
        assert faults.share == 0.5

    def test_share_of_faults_ignores_old_rows(self) -> None:
        faults = FaultShare()
        for i in range(2000):
            faults.add(is_fault=i < 1000)
        assert faults.share == 0.0
