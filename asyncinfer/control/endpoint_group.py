"""Several endpoints that answer the rows of one engine. Each row goes to the endpoint with most room."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

from asyncinfer.config import RemoteParams
from asyncinfer.control.availability import Health
from asyncinfer.control.decisions import DecisionLog
from asyncinfer.control.member import EndpointRole, Member
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Alternative, PermitSource, Standstill
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand
from asyncinfer.errors import RequestError
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.usage import Usage


class EndpointGroup(PermitSource):
    """Permits for several endpoints, each with limits and a controller of its own.

    An endpoint that fails or refuses every row is put aside and probed: see `asyncinfer.control.aside`. Fallback
    endpoints get attempts only while no other endpoint works. An endpoint that is busy works.

    Args:
        limit: The largest number of permits of each endpoint.
        remote: The settings that all endpoints share.
    """

    def __init__(self, roles: Sequence[EndpointRole], limit: int, remote: RemoteParams) -> None:
        self.size, self.names = len(roles), [role.name for role in roles]
        self.most = limit * len(roles)
        self.answers = 0
        self.decisions = DecisionLog()
        self._members = [Member(number, role, limit, remote, self.decisions) for number, role in enumerate(roles)]
        self._primary = [member for member in self._members if not member.role.is_fallback]

    # What is allowed now

    @property
    def counts_tokens(self) -> bool:
        return any(member.endpoint.counts_tokens for member in self._members)

    def permits(self) -> int:
        working = (member.endpoint.permits() for member in self._candidates() if member.aside.reason is None)
        return max(1, sum(working))

    def start(
        self, now: float, demand: Demand = ONE_REQUEST, held: Sequence[int] = (), *, force: bool = False
    ) -> Permit | float:
        self.update(now)
        is_spaced = self._is_any_left()
        chosen: Member | None = None
        blocked: Member | None = None
        rank, shortest = (True, math.inf, math.inf), math.inf
        for member in self._candidates():
            in_use = held[member.number] if held else member.aside.in_flight
            is_aside = is_spaced and member.aside.reason is not None
            if in_use >= member.endpoint.permits() and not is_aside:
                shortest = min(shortest, member.endpoint.next_update(now))
                continue
            wait = member.wait(now, demand) if is_spaced else member.endpoint.wait(now, demand)
            if wait > 0.0:
                shortest = min(shortest, wait)
                blocked = member if wait == math.inf else blocked
            elif is_aside or member.endpoint.is_closed:
                return member.begin(now, demand)  # A probe shows soonest that it works again.
            elif (of_member := (member.aside.is_in_doubt, member.load(in_use), member.last_started)) < rank:
                chosen, rank = member, of_member
        if chosen is None and force and shortest == math.inf:
            chosen = blocked
        return chosen.begin(now, demand) if chosen is not None else shortest

    def standstill(self, now: float, demand: Demand = ONE_REQUEST) -> Standstill | None:
        is_spaced = self._is_any_left()
        stops = [member.standstill(now, demand, is_spaced=is_spaced) for member in self._candidates()]
        waiting = [stop for stop in stops if stop is not None]
        return min(waiting, key=lambda stop: stop.seconds) if len(waiting) == len(stops) else None

    def update(self, now: float) -> None:
        """Put endpoints aside that stand still. Do what is due at each endpoint."""
        for member in self._members:
            if member.aside.is_silent(now):
                newest = (other.aside.newest for other in self._members if other is not member)
                member.aside.compare(now, max(newest, default=-math.inf))
            member.update(now)

    def _candidates(self) -> list[Member]:
        """The endpoints that may get attempts: the fallbacks only while no other endpoint works."""
        is_enough = any(member.is_usable and not member.aside.is_failing for member in self._primary)
        return self._primary if is_enough else self._members

    # What happens to attempts

    def answered(self, permit: Permit, now: float, usage: Usage | None) -> None:
        self.answers += 1
        self._members[permit.endpoint].answered(permit, now, usage)

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
        self._members[permit.endpoint].failed(permit, now, error, row, is_suspect=is_suspect)

    def observe_limits(self, permit: Permit, limits: Mapping[str, LimitObservation], now: float) -> None:
        self._members[permit.endpoint].endpoint.observe_limits(permit, limits, now)

    # What the attempts have shown

    @property
    def is_in_doubt(self) -> bool:
        return all(member.endpoint.is_in_doubt for member in self._candidates() if member.aside.reason is None)

    def health(self, endpoint: int, now: float) -> Health:
        """The state of an endpoint. As long as one endpoint works, a refusal is not the fault of the row."""
        member = self._members[endpoint]
        is_out = member.aside.reason is not None or member.endpoint.availability.out_since is not None
        is_working = any(other.endpoint.health(endpoint, now).is_working for other in self._left())
        return Health(is_working, is_out and self.answers > 0)

    def out_for(self, now: float) -> float:
        return min(member.out_for(now) for member in self._left()) if self._is_any_left() else 0.0

    def _is_any_left(self) -> bool:
        """Whether an endpoint may work. If all refuse every row, attempts are not spaced: the run should end soon."""
        return any(not member.aside.is_refused for member in self._members)

    def _left(self) -> list[Member]:
        """The endpoints that may work; all if there are none."""
        return [member for member in self._members if not member.aside.is_refused] or self._members

    # Several endpoints

    def answers_of(self, endpoint: int) -> int:
        return self._members[endpoint].endpoint.answers

    def alternative(self, endpoint: int) -> Alternative:
        others = [member for member in self._members if member.number != endpoint]
        if any(member.is_usable for member in others):
            return Alternative.NOW
        return Alternative.NONE if all(member.aside.is_refused for member in others) else Alternative.LATER

    def is_aside(self, endpoint: int) -> bool:
        return self._members[endpoint].aside.reason is not None

    def rejects_rows(self, endpoint: int) -> bool:
        return self._members[endpoint].aside.rejects_rows

    def part_arrived(self, permit: Permit, now: float) -> None:
        self._members[permit.endpoint].aside.part_arrived(now, permit.sent)

    def is_given_up(self, permit: Permit, now: float) -> bool:
        self.update(now)
        is_given_up = self._members[permit.endpoint].aside.is_given_up(now, permit.sent)
        return is_given_up and self.alternative(permit.endpoint) is Alternative.NOW

    def problems(self) -> Mapping[str, str | None]:
        return {member.role.name: member.aside.reason for member in self._members}
