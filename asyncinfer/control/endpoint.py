"""What the other side has shown it can take: how many attempts at once, and when the next may start."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from asyncinfer.config import RemoteParams
from asyncinfer.control.adaptive import Aimd, adaptive_params, fixed_params
from asyncinfer.control.pace import Pace
from asyncinfer.control.rate_limit import FREE, Cost, Observation, RateLimits, Reservation
from asyncinfer.errors import RequestError
from asyncinfer.types.results import InferenceErrorType, Usage

log = logging.getLogger("asyncinfer.control")

_TRACED = 10_000
# Seconds: waits so long cost more than a few refused attempts, and so long are worth a word.
_COSTLY_HOLD, _LONG_HOLD = 0.5, 60.0


class Decision(NamedTuple):
    """What the controller allows from `at` seconds on: permits, attempts a second (None: no limit), and why."""

    at: float
    permits: int
    rate: float | None
    why: str


@dataclass(slots=True)
class Attempt:
    """One attempt under way: when it was sent, and what it reserved."""

    sent: float
    reservation: Reservation | None = None


class Endpoint:
    """The state that all rows of one engine share. Not thread-safe: its owner holds a lock.

    A plain one has a fixed number of permits. With `remote` it heeds rate limits, and adapts permits and pace
    to what the endpoint takes. `trace` holds the latest decisions.
    """

    def __init__(self, limit: int, remote: RemoteParams | None = None) -> None:
        adaptive = remote is not None and remote.use_adaptive_concurrency
        self._aimd = Aimd(adaptive_params(remote) if remote is not None and adaptive else fixed_params(limit))
        self._pace = Pace() if adaptive else None
        self._limits = RateLimits(remote or RemoteParams())
        self._held_until = -math.inf
        self.most = limit
        self.admissions = 0
        self.refusals = 0
        self.trace: deque[Decision] = deque(maxlen=_TRACED)

    @property
    def counts_tokens(self) -> bool:
        """Whether an attempt's tokens matter, so that they must be estimated."""
        return self._limits.counts_tokens

    def permits(self) -> int:
        """How many attempts may be in flight now; `most` is the most that may ever be."""
        return self._aimd.permits

    def wait(self, now: float, cost: Cost = FREE) -> float:
        """Seconds until an attempt of `cost` may start: 0 for now, infinite while only an answer can tell."""
        wait = 0.0 if self._held_until <= now else self._held_until - now
        if self._limits.active:
            wait = max(wait, self._limits.wait(now, cost))
        if self._pace is not None:
            wait = max(wait, self._pace.wait(now))
        return wait

    def begin(self, now: float, cost: Cost = FREE) -> Attempt:
        """An attempt starts."""
        if self._pace is not None:
            self._pace.started(now)
        return Attempt(now, self._limits.reserve(now, cost) if self._limits.active else None)

    def answered(self, attempt: Attempt, now: float, usage: Usage | None) -> None:
        """It came through."""
        self.admissions += 1
        if attempt.reservation is not None:
            self._limits.settle(attempt.reservation, now, usage)
        if self._pace is not None:
            self._pace.answered(now, attempt.sent)
        permits = self._aimd.permits
        self._aimd.answered(now)
        if self._aimd.permits != permits:
            self._note(now, f"{self._aimd.phase}: {permits} permits before")

    def failed(self, attempt: Attempt, now: float, error: RequestError | None, *, in_flight: int) -> None:
        """It failed, or was given up; `in_flight` counts it. Only overload speaks for the endpoint: a refusal, or
        a timeout under load. Any other status was delivered as an answer is.
        """
        refused = error is not None and error.is_overload
        if attempt.reservation is not None:
            # What was refused took nothing; of anything else that is not known, and the reservation stands.
            self._limits.settle(attempt.reservation, now, Usage() if refused else None)
        if error is None:
            return
        if refused:
            self._refused(attempt, now, error.retry_after)
        elif error.error_type is InferenceErrorType.TIMEOUT and in_flight > 1:
            self._overloaded(now, "timeout")
        elif error.status_code is not None and self._pace is not None:
            self._pace.answered(now, attempt.sent)

    def told(self, attempt: Attempt, limits: Mapping[str, Observation]) -> None:
        """The response to `attempt` told of the endpoint's limits."""
        self._limits.learn(limits, attempt.sent, attempt.reservation)

    def _refused(self, attempt: Attempt, now: float, retry_after: float | None) -> None:
        self.refusals += 1
        own_doing = self._pace is not None and self._pace.probes(attempt.sent)
        if self._pace is not None:
            cuts = self._pace.cuts
            self._pace.refused(now, attempt.sent, holds=(retry_after or 0.0) >= _COSTLY_HOLD)
            if self._pace.cuts > cuts:
                self._note(now, "refused")
        if not own_doing:
            self._overloaded(now, "refused")
        if retry_after and now + retry_after > self._held_until:
            self._held_until = now + retry_after
            if self._pace is not None and retry_after >= _COSTLY_HOLD:
                self._pace.hold(self._held_until)
            self._note(now, f"held for {retry_after:g} s")
            if retry_after > _LONG_HOLD:
                log.warning("the endpoint asked to wait %.0f s; nothing is sent until then", retry_after)

    def _overloaded(self, now: float, why: str) -> None:
        permits = self._aimd.permits
        self._aimd.overloaded(now)
        if self._aimd.permits != permits:
            self._note(now, f"{why}, {self._aimd.phase}: {permits} permits before")

    def _note(self, now: float, why: str) -> None:
        decision = Decision(now, self.permits(), self._pace.rate(now) if self._pace is not None else None, why)
        self.trace.append(decision)
        log.debug("%.3f: %d permits, %s attempts/s (%s)", *decision)
