"""`Availability`: when an outage begins and ends, and how attempts are spaced during it."""

from __future__ import annotations

import pytest

from asyncinfer.control.availability import Availability
from tests.control.errors import connection_lost, fault
from tests.fakes import refusal, rejection, timeout


def fail(availability: Availability, error: object, rows: int, now: float, in_flight: int = 1) -> None:
    """Fail one attempt of each of `rows` rows."""
    for row in range(rows):
        availability.started(now)
        availability.failed(now, error, in_flight, row)  # type: ignore[arg-type]


@pytest.fixture
def working() -> Availability:
    """The state of an endpoint that answered at 0.0."""
    availability = Availability()
    availability.started(0.0)
    availability.answered(0.0)
    return availability


@pytest.mark.parametrize("error", [fault(500), connection_lost(), timeout()], ids=["500", "connection", "timeout"])
def test_outage_begins_after_several_rows_failed_in_a_row(working: Availability, error: object) -> None:
    fail(working, error, 5, now=10.0)
    assert working.health(10.0).is_out
    assert working.out_for(70.0) == 60.0


def test_attempts_are_spaced_out_during_an_outage(working: Availability) -> None:
    fail(working, fault(500), 5, now=10.0)
    now, sent = 10.0, 0
    while now < 70.0:
        now += working.wait(now)
        fail(working, fault(500), 1, now)
        sent += 1
    assert 40 <= sent <= 70, "about one attempt a second"
    while now < 900.0:
        now += working.wait(now)
        fail(working, fault(500), 1, now)
        sent += 1
    assert sent <= 140, "after a minute, one every fifteen seconds"


def test_repeated_failures_of_one_row_are_not_an_outage(working: Availability) -> None:
    for i in range(50):
        working.failed(float(i), fault(500), 1, "row")
    assert not working.health(50.0).is_out
    assert working.wait(50.0) == 0.0


def test_faults_between_answers_are_not_an_outage(working: Availability) -> None:
    for i in range(100):
        working.failed(float(i), fault(500), 8, i)
        if i % 3 == 0:
            working.answered(float(i))
    assert not working.health(100.0).is_out
    assert working.wait(100.0) == 0.0


def test_faults_of_a_few_among_many_attempts_in_flight_do_not_space_out_attempts(working: Availability) -> None:
    """A backend that drops five of a hundred requests does not slow down the others."""
    fail(working, fault(500), 5, now=10.0, in_flight=100)
    assert working.wait(10.0) == 0.0
    fail(working, fault(500), 50, now=10.0, in_flight=100)
    assert working.wait(10.0) > 0.0


def test_answer_ends_the_outage(working: Availability) -> None:
    fail(working, fault(500), 5, now=10.0)
    assert working.wait(10.0) > 0.0
    working.answered(60.0)
    assert (working.wait(60.0), working.out_for(60.0)) == (0.0, 0.0)
    assert not working.health(60.0).is_out


def test_rejections_are_not_an_outage(working: Availability) -> None:
    fail(working, rejection(), 100, now=10.0)
    assert not working.health(10.0).is_out
    assert working.wait(10.0) == 0.0


def test_refusals_are_an_outage_but_do_not_space_out_attempts(working: Availability) -> None:
    """The pacer spaces attempts after refusals."""
    fail(working, refusal(), 20, now=10.0)
    assert working.health(10.0).is_out
    assert working.wait(10.0) == 0.0


def test_failures_before_any_answer_spend_retries_but_attempts_are_spaced_out() -> None:
    """The URL may be wrong; then the endpoint never answers."""
    availability = Availability()
    fail(availability, connection_lost(), 5, now=0.0)
    assert not availability.health(0.0).is_out
    assert availability.out_for(100.0) == 100.0
    assert availability.wait(0.0) > 0.0


def test_an_endpoint_works_for_two_minutes_after_its_last_answer(working: Availability) -> None:
    assert working.health(119.0).is_working
    assert not working.health(121.0).is_working


def test_an_endpoint_counts_as_working_for_two_minutes_after_the_first_attempt() -> None:
    availability = Availability()
    assert availability.health(1000.0).is_working, "there was no attempt yet"
    availability.started(1000.0)
    assert availability.health(1119.0).is_working
    assert not availability.health(1121.0).is_working
