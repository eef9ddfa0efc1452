"""What the endpoint has shown it can take: how many attempts at once, and when the next may start.

A sample is one attempt and what became of it. It is *accepted* when a reply with any status but an overload arrives,
or when it has been pending for three times as long as refusals take (`update`): an endpoint refuses at once or not at
all, so slow answers do not delay the samples. It is *refused* when the reply says that the endpoint is busy or that
a limit is reached (`RequestError.is_overload`). An attempt that was counted as accepted while it was pending, and is
refused later, is counted twice. An attempt that is cancelled, times out or loses its connection is not counted, unless
it was counted while it was pending.
The pacer counts samples in the order in which the attempts were sent, because refusals often arrive before answers.
It leaves out samples that were sent before the latest change of the rate.

| signal | meaning | reaction: permits (`adaptive`), pace (`pace`), retries (`retry`) |
|---|---|---|
| only accepted attempts | there is room | WARMUP adds permits each window; OPEN: no pace |
| timeouts while others are in flight | too much at once | BACKOFF cuts permits, RECOVERY adds; spends a retry |
| a few refusals among many | chance | none; no retry spent |
| many refusals, more than the noise | load or noise | WARMUP waits; TEST: a pace near or below the accepted rate |
| nearly all refused, several in a row | a flood | the same, at once |
| fewer refusals in a TEST | a limit on the rate | CRUISE: that pace; it grows while few are refused |
| as many refusals at a clearly lower rate | noise, or a bad backend | OPEN; this share is expected from now on |
| refusals exactly from `n` in flight on | a limit in flight | `n` permits, now and then one more; OPEN |
| every attempt is refused | a used-up minute | CLOSED: single attempts, with pauses up to 15 s |
| an accepted attempt in CLOSED | the next minute | CRUISE at the average rate of the cycle |
| `Retry-After` within `max_wait` | a wait for all rows | nothing starts before its end; with noise only its row waits |
| such waits, however low the rate is | noise | OPEN; this share is expected from now on |
| a longer `Retry-After`, or a quota | a used-up quota | the third in a row ends the run (`run_end`) |
| limit headers | a bucket of known size | waits until it has refilled; they expire (`rate_limit`) |
| 500 or such, while others are answered | a fault of this attempt | spends a retry; chance allows for more |
| several rows fail, no answer in between | an outage | single attempts (`availability`); no retry spent |
| no answer for `max_outage` | the endpoint is gone | ends the run, which can be resumed |
| 400 or such | a fault of the row, or of the account | fails the row; may end the run (`run_end`) |

A refusal spends one of the row's retries only if the endpoint has answered nothing for two minutes. A fault that is
no refusal counts as an accepted attempt if it has a status: the endpoint took the request.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from asyncinfer.config import RemoteParams
from asyncinfer.control.aimd import AIMDController, adaptive_params, fixed_params
from asyncinfer.control.availability import Availability
from asyncinfer.control.levels import Levels
from asyncinfer.control.pacer import Mode, Pacer
from asyncinfer.control.rate_limits import FREE, Cost, RateLimits, Reservation
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.results import Usage

log = logging.getLogger("asyncinfer.control")

_TRACED = 10_000
# The share of refusals, beyond the noise, with which permits are still added.
_TOLERATED = 0.3
# Seconds; a clock may not notice a shorter wait.
_NO_TIME = 1e-6
# An attempt that is pending counts as accepted after so many times the time that refusals take, and at least so
# many seconds; while nothing has been refused yet, after the last figure.
_REFUSAL_TIMES, _SHORTEST_PENDING, _PENDING = 3.0, 0.02, 0.25


class Decision(NamedTuple):
    """What the controller allows from `at` seconds on: permits, attempts a second (None: no limit), and why."""

    at: float
    permits: int
    rate: float | None
    why: str


class Standstill(NamedTuple):
    """Why no attempt may start, and for how many seconds (infinite: until an answer arrives)."""

    reason: str
    seconds: float


class Outcome(Enum):
    """The result of an attempt. `UNKNOWN`: it ended without showing whether the endpoint would have accepted it."""

    PENDING = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class Permit:
    """One attempt under way: when it was sent, while how many others were in flight, and what it reserved.

    `series`: the number of the first attempt at the same rate. `is_counted`: whether it is a sample already, or never
    will be one.
    """

    sent: float
    number: int = 0
    series: int = 0
    level: int = 0
    reservation: Reservation | None = None
    outcome: Outcome = Outcome.PENDING
    is_counted: bool = False


class Endpoint:
    """The state that all rows of one engine share. Not thread-safe: its owner holds a lock.

    A plain one has a fixed number of permits. With `remote` it follows rate limits, and adapts permits and pace
    to what the endpoint takes. `trace` holds the latest decisions.
    """

    def __init__(self, limit: int, remote: RemoteParams | None = None) -> None:
        adaptive = remote is not None and remote.use_adaptive_concurrency
        self._aimd = AIMDController(adaptive_params(remote) if remote is not None and adaptive else fixed_params(limit))
        self._pacer = Pacer() if adaptive else None
        self._levels = Levels()
        self._limits = RateLimits(remote or RemoteParams())
        self._max_wait = remote.max_wait if remote is not None else math.inf
        self.availability = Availability()
        self._held_until = -math.inf
        self._pending: deque[Permit] = deque()
        self._refusal_time: float | None = None
        self._patience = _PENDING
        self._in_flight = 0
        self.most = limit
        self.admissions = 0
        self.refusals = 0
        self.trace: deque[Decision] = deque(maxlen=_TRACED)
        self.decision_count = 0

    @property
    def counts_tokens(self) -> bool:
        """Whether an attempt's tokens matter, so that they must be estimated."""
        return self._limits.counts_tokens

    def permits(self) -> int:
        """How many attempts may be in flight now; `most` is the most that may ever be."""
        return self._aimd.permits

    @property
    def rate(self) -> float | None:
        """Attempts a second that the pacer allows; None for no limit."""
        return self._pacer.rate if self._pacer is not None else None

    def wait(self, now: float, cost: Cost = FREE) -> float:
        """Seconds until an attempt of `cost` may start: 0 for now, infinite while only an answer can tell."""
        wait = max(0.0, self._held_until - now, self.availability.wait(now))
        if self._limits.active:
            wait = max(wait, self._limits.wait(now, cost))
        if self._pacer is not None:
            wait = max(wait, self._pacer.wait(now))
        return wait if wait > _NO_TIME else 0.0

    def update(self, now: float) -> None:
        """Count attempts that have been pending for long as accepted, and add permits whose time has come."""
        if self._pacer is None:
            return
        self._count(now)
        permits = self._aimd.permits
        self._aimd.update(now)
        if self._aimd.permits != permits:
            self._note(now, f"{self._aimd.phase}: {permits} permits before")

    def next_update(self, now: float) -> float:
        """Seconds until `update` may add permits without any news."""
        return self._aimd.next_update(now) if self._pacer is not None else math.inf

    def begin(self, now: float, cost: Cost = FREE) -> Permit:
        """An attempt starts."""
        self.availability.started(now)
        reservation = self._limits.reserve(now, cost) if self._limits.active else None
        attempt = Permit(now, level=self._in_flight, reservation=reservation)
        self._in_flight += 1
        if self._pacer is not None:
            attempt.series, attempt.number = self._pacer.series, self._pacer.started(now)
            self._pending.append(attempt)
        return attempt

    def answered(self, attempt: Permit, now: float, usage: Usage | None) -> None:
        """The endpoint answered the attempt."""
        self._in_flight -= 1
        self.admissions += 1
        self.availability.answered(now)
        if self._pacer is not None:
            self._pacer.answered(now)
        if attempt.reservation is not None:
            self._limits.settle(attempt.reservation, now, usage)
        self._end(now, attempt, Outcome.ACCEPTED)

    def failed(
        self,
        attempt: Permit,
        now: float,
        error: RequestError | None,
        *,
        in_flight: int,
        row: Hashable = None,
        is_suspect: bool = False,
    ) -> None:
        """The attempt failed; without an `error` it was cancelled. `in_flight` includes it. `row` tells rows apart."""
        self._in_flight -= 1
        refused = error is not None and error.is_overload
        if attempt.reservation is not None:
            # A refused request used no tokens. After other failures the usage is unknown, so the reservation stays.
            self._limits.settle(attempt.reservation, now, Usage() if refused else None)
        if error is None:
            if self._pacer is not None:
                self._pacer.ended()
            self._end(now, attempt, Outcome.UNKNOWN)
            return
        was_probing = self.availability.is_probing
        self.availability.failed(now, error, in_flight, row, is_suspect=is_suspect)
        if self.availability.is_probing and not was_probing:
            log.warning(
                "Every row fails, the last one with: %s. Now and then a row is tried until one is answered.", error
            )
        if refused:
            self._refused(attempt, now, error.retry_after)
            return
        if self._pacer is not None:
            self._pacer.ended()
        if error.error_type is InferenceErrorType.TIMEOUT and in_flight > 1:
            self._end(now, attempt, Outcome.UNKNOWN)
            self._overloaded(now, "timeout")
        elif error.status_code is not None:
            self._end(now, attempt, Outcome.ACCEPTED)
        else:
            self._end(now, attempt, Outcome.UNKNOWN)

    def observe_limits(self, attempt: Permit, limits: Mapping[str, LimitObservation], now: float) -> None:
        """The response to `attempt` told of the endpoint's limits."""
        self._limits.observe(limits, now, attempt.sent, attempt.reservation)

    def standstill(self, now: float, cost: Cost = FREE) -> Standstill | None:
        """Why the next attempt waits, and for how many seconds; None if it does not wait."""
        waits = [
            Standstill("the endpoint asked to wait", self._held_until - now),
            Standstill(f"the endpoint fails every row ({self.availability.last_error})", self.availability.wait(now)),
            Standstill("a rate limit is used up", self._limits.wait(now, cost) if self._limits.active else 0.0),
            Standstill("the endpoint refuses every request", self._pacer.wait(now) if self._pacer is not None else 0.0),
        ]
        longest = max(waits, key=lambda wait: wait.seconds)
        return longest if longest.seconds > _NO_TIME else None

    def _end(self, now: float, attempt: Permit, outcome: Outcome) -> None:
        """Note the result of an attempt. It becomes a sample after all earlier attempts."""
        if self._pacer is None:
            return
        if not attempt.is_counted:
            attempt.outcome = outcome
            self._count(now)
        elif outcome is Outcome.REFUSED:
            self._sample(now, attempt, refused=True)

    def _count(self, now: float) -> None:
        """Turn attempts into samples, in the order in which they were sent.

        Refusals often arrive before the answers to earlier attempts. Counted at once, they would look too frequent.
        """
        pending, patience = self._pending, self._patience
        while pending:
            attempt = pending[0]
            if attempt.outcome is Outcome.PENDING and attempt.sent > now - patience:
                return
            pending.popleft()
            attempt.is_counted = True
            if attempt.outcome is not Outcome.UNKNOWN:
                self._sample(now, attempt, refused=attempt.outcome is Outcome.REFUSED)

    def _refused(self, attempt: Permit, now: float, retry_after: float | None) -> None:
        self.refusals += 1
        if self._pacer is not None:
            self._refusal_time = self._pacer.lag = max(now - attempt.sent, 0.9 * (self._refusal_time or 0.0))
            self._patience = max(_SHORTEST_PENDING, _REFUSAL_TIMES * self._refusal_time)
            is_explained = self._concerns_level(now, attempt, refused=True)
            if is_explained:
                self._pacer.ended()
            else:
                self._pacer.refused(now, attempt.number)
            self._end(now, attempt, Outcome.UNKNOWN if is_explained else Outcome.REFUSED)
        if self._pacer is not None and self._pacer.noise:
            return  # It may be one at random, which concerns only its row.
        if retry_after and retry_after <= self._max_wait and now + retry_after > self._held_until:
            self._held_until = now + retry_after
            if self._pacer is not None:
                self._pacer.hold(now, self._held_until)
            self._note(now, f"held for {retry_after:g} s")

    def _sample(self, now: float, attempt: Permit, *, refused: bool) -> None:
        assert self._pacer is not None
        permits, mode = self._aimd.permits, self._pacer.mode
        if not refused:
            self._concerns_level(now, attempt, refused=False)
        self._pacer.sample(now, attempt.number, refused=refused)
        if self._aimd.permits != permits:
            self._note(now, f"{self._aimd.phase}: {permits} permits before")
        if self._pacer.mode is not mode:
            self._note(now, self._pacer.mode.name.lower())

    def _concerns_level(self, now: float, attempt: Permit, *, refused: bool) -> bool:
        """Report an attempt to the AIMD controller. Returns whether a limit on those in flight explains its refusal."""
        assert self._pacer is not None
        level, mode = attempt.level, self._pacer.mode
        if mode is Mode.OPEN:
            # A flood makes levels and refusals rise together, whatever the cause.
            self._levels.clear()
        else:
            self._levels.add(attempt.number, level, attempt.series, refused=refused)
        if refused:
            self._aimd.tolerance = self._pacer.noise + _TOLERATED
            return self._aimd.refused(now, level) or self._finds_limit(now, level)
        self._aimd.accepted(now, level)
        if mode is not Mode.OPEN and self._aimd.limit is None:
            self._finds_limit(now, level)
        return False

    def _finds_limit(self, now: float, level: int) -> bool:
        """Whether the samples now show a limit on the attempts in flight, and it explains the last refusal."""
        limit = self._levels.limit()
        if limit is None:
            return False
        assert self._pacer is not None
        self._levels.doubt()
        self._aimd.found_limit(limit, now)
        self._pacer.reset(now)
        self._note(now, f"at most {limit} attempts in flight are accepted")
        return level >= limit

    def _overloaded(self, now: float, why: str) -> None:
        permits = self._aimd.permits
        self._aimd.overloaded(now)
        if self._aimd.permits != permits:
            self._note(now, f"{why}, {self._aimd.phase}: {permits} permits before")

    def _note(self, now: float, why: str) -> None:
        decision = Decision(now, self.permits(), self.rate, why)
        self.trace.append(decision)
        self.decision_count += 1
        log.debug("%.3f: %d permits, %s attempts/s (%s)", *decision)
