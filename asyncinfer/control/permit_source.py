"""Where a semaphore gets its permits: one endpoint, or a group of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

from asyncinfer.control.availability import Health
from asyncinfer.control.decisions import DecisionLog
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand
from asyncinfer.errors import RequestError
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.usage import Usage


class Standstill(NamedTuple):
    """Why no attempt may start, and for how many seconds (infinite: until an answer arrives)."""

    reason: str
    seconds: float


class Alternative(Enum):
    """Whether another endpoint can answer a row that failed at one.

    `NONE`: there is no other, or all others refuse every request. `LATER`: another one may work again. `NOW`: another
    one works.
    """

    NONE = auto()
    LATER = auto()
    NOW = auto()


class PermitSource(ABC):
    """What all rows of one engine share. It is not thread-safe: the owner holds a lock.

    Endpoints have numbers. An engine with one endpoint has only number 0.

    Attributes:
        size: How many endpoints there are.
        names: The name of each endpoint; None if the engine has only one.
        most: The largest number of permits at any time.
        answers: How many attempts all endpoints together have answered.
        decisions: What the controllers have decided.
    """

    size: int
    names: Sequence[str | None]
    most: int
    answers: int
    decisions: DecisionLog

    # What is allowed now

    @property
    @abstractmethod
    def counts_tokens(self) -> bool:
        """Whether the tokens of an attempt matter, so that they must be estimated."""

    @abstractmethod
    def permits(self) -> int:
        """How many attempts may be in flight now."""

    @abstractmethod
    def start(
        self, now: float, demand: Demand = ONE_REQUEST, held: Sequence[int] = (0,), *, force: bool = False
    ) -> Permit | float:
        """Do what is due at this time. Then start an attempt of `demand` if one may start.

        Args:
            held: How many permits the caller's event loop holds, for each endpoint.
            force: Start it also if it would have to wait for an answer that may never arrive.

        Returns:
            The permit; or the seconds until it may start, infinite if that depends on attempts in flight.
        """

    @abstractmethod
    def standstill(self, now: float, demand: Demand = ONE_REQUEST) -> Standstill | None:
        """Why the next attempt waits, and for how many seconds; None if it does not wait."""

    # What happens to attempts

    @abstractmethod
    def answered(self, permit: Permit, now: float, usage: Usage | None) -> None:
        """The endpoint answered the attempt. `usage`: the tokens that it used; None if unknown."""

    @abstractmethod
    def failed(
        self,
        permit: Permit,
        now: float,
        error: RequestError | None,
        *,
        in_flight: int,
        row: Hashable = None,
        is_suspect: bool = False,
    ) -> None:
        """The attempt failed, or was cancelled.

        Args:
            error: The failure; None if the attempt was cancelled.
            in_flight: The attempts in flight on the caller's event loop, this one included.
            row: Identifies the row.
            is_suspect: The row kept failing while others were answered. See `Availability.failed`.
        """

    @abstractmethod
    def observe_limits(self, permit: Permit, limits: Mapping[str, LimitObservation], now: float) -> None:
        """The response to the attempt showed the endpoint's rate limits."""

    # What the attempts have shown

    @property
    @abstractmethod
    def is_in_doubt(self) -> bool:
        """Whether several attempts in a row failed. Then a new row shows whether the endpoint or the rows fail."""

    @abstractmethod
    def health(self, endpoint: int, now: float) -> Health:
        """The state of an endpoint, for a retry decision."""

    @abstractmethod
    def out_for(self, now: float) -> float:
        """Seconds since no endpoint can answer; 0 if one can."""

    # Several endpoints

    def answers_of(self, endpoint: int) -> int:
        """How many attempts an endpoint has answered."""
        return self.answers

    def alternative(self, endpoint: int) -> Alternative:
        """Whether another endpoint can answer a row that failed at this one."""
        return Alternative.NONE

    def is_aside(self, endpoint: int) -> bool:
        """Whether an endpoint is put aside, because it fails, refuses every row, or stands still."""
        return False

    def rejects_rows(self, endpoint: int) -> bool:
        """Whether an endpoint has rejected the last rows, or all so far, so that the rows may not be the reason."""
        return False

    def part_arrived(self, permit: Permit, now: float) -> None:
        """A part of a streamed answer has arrived. Only several endpoints need to know this."""
        return

    def is_given_up(self, permit: Permit, now: float) -> bool:
        """Whether an attempt should go to another endpoint: its own answers nothing for a long time, others answer."""
        return False

    def problems(self) -> Mapping[str, str | None]:
        """The reason why each endpoint is put aside, by its name; None if it is in use. Empty if there is only one."""
        return {}
