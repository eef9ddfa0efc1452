"""A client and a server in virtual time, without an event loop: how well the controller follows what a server takes.

`simulate(server, ...)` drives an `Endpoint` the way a run does: it takes permits, waits as long as the endpoint says,
and tries refused rows again. A thousand requests take a few milliseconds.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from asyncinfer import InferenceErrorType, RemoteParams, RequestError, Usage
from asyncinfer.control.endpoint import Attempt, Endpoint
from asyncinfer.control.rate_limit import Cost
from asyncinfer.control.retry import FaultShare, RetryPolicy

USAGE = Usage(10, 10, 20)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server does with one request: the seconds until it replies, and the error, if it is no answer."""

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
    """A model of a server. `capacity(seconds)`: how many requests it can answer in so many seconds from the start."""

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
    """Admits `rate(now)` a second and saves up `burst` seconds of it; refuses the others at once."""

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
    """Works on at most `limit` requests at once; refuses the others at once."""

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
class Window:
    """Admits `limit` requests in each window of `length` seconds; refuses the others at once."""

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
    """Fails a share of the requests at random, whatever the rate."""

    share: float
    latency: float = 0.1
    status: int = 503
    hint: float | None = None
    limit: int = 100

    def request(self, now: float, size: int) -> Reply:
        after = self.latency
        if random.random() >= self.share:
            return Reply(after)
        return refused(after, self.hint, 503) if self.status == 503 else broken(after, self.status)

    def capacity(self, seconds: float) -> float:
        return self.limit * seconds / self.latency * (1 - self.share)


@dataclass
class Outage:
    """Passes requests on to `server`, but replies `down` between two moments."""

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
class Outcome:
    """How a simulated job went until its time was up; `lost` counts rows up to the end of the job."""

    used: float
    refused: float
    answered: int
    requests: int
    lost: int
    ended: float
    trace: list[tuple[float, int, float | None, str]]


@dataclass(slots=True)
class _Row:
    index: int
    size: int
    spent: int = 0
    attempts: int = 0


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
) -> Outcome:
    """Run `rows` rows (by default more than the server can take) and count what happens in the first `seconds`."""
    random.seed(seed)
    remote = RemoteParams(num_workers=workers, use_adaptive_concurrency=adaptive)
    endpoint = Endpoint(workers, remote)
    policy, faults = RetryPolicy(), FaultShare()
    count = rows if rows is not None else math.ceil(server.capacity(seconds) * 1.05) + 20
    fresh = iter(_Row(i, sizes()) for i in range(count))
    pending = next(fresh, None)
    retries: list[tuple[float, int, _Row]] = []
    flights: list[tuple[float, int, Attempt, _Row, RequestError | None]] = []
    tickets = itertools.count()
    now, in_flight, lost, done = 0.0, 0, 0, 0
    answered = denied = requests = 0
    turns = 0
    while done < count and now < limit:
        turns += 1
        assert turns < 10 * count + 100_000, "the run makes no progress"
        # Everything that can start now starts.
        wake = math.inf
        while True:
            due = bool(retries) and retries[0][0] <= now
            if not due and pending is None:
                break
            update = endpoint.update(now)
            if in_flight >= endpoint.permits():
                wake = now + update
                break
            wait = endpoint.wait(now, Cost())
            if wait > 0.0:
                wake = now + wait
                break
            if due:
                row = heapq.heappop(retries)[2]
            else:
                assert pending is not None
                row, pending = pending, next(fresh, None)
            attempt = endpoint.begin(now, Cost())
            reply = server.request(now, row.size)
            in_flight += 1
            row.attempts += 1
            if now < seconds:
                requests += 1
                denied += reply.error is not None
                answered += 0 if reply.error is not None else row.size if getattr(server, "by_size", False) else 1
            heapq.heappush(flights, (now + reply.after, next(tickets), attempt, row, reply.error))
        moments = [wake]
        if flights:
            moments.append(flights[0][0])
        if retries and retries[0][0] > now:
            moments.append(retries[0][0])
        if min(moments) == math.inf:
            break
        now = max(now, min(moments))
        while flights and flights[0][0] <= now:
            _, _, attempt, row, error = heapq.heappop(flights)
            if row.attempts == 1:
                faults.add(is_fault=error is not None and not error.is_overload)
            if error is None:
                endpoint.answered(attempt, now, USAGE)
                done += 1
            else:
                endpoint.failed(attempt, now, error, in_flight=in_flight, row=row.index)
                retry = policy.decide(
                    error,
                    spent=row.spent,
                    attempts=row.attempts,
                    answered_since=True,
                    health=endpoint.availability.health(now),
                    fault_share=faults.share,
                    jitter=random.random(),
                )
                if retry.kind == "no":
                    lost += 1
                    done += 1
                else:
                    row.spent += retry.spends
                    heapq.heappush(retries, (now + retry.after, next(tickets), row))
            in_flight -= 1
    return Outcome(
        answered / server.capacity(seconds),
        denied / max(1, requests),
        answered,
        requests,
        lost + (count - done),
        now,
        [tuple(decision) for decision in endpoint.trace],
    )
