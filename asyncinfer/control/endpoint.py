"""The state of one endpoint: how many attempts it may get at once, and when the next may start.

`asyncinfer.control` describes which signals lead to which reactions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping, Sequence

from asyncinfer.config import RemoteParams
from asyncinfer.control.adaptive import AdaptiveConcurrency
from asyncinfer.control.aimd import AIMDController, adaptive_params, fixed_params
from asyncinfer.control.availability import Availability, Health
from asyncinfer.control.decisions import Decision, DecisionLog
from asyncinfer.control.pacer import Mode
from asyncinfer.control.permit import AttemptResult, Permit
from asyncinfer.control.permit_source import PermitSource, Standstill
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand, RateLimits
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer.control")

# A shorter wait, in seconds, counts as no wait, because a clock may not show it.
_NO_TIME = 1e-6


class Endpoint(PermitSource):
    """The permits, the pace and the rate limits of one endpoint.

    Args:
        limit: The number of permits; with adaptive concurrency, the largest number.
        remote: The settings of the endpoint. None: the number of permits is fixed, and there are no rate limits.
        decisions: Where decisions are noted; by default, a new log.
        is_alone: No other endpoint answers the rows, so that an outage is logged.

    Attributes:
        availability: Whether there is an outage.
    """

    size, names = 1, (None,)

    def __init__(
        self,
        limit: int,
        remote: RemoteParams | None = None,
        decisions: DecisionLog | None = None,
        *,
        is_alone: bool = True,
    ) -> None:
        self.most, self._is_alone = limit, is_alone
        self.availability = Availability()
        self.decisions = decisions or DecisionLog()
        self.answers = 0
        self._limits = RateLimits(remote or RemoteParams())
        self._max_wait = remote.max_wait if remote is not None else math.inf
        # When the wait that the endpoint requested (`Retry-After`) ends. It applies without a pacer too.
        self._delayed_until = -math.inf
        if remote is not None and remote.use_adaptive_concurrency:
            self._aimd = AIMDController(adaptive_params(remote, limit))
            self._adaptive = AdaptiveConcurrency(self._aimd, self.decisions)
            self._pacer = self._adaptive.pacer
        else:
            self._aimd = AIMDController(fixed_params(limit))
            self._adaptive = self._pacer = None

    # What is allowed now

    @property
    def counts_tokens(self) -> bool:
        return self._limits.counts_tokens

    @property
    def rate(self) -> float | None:
        """How many attempts may start per second; None for no limit."""
        return self._pacer.rate if self._pacer is not None else None

    @property
    def is_closed(self) -> bool:
        """Whether the endpoint refuses every request, so that only single ones are sent."""
        return self._pacer is not None and self._pacer.mode is Mode.CLOSED

    def permits(self) -> int:
        return self._aimd.permits

    def start(
        self, now: float, demand: Demand = ONE_REQUEST, held: Sequence[int] = (0,), *, force: bool = False
    ) -> Permit | float:
        if self._adaptive is not None:
            self._adaptive.update(now)
        if held[0] >= self._aimd.permits:
            return self.next_update(now)
        wait = self.wait(now, demand)
        return self.begin(now, demand) if wait == 0.0 or (force and wait == math.inf) else wait

    def wait(self, now: float, demand: Demand = ONE_REQUEST) -> float:
        """Seconds until an attempt of `demand` may start; 0 for now, infinite if that depends on the next answer."""
        wait = self._delayed_until - now
        if self.availability.is_spacing:
            wait = max(wait, self.availability.wait(now))
        if self._limits.active:
            wait = max(wait, self._limits.wait(now, demand))
        if self._pacer is not None:
            wait = max(wait, self._pacer.wait(now))
        return wait if wait > _NO_TIME else 0.0

    def standstill(self, now: float, demand: Demand = ONE_REQUEST) -> Standstill | None:
        waits = [
            Standstill("the endpoint asked to wait", self._delayed_until - now),
            Standstill(f"the endpoint fails every row ({self.availability.last_error})", self.availability.wait(now)),
            Standstill("a rate limit is used up", self._limits.wait(now, demand) if self._limits.active else 0.0),
            self._pacer_wait(now),
        ]
        longest = max(waits, key=lambda wait: wait.seconds)
        return longest if longest.seconds > _NO_TIME else None

    def _pacer_wait(self, now: float) -> Standstill:
        """How long the pacer makes the next attempt wait."""
        if self._pacer is None:
            return Standstill("", 0.0)
        reason = "the endpoint refuses every request" if self.is_closed else "requests are sent at a lower rate"
        return Standstill(reason, self._pacer.wait(now))

    def update(self, now: float) -> None:
        """Count attempts as accepted that have been pending for a long time. Add permits at the end of a window."""
        if self._adaptive is not None:
            self._adaptive.update(now)

    def next_update(self, now: float) -> float:
        """Seconds until `update` may add permits even if nothing else happens."""
        return self._aimd.next_update(now) if self._adaptive is not None else math.inf

    # What happens to attempts

    def begin(self, now: float, demand: Demand = ONE_REQUEST) -> Permit:
        """An attempt starts."""
        self.availability.started(now)
        reservation = self._limits.reserve(now, demand) if self._limits.active else None
        if self._adaptive is None:
            return Permit(now, reservation=reservation)
        return self._adaptive.started(now, reservation)

    def answered(self, permit: Permit, now: float, usage: Usage | None) -> None:
        self.answers += 1
        self.availability.answered(now)
        if permit.reservation is not None:
            self._limits.settle(permit.reservation, now, usage)
        if self._adaptive is not None:
            self._adaptive.answered(now, permit)

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
        is_refused = error is not None and error.is_overload
        if permit.reservation is not None:
            # A refused request used no tokens. After other failures the usage is unknown, so the reservation stays.
            self._limits.settle(permit.reservation, now, Usage() if is_refused else None)
        if error is not None:
            self._note_failure(now, error, in_flight, row, is_suspect=is_suspect)
            if is_refused:
                self._refused(now, permit, error.retry_after)
                return
        if self._adaptive is None:
            return
        if error is not None and error.error_type is InferenceErrorType.TIMEOUT and in_flight > 1:
            self._adaptive.timed_out(now, permit)
        else:
            has_status = error is not None and error.status_code is not None
            self._adaptive.ended(now, permit, AttemptResult.ACCEPTED if has_status else AttemptResult.UNKNOWN)

    def observe_limits(self, permit: Permit, limits: Mapping[str, LimitObservation], now: float) -> None:
        self._limits.observe(limits, now, permit.sent, permit.reservation)

    # What the attempts have shown

    @property
    def is_in_doubt(self) -> bool:
        return self.availability.is_in_doubt

    def health(self, endpoint: int, now: float) -> Health:
        return self.availability.health(now)

    def out_for(self, now: float) -> float:
        return self.availability.out_for(now)

    def _note_failure(
        self, now: float, error: RequestError, in_flight: int, row: Hashable, *, is_suspect: bool
    ) -> None:
        was_spacing = self.availability.is_spacing
        self.availability.failed(now, error, in_flight, row, is_suspect=is_suspect)
        if self._is_alone and self.availability.is_spacing and not was_spacing:
            log.warning("Every row fails, the last one with: %s. Single rows are tried until one is answered.", error)

    def _refused(self, now: float, permit: Permit, retry_after: float | None) -> None:
        if self._adaptive is not None:
            self._adaptive.refused(now, permit)
            if self._adaptive.pacer.noise_share:
                return  # The refusal may be noise. Then the requested wait concerns only its row.
        if retry_after and retry_after <= self._max_wait and now + retry_after > self._delayed_until:
            self._delayed_until = now + retry_after
            if self._pacer is not None:
                self._pacer.delay_until(now, self._delayed_until)
            why = f"the endpoint asked to wait {retry_after:g} s"
            self.decisions.add(Decision(now, self.permits(), self.rate, why))
