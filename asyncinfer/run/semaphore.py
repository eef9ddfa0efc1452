"""Grants permits for attempts, in the order of the calls, as soon as the endpoint allows."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Hashable

from asyncinfer.aio.clock import Clock
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import PermitSource
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand
from asyncinfer.errors import RequestError
from asyncinfer.run.endpoint_view import EndpointView
from asyncinfer.types.usage import Usage

# How long one loop waits for tokens that another loop has reserved (seconds).
_OTHER_LOOPS_TIMEOUT = 1.0
# Times that differ by less are the same, so that a timer need not be set again (seconds).
_SLACK = 0.001


class AdaptiveSemaphore(EndpointView):
    """The permits of one engine on one event loop. All runs, calls and streams there share them.

    The controller decides how many permits there are, and when the next attempt may start. Event loops share the
    controller. An engine with several endpoints has a controller for each; a permit is for one of them.

    Args:
        endpoint: The endpoint, or a group of endpoints.
        lock: Protects the endpoint's state. It is never held during an await.
        politeness: How long a permit rests after its release (seconds).
    """

    def __init__(self, endpoint: PermitSource, lock: threading.Lock, clock: Clock, politeness: float = 0.0) -> None:
        super().__init__(endpoint, lock, clock)
        self._politeness = politeness
        self._queue: deque[_Turn] = deque()
        # The permits that are in use or rest, for each endpoint; and when those that rest are free, with the endpoint.
        self._held = [0] * endpoint.size
        self._resting: deque[tuple[float, int]] = deque()
        self._is_scheduled = False
        self._alarm: Callable[[], None] | None = None
        self._alarm_due = math.inf
        self.in_use = 0

    @property
    def waiting(self) -> int:
        """How many calls wait for a permit."""
        return len(self._queue)

    def acquire_nowait(self, demand: Demand = ONE_REQUEST, owner: object = None) -> Permit | None:
        """A permit, if one is free and the queue is empty or holds only the call of `owner`. Otherwise None."""
        queue = self._queue
        if queue and (owner is None or len(queue) > 1 or queue[0].owner is not owner):
            return None
        return self._take(demand)[0]

    async def acquire(self, demand: Callable[[], Demand] = lambda: ONE_REQUEST, owner: object = None) -> Permit:
        """Wait for a permit. Permits are granted in the order of the calls. A cancelled call takes none."""
        if (permit := self.acquire_nowait(demand())) is not None:
            return permit
        turn = _Turn(demand, owner, self._clock.now())
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
            self._resting.append((now + self._politeness, permit.endpoint))
        else:
            self._held[permit.endpoint] -= 1
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
                    permit, wait = self._take(turn.demand(), turn.began + _OTHER_LOOPS_TIMEOUT - self._clock.now())
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

    def _take(self, demand: Demand, timeout: float = _OTHER_LOOPS_TIMEOUT) -> tuple[Permit | None, float]:
        """A permit, or the seconds until there may be one: infinite if that depends on attempts in flight.

        Args:
            timeout: How much longer to wait for attempts on other loops (seconds).
        """
        now = self._clock.now()
        resting = self._resting
        while resting and resting[0][0] <= now:
            self._held[resting.popleft()[1]] -= 1
        with self._lock:
            started = self._endpoint.start(now, demand, self._held, force=timeout <= 0.0 and not self.in_use)
            if isinstance(started, Permit):
                self.in_use += 1
                self._held[started.endpoint] += 1
                return started, 0.0
        if started == math.inf and not self.in_use and timeout > 0.0:
            # An attempt on another event loop has reserved the tokens. Its end does not wake this loop, and that
            # loop may be blocked by a method that waits for this one. So the attempt starts after a while.
            started = timeout
        return None, min(started, resting[0][0] - now) if resting else started


class _Turn:
    """A place in the queue. `permit` is set when it is granted."""

    __slots__ = ("began", "demand", "owner", "permit")

    def __init__(self, demand: Callable[[], Demand], owner: object, began: float) -> None:
        self.demand, self.owner, self.began = demand, owner, began
        self.permit: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
