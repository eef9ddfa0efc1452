"""What the tasks of one event loop may ask about the endpoints of an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from asyncinfer.aio.clock import Clock
from asyncinfer.control.availability import Health
from asyncinfer.control.decisions import Decision
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Alternative, PermitSource, Standstill
from asyncinfer.types.limits import LimitObservation

# Between two checks whether an endpoint stands still (seconds).
_STILL_CHECK = 10.0


class EndpointView:
    """The state of the endpoints at the present time.

    Args:
        endpoint: The endpoint, or a group of endpoints.
        lock: Protects its state. It is never held during an await.

    Attributes:
        size: How many endpoints there are.
        names: The name of each endpoint; None if the engine has only one.
    """

    def __init__(self, endpoint: PermitSource, lock: threading.Lock, clock: Clock) -> None:
        self._endpoint, self._lock, self._clock = endpoint, lock, clock
        self.size, self.names = endpoint.size, endpoint.names

    @property
    def limit(self) -> int:
        """How many permits there are now."""
        with self._lock:
            return self._endpoint.permits()

    @property
    def most(self) -> int:
        """The largest number of permits that there may be."""
        return self._endpoint.most

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, so that the cost of an attempt must be estimated."""
        return self._endpoint.counts_tokens

    @property
    def answers(self) -> int:
        """How many attempts the endpoints have answered so far."""
        return self._endpoint.answers

    def observe_limits(self, permit: Permit, limits: Mapping[str, LimitObservation]) -> None:
        """Report the limits that a response shows."""
        with self._lock:
            self._endpoint.observe_limits(permit, limits, self._clock.now())

    def health(self, endpoint: int = 0) -> Health:
        """The state of an endpoint, for a retry decision."""
        with self._lock:
            return self._endpoint.health(endpoint, self._clock.now())

    def out_for(self) -> float:
        """Seconds since the outage of all endpoints began; 0 without an outage."""
        with self._lock:
            return self._endpoint.out_for(self._clock.now())

    def is_in_doubt(self) -> bool:
        """Whether several attempts in a row failed."""
        return self._endpoint.is_in_doubt

    def answers_of(self, endpoint: int) -> int:
        """How many attempts an endpoint has answered so far."""
        return self._endpoint.answers_of(endpoint)

    def alternative(self, endpoint: int) -> Alternative:
        """Whether another endpoint can answer a row that failed at this one."""
        with self._lock:
            return self._endpoint.alternative(endpoint)

    def is_aside(self, endpoint: int) -> bool:
        """Whether an endpoint is put aside, because it fails, refuses every row, or stands still."""
        return self._endpoint.is_aside(endpoint)

    def rejects_rows(self, endpoint: int) -> bool:
        """Whether an endpoint has rejected the last rows, or all so far, so that the rows may not be the reason."""
        return self._endpoint.rejects_rows(endpoint)

    def part_arrived(self, permit: Permit) -> None:
        """Report that a part of a streamed answer has arrived, so that its endpoint does not stand still."""
        with self._lock:
            self._endpoint.part_arrived(permit, self._clock.now())

    def call_if_stalled(self, permit: Permit, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` if the endpoint of an attempt stands still while others answer.

        Returns:
            A function that stops the checks.
        """

        def check() -> None:
            nonlocal call_off
            with self._lock:
                is_given_up = self._endpoint.is_given_up(permit, self._clock.now())
            if is_given_up:
                callback()
            else:
                call_off = self._clock.call_later(_STILL_CHECK, check)

        call_off = self._clock.call_later(_STILL_CHECK, check)
        return lambda: call_off()

    def problems(self) -> Mapping[str, str | None]:
        """The reason why each endpoint is put aside, by its name; None if it is in use. Empty if there is only one."""
        with self._lock:
            return self._endpoint.problems()

    def standstill(self) -> Standstill | None:
        """Why the next attempt waits, and for how long; None if it waits only for a permit or an answer."""
        with self._lock:
            return self._endpoint.standstill(self._clock.now())

    @property
    def decision_count(self) -> int:
        """How many decisions the endpoint's controller has made."""
        return self._endpoint.decisions.count

    def latest_decisions(self, count: int) -> list[Decision]:
        """The latest decisions of the endpoint's controller, as far as they are kept."""
        with self._lock:
            return list(self._endpoint.decisions.entries)[-count:]
