"""The run loop: admit rows, attempt them, decide what follows, save the answers."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from asyncinfer.aio.threads import DISK
from asyncinfer.control.endpoint import Attempt
from asyncinfer.control.rate_limit import FREE, Cost
from asyncinfer.control.run_end import RunEnd, duration
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.attempts import Attempts
from asyncinfer.run.ledger import Ledger
from asyncinfer.run.progress import Tally
from asyncinfer.run.reader import Reader
from asyncinfer.run.rows import Row
from asyncinfer.run.saving import saved_json
from asyncinfer.run.tasks import task_group
from asyncinfer.run.window import Window
from asyncinfer.run.workers import Workers
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import encode
from asyncinfer.scratch.writer import ScratchWriter
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail, failure_of

log = logging.getLogger("asyncinfer")

Outcome = Conversation | FailureDetail


@dataclass
class Stop:
    """How a run is asked to end early: `asked` is set, rows in flight get `grace` seconds."""

    asked: anyio.Event = field(default_factory=anyio.Event)
    grace: float = 10.0


class Loop:
    """Takes rows from a reader until all are answered or failed.

    `deliver(index, outcome)` is called on the loop once a row is durable, or has failed. With `hold`, a
    row stays open, and keeps its place in the window, until `taken()` is called for it.
    """

    def __init__(
        self,
        answerer: Answerer,
        ledger: Ledger,
        tally: Tally,
        scratch: ScratchFile | None,
        deliver: Callable[[int, Outcome], None] | None,
        *,
        hold: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._answerer, self._ledger, self._tally = answerer, ledger, tally
        self._deliver, self._hold = deliver, hold
        self._gate, self._clock = answerer.gate, answerer.clock
        # Enough open rows that saving and backing off keep no permit idle; an iterator's consumer holds them back.
        self._window = Window(4 * self._gate.most + (0 if hold else 256), answerer.clock, self._gate.is_in_doubt)
        self._writer = ScratchWriter(scratch, self._saved) if scratch is not None else None
        self._workers: Workers | None = None
        self._feeding = anyio.CancelScope()
        self._admission = anyio.CancelScope()
        self.dead: EngineDeadError | None = None
        self.stopped, self._stop = False, Stop()
        # The row that the dispatcher waits for a permit for. A worker that gets one sooner takes the row.
        self._waiting: Row | None = None
        self._attempts = Attempts(jitter=jitter)
        self._pattern = answerer.failure_pattern()

    async def run(self, reader: Reader, stop: Stop) -> None:
        """Run until every row is done, the engine is dead, or the run is stopped; answers that have come
        by then are saved, whatever ended it.

        Raises:
            ScratchError: an answer could not be saved. InputError: the input changed underfoot.
        """
        self._stop = stop
        async with task_group() as tasks:
            if self._writer is not None:
                tasks.start_soon(self._writer.run)
            try:
                await self._work(reader)
            finally:
                self._return_permits()
                if self._writer is not None:
                    self._writer.close()

    def _return_permits(self) -> None:
        """Give back the permits of rows whose task was cancelled before it started on them."""
        for row in self._workers.handed if self._workers is not None else ():
            if row.attempt is not None:
                self._gate.leave(row.attempt)

    def taken(self) -> None:
        """A held row's outcome was consumed."""
        self._window.finish()

    def why_waiting(self) -> str | None:
        """Why no row can be sent, and until when; None if the run only waits for answers or for its source."""
        stop = self._gate.standstill() if self._waiting is not None else None
        if stop is not None and stop.seconds < math.inf:
            return f"{stop.reason}; the next request is sent in {duration(stop.seconds)}"
        if stop is not None:
            return f"{stop.reason}; the next request is sent after the next answer"
        seconds = self._window.next_retry()
        if seconds is not None and not self._gate.in_use:
            return f"all open rows wait for a retry; the next request is sent in {duration(seconds)}"
        return None

    async def _work(self, reader: Reader) -> None:
        async with task_group() as tasks:
            workers = self._workers = Workers(tasks, self._attempt, self._more)
            with self._feeding:
                async with task_group() as feeders:
                    feeders.start_soon(self._read, reader)
                    feeders.start_soon(self._watch)
                    await self._dispatch(workers)
                    feeders.cancel_scope.cancel()
            workers.release()
            if self.stopped:
                tasks.cancel_scope.deadline = anyio.current_time() + self._stop.grace

    async def _watch(self) -> None:
        await self._stop.asked.wait()
        self.stopped = True
        self._feeding.cancel()

    async def _read(self, reader: Reader) -> None:
        while (rows := await reader.read(await self._window.room(self._gate.limit))) is not None:
            self._window.open(len(rows))
            for row in rows:
                await self._begin(row)
        self._window.exhaust()

    async def _begin(self, row: Row) -> None:
        if row.error is not None:
            self._fail(row, failure_of(row.error))
        elif row.answered is None:
            self._window.offer(row)
        elif self._ledger.stale(row.index):
            await self._save(row)
        else:
            self._done(row)

    async def _dispatch(self, workers: Workers) -> None:
        while (row := await self._window.next()) is not None:
            self._waiting = row
            permit = await self._permitted()
            self._start(workers, permit)

    def _start(self, workers: Workers, permit: Attempt | None) -> None:
        row, self._waiting = self._waiting, None
        if row is None:
            return  # A worker has taken it.
        row.attempt = permit
        if permit is not None:
            workers.start(row)
        else:
            self._fail(row, failure_of(self.dead))

    def _cost(self) -> Cost:
        """What the row that waits will take of the endpoint's limits."""
        return self._answerer.cost(self._waiting.conversation) if self._waiting is not None else FREE

    async def _permitted(self) -> Attempt | None:
        """A permit for the row that waits. None if the engine is dead or dies before there is one, or if a worker takes
        the row first.
        """
        if self.dead is not None:
            return None
        permit = self._gate.enter_at_once(self._cost())
        if permit is not None:
            return permit
        with anyio.CancelScope() as self._admission:
            permit = await self._gate.enter(self._cost, owner=self)
        if permit is not None and (self.dead is not None or self._waiting is None):  # Both may have happened meanwhile.
            self._gate.leave(permit)
            return None
        return permit

    def _more(self) -> Row | None:
        """A row for a worker that has just done one, if the next needs to wait for nothing."""
        if self.dead is not None or self._feeding.cancel_called or self._stop.asked.is_set():
            return None
        waiting = self._waiting
        row = waiting if waiting is not None else self._window.next_at_once()
        if row is None:
            return None
        row.attempt = self._gate.enter_at_once(self._answerer.cost(row.conversation), owner=self)
        if row.attempt is None:
            if waiting is None:
                self._window.put_back(row)
            return None
        if waiting is not None:
            self._waiting = self._window.next_at_once()
            if self._waiting is None:
                self._admission.cancel()
        return row

    async def _attempt(self, row: Row) -> None:
        """Ask the engine once, and act on the result."""
        permit, row.attempt = row.attempt, None
        assert permit is not None, "a row is attempted under a permit"
        self._tally.attempt()
        try:
            completion = await self._attempts.make(
                self._answerer, permit, row, row.conversation, name=(id(self), row.index)
            )
        except RequestError as error:
            self._failed_once(row, error)
        except Exception as error:
            self._broke(row, error)
        else:
            row.completion = completion
            self._pattern.answered()
            await self._save(row)

    def _broke(self, row: Row, error: Exception) -> None:
        """The engine raised what is no answer to this attempt alone."""
        if isinstance(error, EngineDeadError):
            self._die(error)
        else:
            log.debug("row %d: the engine raised", row.index, exc_info=error)
        self._fail(row, failure_of(error))

    def _failed_once(self, row: Row, error: RequestError) -> None:
        self._tally.refused += error.is_overload
        retry = self._attempts.retry(self._answerer, row, error)
        end = self._pattern.failed(
            error,
            is_final=retry.kind == "no",
            # An outage may have begun in an earlier run and have ended since: only the time of this run counts.
            out_for=min(self._gate.out_for(), self._tally.seconds),
            ever_answered=self._gate.admissions > 0,
            is_only_row=self._tally.total == 1,
        )
        if end is not None:
            self._end(end, error)
        if retry.kind == "no" or self.dead is not None:
            self._fail(row, failure_of(self.dead if end is not None else error))
            return
        self._tally.retried += 1
        log.debug("row %d: %s; again in %.2f s", row.index, error, retry.after)
        self._window.retry(row, retry.after)

    def _end(self, end: RunEnd, error: RequestError) -> None:
        """End the run early: no other row would be answered."""
        if self.dead is None:
            log.error("%s", end.message)
        self._die(end.error(error))

    def _die(self, error: EngineDeadError) -> None:
        """From now on rows fail unasked; the saved ones are still delivered. An iterator ends instead, as
        its source may have no end.
        """
        if self.dead is not None:
            return
        self.dead = error
        self._admission.cancel()
        self._window.wait_no_more()
        if self._hold:
            self._feeding.cancel()

    async def _save(self, row: Row) -> None:
        """Have the answer saved; it is not lost if the run is cancelled now."""
        if self._writer is None:
            self._done(row)
            return
        try:
            if row.is_large:
                with anyio.CancelScope(shield=True):
                    self._writer.put(row, await DISK.run(self._line, row))
            else:
                self._writer.put(row, self._line(row))
        except RequestError as error:  # The answer cannot be saved as JSON.
            self._fail(row, failure_of(error))

    def _line(self, row: Row) -> bytes:
        text, finished = saved_json(row)
        if self._deliver is not None:
            row.answered = finished
        row.asked = None
        return encode(row.key, row.n, row.checksum, text)

    def _saved(self, row: Row, offset: int, length: int) -> None:
        self._ledger.save(row.index, offset, length)
        self._done(row)

    def _done(self, row: Row) -> None:
        if row.completion is not None:
            self._tally.complete(row.completion.usage)
        else:
            self._tally.resume()
        if self._deliver is not None:
            self._deliver(row.index, row.finished())
        self._close()

    def _fail(self, row: Row, detail: FailureDetail) -> None:
        self._ledger.fail(row.index)
        self._tally.fail(row.index, detail)
        if self._deliver is not None:
            self._deliver(row.index, detail)
        self._close()

    def _close(self) -> None:
        if not self._hold:
            self._window.finish()
