"""A client and a server in virtual time, without an event loop. Shows how well the controller follows a server.

`simulate(server, ...)` drives an `Endpoint` as a run does: it takes permits, waits as long as the endpoint says, and
tries refused rows again. A thousand requests take a few milliseconds.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from asyncinfer import InferenceErrorType, RemoteParams, RequestError, Usage
from asyncinfer.control.decisions import Decision
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.permit import Permit
from asyncinfer.control.retry import FaultShare, RetryPolicy

USAGE = Usage(10, 10, 20)
# The clock of the client when a job begins, in seconds. A real clock does not begin at 0.
_START = 10_000.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to one request: the seconds until it arrives, and the error; None for an answer."""

    after: float
    error: RequestError | None = None


def refused(after: float = 0.001, retry_after: float | None = None, status: int = 429) -> Reply:
    error = RequestError(
        "busy",
        error_type=InferenceErrorType.API_STATUS,
        status_code=status,
        is_retryable=True,
        is_overload=True,
        retry_after=retry_after,
    )
    return Reply(after, error)


def broken(after: float = 0.001, status: int | None = 500) -> Reply:
    kind = InferenceErrorType.API_STATUS if status is not None else InferenceErrorType.CONNECTION
    return Reply(after, RequestError("broken", error_type=kind, status_code=status, is_retryable=True))


class Server(Protocol):
    """A model of a server. `capacity(seconds)`: how many requests it can accept in the first so many seconds."""

    def request(self, now: float, size: int) -> Reply: ...

    def capacity(self, seconds: float) -> float: ...


Schedule = Callable[[float], float]


def steady(rate: float) -> Schedule:
    return lambda _: rate


def steps(*phases: tuple[float, float]) -> Schedule:
    """`(seconds, rate)` phases, the last one without an end."""

    def rate(now: float) -> float:
        for seconds, value in phases:
            if now < seconds:
                return value
            now -= seconds
        return phases[-1][1]

    return rate


def _total(rate: Schedule, seconds: float) -> float:
    return sum(rate(i / 100) / 100 for i in range(int(seconds * 100)))


@dataclass
class TokenBucket:
    """Accepts `rate(now)` requests per second, and saves up at most `burst` seconds of them. Refuses all others at once.

    Args:
        rate: Requests per second at a point in time.
        latency: Seconds that an answer takes.
        hint: Refusals have a Retry-After in whole seconds.
        round_trip: Seconds that a refusal takes.
        by_size: The rate is in units of size, not in requests.
    """

    rate: Schedule
    latency: float = 0.05
    burst: float = 1.0
    hint: bool = False
    round_trip: float = 0.002
    by_size: bool = False
    _tokens: float = math.inf
    _at: float = 0.0

    def request(self, now: float, size: int) -> Reply:
        rate = self.rate(now)
        most = max(float(size if self.by_size else 1), rate * self.burst)
        self._tokens = min(most, self._tokens + rate * (now - self._at))
        self._at = now
        amount = size if self.by_size else 1
        if self._tokens < amount:
            wait = (amount - self._tokens) / rate if rate else 60.0
            return refused(self.round_trip, float(max(1, math.ceil(wait))) if self.hint else None)
        self._tokens -= amount
        return Reply(self.latency * random.uniform(0.8, 1.2))

    def capacity(self, seconds: float) -> float:
        return _total(self.rate, seconds) + max(1.0, self.rate(0.0) * self.burst)


@dataclass
class InFlight:
    """Accepts at most `limit` requests in flight. Refuses all others at once."""

    limit: int
    latency: float = 0.1
    spread: float = 0.2
    round_trip: float = 0.002
    _ends: list[float] = field(default_factory=list)

    def request(self, now: float, size: int) -> Reply:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self.limit:
            return refused(self.round_trip)
        after = self.latency * random.uniform(1 - self.spread, 1 + self.spread)
        heapq.heappush(self._ends, now + after)
        return Reply(after + self.round_trip / 2)

    def capacity(self, seconds: float) -> float:
        return self.limit * seconds / (self.latency + self.round_trip / 2)


