"""`SampleQueue`: attempts become samples in the order in which they were sent."""

from __future__ import annotations

import pytest

from asyncinfer.control.permit import AttemptResult, Permit
from asyncinfer.control.samples import SampleQueue


@pytest.fixture
def queue() -> SampleQueue:
    """A queue with the attempts 1 to 3, sent at 0.0."""
    queue = SampleQueue()
    for number in (1, 2, 3):
        queue.add(Permit(0.0, number))
    return queue


def end(queue: SampleQueue, number: int, result: AttemptResult) -> None:
    for permit in queue._pending:
        if permit.number == number:
            permit.result = result


def popped(queue: SampleQueue, now: float) -> list[int]:
    """The numbers of all samples that are ready."""
    numbers = list[int]()
    while (permit := queue.pop(now)) is not None:
        assert permit.is_counted
        numbers.append(permit.number)
    return numbers


def test_refused_attempt_waits_for_the_results_of_earlier_attempts(queue: SampleQueue) -> None:
    end(queue, 2, AttemptResult.REFUSED)
    assert popped(queue, 0.1) == []
    end(queue, 1, AttemptResult.ACCEPTED)
    assert popped(queue, 0.1) == [1, 2]


def test_attempt_with_an_unknown_result_is_not_a_sample(queue: SampleQueue) -> None:
    end(queue, 1, AttemptResult.UNKNOWN)
    end(queue, 2, AttemptResult.ACCEPTED)
    assert popped(queue, 0.1) == [2]


def test_attempt_that_is_pending_for_a_quarter_second_is_a_sample(queue: SampleQueue) -> None:
    assert popped(queue, 0.24) == []
    assert popped(queue, 0.25) == [1, 2, 3]


@pytest.mark.parametrize(("seconds", "patience"), [(1.0, 3.0), (0.1, 0.3), (0.0, 0.02)])
def test_attempt_may_be_pending_three_times_as_long_as_a_refusal_takes(
    queue: SampleQueue, seconds: float, patience: float
) -> None:
    queue.set_refusal_time(seconds)
    assert popped(queue, 0.9 * patience) == []
    assert popped(queue, 1.1 * patience) == [1, 2, 3]
