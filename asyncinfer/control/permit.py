"""The permission to make one attempt, and the result of that attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from asyncinfer.control.rate_limits import Reservation


class AttemptResult(Enum):
    """The result of an attempt.

    `PENDING`: it has not ended. `UNKNOWN`: it ended without showing whether the endpoint would have accepted it.
    """

    PENDING = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class Permit:
    """The permission to make one attempt. It also records what the controller needs to judge the attempt.

    Args:
        sent: When the attempt started, in seconds of the run's clock.
        number: Counts the attempts of the endpoint from 1 on; 0 if concurrency is not adaptive.
        series: The number of the first attempt at the same rate.
        level: How many other attempts were in flight when it started.
        reservation: What it reserved of the rate limits; None if there are no limits.
        result: The result so far.
        is_counted: Whether the attempt has become a sample, or can no longer become one.
        endpoint: The number of the endpoint that gets the attempt.
    """

    sent: float
    number: int = 0
    series: int = 0
    level: int = 0
    reservation: Reservation | None = None
    result: AttemptResult = AttemptResult.PENDING
    is_counted: bool = False
    endpoint: int = 0