@dataclass
class FixedWindow:
    """Accepts `limit` requests in each window of `length` seconds. Refuses all others at once."""

    limit: int
    length: float = 60.0
    latency: float = 0.3
    hint: bool = False
    offset: float = 0.0
    _taken: dict[int, int] = field(default_factory=dict)

    def request(self, now: float, size: int) -> Reply:
        window = int((now + self.offset) // self.length)
        self._taken[window] = self._taken.get(window, 0) + 1
        if self._taken[window] > self.limit:
            left = (window + 1) * self.length - now - self.offset
            return refused(0.002, left if self.hint else None)
        return Reply(self.latency)

    def capacity(self, seconds: float) -> float:
        return self.limit * (int((seconds + self.offset - 1e-9) // self.length) + 1)


@dataclass
class Noise:
    """Fails a share of the requests, whatever the rate: at random, or every n-th `in_turn`.

    `round_trip`: seconds that a failure takes; by default as long as an answer.
    """

    share: float
    latency: float = 0.1
    status: int = 503
    hint: float | None = None
    limit: int = 100
    round_trip: float | None = None
    in_turn: bool = False
    _requests: int = 0

    def request(self, now: float, size: int) -> Reply:
        self._requests += 1
        fails = self._requests % round(1 / self.share) == 0 if self.in_turn else random.random() < self.share
        if not fails:
            return Reply(self.latency)
        after = self.latency if self.round_trip is None else self.round_trip
        return refused(after, self.hint, 503) if self.status == 503 else broken(after, self.status)

    def capacity(self, seconds: float) -> float:
        failing = self.latency if self.round_trip is None else self.round_trip
        each = (1 - self.share) * self.latency + self.share * failing
        return self.limit * seconds / each * (1 - self.share)


@dataclass
class Outage:
    """Passes requests on to `server`, but responds with `down` from `begin` until `end`."""

    server: Server
    begin: float
    end: float
    down: Reply

    def request(self, now: float, size: int) -> Reply:
        return self.down if self.begin <= now < self.end else self.server.request(now, size)

    def capacity(self, seconds: float) -> float:
        lost = max(0.0, min(seconds, self.end) - self.begin)
        return self.server.capacity(seconds - lost)


@dataclass
class JobResult:
    """How a simulated job went.

    Args:
        used: The share of the server's capacity that was used within the time of the job.
        refused: The share of the requests within that time that were refused or failed.
        answered: What was accepted within that time, in rows; in units of size if the server counts these.
        requests: The number of requests within that time.
        lost: How many rows were not answered by the end.
        ended: When the last row was finished, in seconds.
        trace: The decisions of the controller.
    """

    used: float
    refused: float
    answered: int
    requests: int
    lost: int
    ended: float
    trace: list[Decision]


@dataclass(slots=True)
class _Row:
    index: int
    size: int
    spent: int = 0
    attempts: int = 0


class _Flight(NamedTuple):
    """A request in flight: when its response arrives, and the error in the response; None for an answer."""

    arrival: float
    ticket: int
    permit: Permit
    row: _Row
    error: RequestError | None


def simulate(
    server: Server,
    seconds: float = 30.0,
    *,
    workers: int = 256,
    rows: int | None = None,
    sizes: Callable[[], int] = lambda: 1,
    adaptive: bool = True,
    seed: int = 0,
    limit: float = 1000.0,
) -> JobResult:
    """Run `rows` rows, by default more than the server can accept, and count what happens in the first `seconds`.

    Args:
        sizes: Draws the size of a row, for servers that count it.
        limit: Rows that are not finished after so many seconds count as lost.
    """
    random.seed(seed)
    count = rows if rows is not None else math.ceil(server.capacity(seconds) * 1.05) + 20
    endpoint = Endpoint(workers, RemoteParams(num_workers=workers, use_adaptive_concurrency=adaptive))
    job = _Job(server, endpoint, [_Row(i, sizes()) for i in range(count)], seconds)
    job.run(limit)
    return JobResult(
        job.answered / server.capacity(seconds),
        job.refused / max(1, job.requests),
        job.answered,
        job.requests,
        job.lost + count - job.done,
        job.now,
        list(endpoint.decisions.entries),
    )


class _Job:
    """A run in virtual time. Retries that are due are sent first, then new rows."""

    def __init__(self, server: Server, endpoint: Endpoint, rows: list[_Row], seconds: float) -> None:
        self._server, self._endpoint, self._seconds = server, endpoint, seconds
        self._fresh, self._count = deque(rows), len(rows)
        self._retries: list[tuple[float, int, _Row]] = []
        self._flights: list[_Flight] = []
        self._tickets = itertools.count()
        self._policy, self._faults = RetryPolicy(), FaultShare()
        self.now = 0.0
        self.done = self.lost = 0
        self.answered = self.refused = self.requests = 0

    def run(self, limit: float) -> None:
        """Run until every row is finished, or for `limit` seconds."""
        for _ in range(10 * self._count + 100_000):
            if self.done >= self._count or self.now >= limit:
                return
            moments = [self._start()]
            if self._flights:
                moments.append(self._flights[0].arrival)
            if self._retries and self._retries[0][0] > self.now:
                moments.append(self._retries[0][0])
            assert min(moments) < math.inf, "the run waits forever"
            self.now = max(self.now, min(moments))
            while self._flights and self._flights[0].arrival <= self.now:
                self._receive(heapq.heappop(self._flights))
        raise AssertionError("the run makes no progress")

    def _start(self) -> float:
        """Start every attempt that may start now.

        Returns:
            When the next one may start; infinite if that depends on a response or a retry.
        """
        while self._is_due() or self._fresh:
            self._endpoint.update(self.now + _START)
            update = self._endpoint.next_update(self.now + _START)
            if len(self._flights) >= self._endpoint.permits():
                return self.now + update
            wait = self._endpoint.wait(self.now + _START)
            if wait > 0.0:
                return self.now + wait
            self._send(heapq.heappop(self._retries)[2] if self._is_due() else self._fresh.popleft())
        return math.inf

    def _is_due(self) -> bool:
        return bool(self._retries) and self._retries[0][0] <= self.now

    def _send(self, row: _Row) -> None:
        permit = self._endpoint.begin(self.now + _START)
        reply = self._server.request(self.now, row.size)
        row.attempts += 1
        if self.now < self._seconds:
            self.requests += 1
            if reply.error is not None:
                self.refused += 1
            else:
                self.answered += row.size
        flight = _Flight(self.now + reply.after, next(self._tickets), permit, row, reply.error)
        heapq.heappush(self._flights, flight)

    def _receive(self, flight: _Flight) -> None:
        row, error = flight.row, flight.error
        if row.attempts == 1:
            self._faults.add(is_fault=error is not None and not error.is_overload)
        if error is None:
            self._endpoint.answered(flight.permit, self.now + _START, USAGE)
            self.done += 1
            return
        in_flight = len(self._flights) + 1
        self._endpoint.failed(flight.permit, self.now + _START, error, in_flight=in_flight, row=row.index)
        retry = self._policy.decide(
            error,
            spent=row.spent,
            attempts=row.attempts,
            answered_since=True,
            health=self._endpoint.availability.health(self.now + _START),
            fault_share=self._faults.share,
            jitter=random.random(),
        )
        if retry.is_final:
            self.lost += 1
            self.done += 1
        else:
            row.spent += retry.spends
            heapq.heappush(self._retries, (self.now + retry.after, next(self._tickets), row))
