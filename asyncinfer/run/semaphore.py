"""Grants permits for attempts, in the order of the calls, as soon as the endpoint allows."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping

from asyncinfer.aio.clock import Clock
from asyncinfer.control.availability import Health
from asyncinfer.control.decisions import Decision
from asyncinfer.control.endpoint import Endpoint, Standstill
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import ONE_REQUEST, Cost
from asyncinfer.errors import RequestError
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.usage import Usage

# How long one loop waits for tokens that another loop has reserved (seconds).
_PATIENCE = 1.0
# Times that differ by less are the same, so that a timer need not be set again (seconds).
_SLACK = 0.001


class AdaptiveSemaphore:
    """The permits of one engine on one event loop. All runs, calls and streams there share them.

    The controller decides how many permits there are, and when the next attempt may start. Event loops share the
    controller.

    Args:
        lock: Protects the endpoint's state. It is never held during an await.
        politeness: How long a permit rests after its release (seconds).
    """

    def __init__(self, endpoint: Endpoint, lock: threading.Lock, clock: Clock, politeness: float = 0.0) -> None:
        self._endpoint, self._lock, self._clock, self._politeness = endpoint, lock, clock, politeness
        self._queue: deque[_Turn] = deque()
        self._resting: deque[float] = deque()
        self._is_scheduled = False
        self._alarm: Callable[[], None] | None = None
        self._alarm_due = math.inf
        self.in_use = 0

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
    def waiting(self) -> int:
        """How many calls wait for a permit."""
        return len(self._queue)

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, so that the cost of an attempt must be estimated."""
        return self._endpoint.counts_tokens

    @property
    def answers(self) -> int:
        """How many attempts the endpoint has answered so far."""
        return self._endpoint.answers

    def acquire_nowait(self, cost: Cost = ONE_REQUEST, owner: object = None) -> Permit | None:
        """A permit, if one is free and the queue is empty or holds only the call of `owner`. Otherwise None."""
        queue = self._queue
        if queue and (owner is None or len(queue) > 1 or queue[0].owner is not owner):
            return None
        return self._take(cost)[0]

    async def acquire(self, cost: Callable[[], Cost] = lambda: ONE_REQUEST, owner: object = None) -> Permit:
        """Wait for a permit. Permits are granted in the order of the calls. A cancelled call takes none."""
        if (permit := self.acquire_nowait(cost())) is not None:
            return permit
        turn = _Turn(cost, owner, self._clock.now())
        self._queue.append(turn)
        try:
            self._grant()
            return await turn.permit
        except BaseException:
            if turn in self._queue:
                self._queue.remove(turn)
            if turn.permit.done() and not turn.permit.cancelled() and turn.permit.exception() is None:
                self.release(turn.permit.result())  # It was granted when the call was already cancelled.
            self._grant()
            raise

    def release(
        self,
        permit: Permit,
        *,
        answered: bool = False,
        usage: Usage | None = None,
        error: RequestError | None = None,
        row: Hashable = None,
        is_suspect: bool = False,
    ) -> None:
        """Release a permit, and report the result of the attempt to the controller.

        An attempt without an answer and without an error was cancelled.

        Args:
            row: Identifies the row among the rows of all runs.
            is_suspect: The row failed before, after other rows had been answered.
        """
        now, in_flight = self._clock.now(), self.in_use
        # The permit is given back first, so that an error below cannot leak it.
        self.in_use -= 1
        if self._politeness:
            self._resting.append(now + self._politeness)
        try:
            with self._lock:
                if answered:
                    self._endpoint.answered(permit, now, usage)
                else:
                    self._endpoint.failed(permit, now, error, in_flight=in_flight, row=row, is_suspect=is_suspect)
        finally:
            queue = self._queue
            if len(queue) == 1 and queue[0].owner is not None:
                self._grant_soon()  # The owner may take the permit before that, for another row.
            elif queue:
                self._grant()

    def observe_limits(self, permit: Permit, limits: Mapping[str, LimitObservation]) -> None:
        """Report the limits that a response shows."""
        with self._lock:
            self._endpoint.observe_limits(permit, limits, self._clock.now())

    def health(self) -> Health:
        """The state of the endpoint, for a retry decision."""
        with self._lock:
            return self._endpoint.availability.health(self._clock.now())

    def out_for(self) -> float:
        """Seconds since the outage began; 0 without an outage."""
        with self._lock:
            return self._endpoint.availability.out_for(self._clock.now())

    def is_in_doubt(self) -> bool:
        """Whether several attempts in a row failed."""
        return self._endpoint.availability.is_in_doubt

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

    def _grant_soon(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._grant_scheduled)

    def _grant_scheduled(self) -> None:
        self._is_scheduled = False
        self._grant()

    def _grant(self) -> None:
        """Grant permits to the first in line, as far as there are any. If the next one is due at a known time, look
        again then.
        """
        queue = self._queue
        while queue:
            turn = queue[0]
            if not turn.permit.done():
                try:
                    permit, wait = self._take(turn.cost(), turn.began + _PATIENCE - self._clock.now())
                except Exception as error:  # The row cannot be read, for example.
                    turn.permit.set_exception(error)
                else:
                    if permit is None:
                        self._look_again(wait)
                        return
                    turn.permit.set_result(permit)
            queue.popleft()
        self._look_again(math.inf)

    def _look_again(self, wait: float) -> None:
        """Call `_grant` after `wait` seconds, if that is finite."""
        due = self._clock.now() + wait
        if self._alarm is not None:
            if self._alarm_due - _SLACK <= due < math.inf:
                return
            self._alarm()
            self._alarm = None
        if due < math.inf:
            self._alarm, self._alarm_due = self._clock.call_later(wait, self._ring), due

    def _ring(self) -> None:
        self._alarm = None
        self._grant()

    def _take(self, cost: Cost, patience: float = _PATIENCE) -> tuple[Permit | None, float]:
        """A permit, or the seconds until there may be one: infinite if that depends on attempts in flight.

        Args:
            patience: How much longer to wait for attempts on other loops (seconds).
        """
        now = self._clock.now()
        resting = self._resting
        while resting and resting[0] <= now:
            resting.popleft()
        with self._lock:
            self._endpoint.update(now)
            if self.in_use + len(resting) >= self._endpoint.permits():
                return None, min(resting[0] - now if resting else math.inf, self._endpoint.next_update(now))
            wait = self._endpoint.wait(now, cost)
            if wait == math.inf and not self.in_use:
                # An attempt on another event loop has reserved the tokens. Its end does not wake this loop, and that
                # loop may be blocked by a method that waits for this one. So the attempt starts after a while.
                wait = 0.0 if patience <= 0.0 else patience
            if wait == 0.0:
                self.in_use += 1
                return self._endpoint.begin(now, cost), 0.0
        return None, wait


class _Turn:
    """A place in the queue. `permit` is set when it is granted."""

    __slots__ = ("began", "cost", "owner", "permit")

    def __init__(self, cost: Callable[[], Cost], owner: object, began: float) -> None:
        self.cost, self.owner, self.began = cost, owner, began
        self.permit: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
