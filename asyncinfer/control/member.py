"""One endpoint of a group."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable
from typing import NamedTuple

from asyncinfer.config import RemoteParams
from asyncinfer.control.aside import Aside
from asyncinfer.control.decisions import Decision, DecisionLog
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Standstill
from asyncinfer.control.rate_limits import Demand
from asyncinfer.errors import RequestError
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer.control")

# An endpoint that works again sooner than this was not worth a message (seconds).
_SHORT = 1.0


class EndpointRole(NamedTuple):
    """The part that an endpoint has in a group.

    Args:
        name: The name in messages, without credentials. Names are unique in a group.
        weight: An endpoint of weight 2 gets twice as many attempts as one of weight 1, as far as it accepts them.
        is_fallback: It gets attempts only while no other endpoint works.
    """

    name: str
    weight: float = 1.0
    is_fallback: bool = False


class Member:
    """One endpoint of a group: its controller, and whether it is put aside.

    Args:
        number: The number of the endpoint in the group.
        limit: The largest number of permits.
        remote: The settings that all endpoints share.
        shared: The log of decisions of the group.

    Attributes:
        last_started: When its latest attempt started.
    """

    def __init__(self, number: int, role: EndpointRole, limit: int, remote: RemoteParams, shared: DecisionLog) -> None:
        self.number, self.role = number, role
        self.endpoint = Endpoint(limit, remote, DecisionLog(role.name, shared), is_alone=False)
        self.aside = Aside(remote.max_wait)
        self.last_started = -math.inf
        self._is_reported = False

    @property
    def is_usable(self) -> bool:
        """Whether it may get any number of attempts, as far as its controller allows."""
        return self.aside.reason is None and not self.endpoint.is_closed

    def load(self, held: int) -> float:
        """The share of its permits that are in use after another attempt, in proportion to its weight."""
        return (held + 1) / (self.endpoint.permits() * self.role.weight)

    def wait(self, now: float, demand: Demand) -> float:
        """Seconds until its controller allows an attempt; infinite if that depends on the next answer."""
        return max(self.aside.wait(now), self.endpoint.wait(now, demand))

    def standstill(self, now: float, demand: Demand, *, is_spaced: bool) -> Standstill | None:
        """Why its next attempt waits, and for how many seconds; None if it does not wait.

        Args:
            is_spaced: It must wait for a probe while it is put aside.
        """
        probe = self.aside.wait(now) if is_spaced else 0.0
        if probe > 0.0:
            return Standstill(f"{self.role.name}: {self.aside.reason}", probe)
        stop = self.endpoint.standstill(now, demand)
        return None if stop is None else Standstill(f"{self.role.name}: {stop.reason}", stop.seconds)

    def out_for(self, now: float) -> float:
        """Seconds since it stopped working; 0 if it works."""
        out_for = self.endpoint.out_for(now)
        return max(out_for, now - self.aside.since) if self.aside.reason is not None else out_for

    # What happens to attempts

    def begin(self, now: float, demand: Demand) -> Permit:
        """An attempt starts."""
        self.last_started = now
        self.aside.started(now)
        permit = self.endpoint.begin(now, demand)
        permit.endpoint = self.number
        return permit

    def answered(self, permit: Permit, now: float, usage: Usage | None) -> None:
        """It answered the attempt."""
        self.aside.answered(now, permit.sent)
        self.endpoint.answered(permit, now, usage)
        self._report(now)

    def failed(
        self, permit: Permit, now: float, error: RequestError | None, row: Hashable, *, is_suspect: bool
    ) -> None:
        """The attempt failed, or was cancelled."""
        in_flight = self.aside.in_flight
        self.aside.failed(now, permit.sent, error, row)
        self.endpoint.failed(permit, now, error, in_flight=in_flight, row=row, is_suspect=is_suspect)
        self._report(now)

    def update(self, now: float) -> None:
        """Do what is due at this time."""
        self.endpoint.update(now)
        self.aside.update(now)
        self._report(now)

    def _report(self, now: float) -> None:
        """Log once that the endpoint was put aside, and once that it is in use again."""
        aside = self.aside
        if (aside.reason is not None) == self._is_reported:
            return
        if not self._is_reported and not aside.is_refused and now - aside.since < _SHORT:
            return
        self._is_reported = not self._is_reported
        if self._is_reported:
            log.warning("%s is put aside: %s. Single requests show when it works again.", self.role.name, aside.reason)
            self._note(now, 0, "put aside")
        else:
            log.warning("%s is in use again.", self.role.name)
            self._note(now, self.endpoint.permits(), "in use again")

    def _note(self, now: float, permits: int, why: str) -> None:
        self.endpoint.decisions.add(Decision(now, permits, self.endpoint.rate, why))
