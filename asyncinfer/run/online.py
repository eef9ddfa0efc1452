"""The executor that sends one request per row: permits, attempts and retries."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable

import anyio

from asyncinfer.aio.tasks import task_group
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand
from asyncinfer.control.run_end import RunEnd
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.events import AttemptFailed, Events, Latency, LimitsChanged
from asyncinfer.run.executor import OutcomeSink, RowFeed
from asyncinfer.run.row_queue import QueuedRow, RowQueue
from asyncinfer.run.workers import Job, Workers
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import failure_of
from asyncinfer.types.times import duration_text

log = logging.getLogger("asyncinfer")

# Open rows for each permit, so that rows that are saved or wait for a retry leave no permit unused.
_ROWS_PER_PERMIT = 4


class OnlineExecutor:
    """Gets rows answered by one engine, as its permits allow.

    Args:
        is_only_row: The run has one row, so that a rejection of it ends the run.
    """

    is_batch = False

    def __init__(
        self, access: EngineAccess, *, is_only_row: bool = False, jitter: Callable[[], float] = random.random
    ) -> None:
        self._access, self._is_only_row = access, is_only_row
        self._semaphore, self._clock = access.semaphore, access.clock
        self.capacity = _ROWS_PER_PERMIT * self._semaphore.most
        self._queue = RowQueue(access.clock, self._semaphore.is_in_doubt)
        self._attempts = Attempts(jitter=jitter)
        self._pattern = access.failure_pattern()
        self._began = self._last_sent = self._clock.now()
        self._decisions = self._semaphore.decision_count
        self._dead: EngineDeadError | None = None
        self._workers: Workers | None = None
        # The row for which the dispatcher waits for a permit. A worker that gets a permit sooner takes the row.
        self._waiting: QueuedRow | None = None
        self._feeding, self._admission, self._working = anyio.CancelScope(), anyio.CancelScope(), anyio.CancelScope()

    def is_sent_alone(self, conversation: Conversation) -> bool:
        return True

    async def run(self, feed: RowFeed, outcomes: OutcomeSink, events: Events) -> None:
        self._feed, self._outcomes, self._events = feed, outcomes, events
        try:
            with self._working:
                await self._work()
        finally:
            for job in self._workers.handed if self._workers is not None else ():
                self._semaphore.release(job.permit)

    def stop(self, grace: float) -> None:
        self._feeding.cancel()
        self._working.deadline = anyio.current_time() + grace

    @property
    def silent_for(self) -> float:
        return self._clock.now() - self._last_sent

    def why_waiting(self) -> str | None:
        stop = self._semaphore.standstill() if self._waiting is not None else None
        if stop is not None and stop.seconds < math.inf:
            return f"{stop.reason}; the next request is sent in {duration_text(stop.seconds)}"
        if stop is not None:
            return f"{stop.reason}; the next request is sent after the next answer"
        seconds = self._queue.next_retry()
        if seconds is not None and not self._semaphore.in_use:
            return f"all open rows wait for a retry; the next request is sent in {duration_text(seconds)}"
        return self._access.engine.why_waiting()

    async def _work(self) -> None:
        async with task_group() as tasks:
            workers = self._workers = Workers(tasks, self._attempt, self._more)
            with self._feeding:
                async with task_group() as feeders:
                    feeders.start_soon(self._read)
                    await self._dispatch(workers)
                    feeders.cancel_scope.cancel()
            workers.release()

    async def _read(self) -> None:
        while True:
            await self._queue.wait_for_room(self._semaphore.limit)
            rows = await self._feed.read()
            if rows is None:
                break
            self._queue.add(rows)
        self._queue.exhaust()

    # Permits

    async def _dispatch(self, workers: Workers) -> None:
        while (queued := await self._queue.next()) is not None:
            self._waiting = queued
            permit = await self._permitted()
            self._start(workers, permit)

    def _start(self, workers: Workers, permit: Permit | None) -> None:
        queued, self._waiting = self._waiting, None
        if queued is None:
            return  # A worker has taken it.
        if permit is not None:
            workers.start(Job(queued, permit))
        else:
            self._fail(queued, self._dead)

    async def _permitted(self) -> Permit | None:
        """A permit for the row that waits. None if the engine is dead or dies before there is one, or if a worker takes
        the row first.
        """
        if self._dead is not None:
            return None
        permit = self._semaphore.acquire_nowait(self._demand())
        if permit is not None:
            return permit
        with anyio.CancelScope() as self._admission:
            permit = await self._semaphore.acquire(self._demand, owner=self)
        if permit is not None and (self._dead is not None or self._waiting is None):  # Both may have changed meanwhile.
            self._semaphore.release(permit)
            return None
        return permit

    def _demand(self) -> Demand:
        """What the row that waits will take of the endpoint's limits."""
        return self._access.demand(self._waiting.row.conversation) if self._waiting is not None else ONE_REQUEST

    def _more(self) -> Job | None:
        """A job for a worker that has just finished one, if it can start at once."""
        if self._dead is not None or self._feed.is_stopped:
            return None
        waiting = self._waiting
        queued = waiting if waiting is not None else self._queue.next_nowait()
        if queued is None:
            return None
        permit = self._semaphore.acquire_nowait(self._access.demand(queued.row.conversation), owner=self)
        if permit is None:
            if waiting is None:
                self._queue.put_back(queued)
            return None
        if waiting is not None:
            self._waiting = self._queue.next_nowait()
            if self._waiting is None:
                self._admission.cancel()
        return Job(queued, permit)

    # Attempts

    async def _attempt(self, job: Job) -> None:
        """Make one attempt, and act on the result."""
        queued, permit = job
        sent = self._last_sent = permit.sent
        row = queued.row
        try:
            completion = await self._attempts.generate(
                self._access, permit, queued, row.conversation, row_id=(id(self), row.index)
            )
        except RequestError as error:
            self._failed_once(queued, permit, error, self._latency(queued, sent))
        except Exception as error:
            if isinstance(error, EngineDeadError):
                self._end(error)
            else:
                log.debug("row %d: the engine raised", row.index, exc_info=error)
            name = self._semaphore.names[permit.endpoint]
            self._events.emit(AttemptFailed(row.index, error, None, self._latency(queued, sent), name))
            self._fail(queued, error)
        else:
            self._pattern.answered()
            latency = self._latency(queued, sent, completion.first_byte)
            await self._outcomes.answered(row, completion, latency)
            self._queue.finish()
        if self._semaphore.decision_count != self._decisions:
            self._report_decisions()

    def _latency(self, queued: QueuedRow, sent: float, first_byte: float | None = None) -> Latency:
        return Latency(sent - queued.ready_at, self._clock.now() - sent, first_byte)

    def _report_decisions(self) -> None:
        count = self._semaphore.decision_count
        for decision in self._semaphore.latest_decisions(count - self._decisions):
            self._events.emit(LimitsChanged(decision))
        self._decisions = count

    def _failed_once(self, queued: QueuedRow, permit: Permit, error: RequestError, latency: Latency) -> None:
        retry = self._attempts.retry(self._access, permit, queued, error)
        end = self._access.run_end(
            self._pattern, permit, error, retry, began=self._began, is_only_row=self._is_only_row
        )
        if end is not None:
            self._end_early(end, error)
        name = self._semaphore.names[permit.endpoint]
        has_room = error.usage is None or self._feed.attempt_failed(queued.row, error.usage)
        index, is_final = queued.row.index, retry.is_final or self._dead is not None or not has_room
        self._events.emit(AttemptFailed(index, error, None if is_final else retry.after, latency, name))
        if is_final:
            self._fail(queued, self._dead if end is not None else error)
            return
        log.debug("row %d: %s; again in %.2f s", index, error, retry.after)
        self._queue.retry(queued, retry.after)

    def _end_early(self, end: RunEnd, error: RequestError) -> None:
        self._end(end.error(error), is_conclusion=True)

    def _end(self, error: EngineDeadError, *, is_conclusion: bool = False) -> None:
        """From now on, rows fail without an attempt."""
        if self._dead is None:
            self._dead = error
            self._admission.cancel()
            self._queue.stop_waiting()
            self._outcomes.ended_early(error, is_conclusion=is_conclusion)

    def _fail(self, queued: QueuedRow, error: Exception | None) -> None:
        self._outcomes.failed(queued.row, failure_of(error))
        self._queue.finish()
