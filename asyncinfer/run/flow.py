"""The flow of one run's rows: from the reader through the executor to the saver."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from asyncinfer.aio.tasks import task_group
from asyncinfer.errors import EngineDeadError
from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.answer_reuse import AnswerReuse
from asyncinfer.run.budget import Budget
from asyncinfer.run.duplicates import Duplicates
from asyncinfer.run.feed import InputFeed, LimitedFeed
from asyncinfer.run.reader import RowReader
from asyncinfer.run.saver import DeliverOutcome, ResultSaver
from asyncinfer.run.stop import Stop

log = logging.getLogger("asyncinfer")

# Rows that may wait to be saved, in addition to those that the executor wants.
_SAVING = 256


class RowFlow:
    """Moves rows until each has its outcome.

    Args:
        deliver: Called on the loop with a row's outcome, once it is durable or has failed.
        until_taken: A row stays open until `taken` is called for it, so that a slow consumer delays the reading. If the
            engine dies, no more rows are read, because the source may be endless.
        raised: Which errors of a dead engine the run raises at its end; None: none. The others are logged.

    Attributes:
        dead: Why no other row could be answered.
        stopped: The run was asked to stop.
        limit_reason: Why there is no room for more rows under the limits of the job; None if there is.
    """

    def __init__(
        self,
        active: ActiveRun,
        deliver: DeliverOutcome | None,
        *,
        until_taken: bool = False,
        raised: type[EngineDeadError] | None = None,
        duplicates: Duplicates | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._executor, self._events, self._spending = active.executor, active.events, active.spending
        self._until_taken, self._raised = until_taken, raised
        self._saver = ResultSaver(
            active, deliver, duplicates, cache, close=self._row_done, on_engine_dead=self._on_engine_dead
        )
        self._cache = cache
        self._reuse: AnswerReuse | None = None
        if duplicates is not None or cache is not None:
            self._reuse = AnswerReuse(self._saver, duplicates, cache, is_batch=active.executor.is_batch)
        self._feed: InputFeed | None = None
        self._finishing = anyio.CancelScope()
        self.dead: EngineDeadError | None = None
        self.stopped = False
        self.limit_reason: str | None = None

    async def run(self, reader: RowReader, stop: Stop) -> None:
        """Run until every row has its outcome, the engine is dead, or the run is stopped. Answers that have arrived by
        then are saved, whatever ended it.

        Raises:
            ScratchError: An answer could not be saved.
            InputError: The input changed while it was read.
        """
        capacity = self._executor.capacity + (0 if self._until_taken else _SAVING)
        feed = self._feed = InputFeed(reader, self._saver, capacity, stop, self._reuse)
        budget = self._spending.budget if self._spending is not None else None
        limited = self._limited(feed, budget) if budget is not None else None
        # They are closed in this order: duplicates are saved, and so need the writer.
        helpers = [helper for helper in (self._saver.sharing, self._saver.writer) if helper is not None]
        async with self._caching(), task_group() as tasks:
            for background in helpers:
                tasks.start_soon(background.run)
            try:
                async with task_group() as watchers:
                    watchers.start_soon(self._watch, stop)
                    await self._executor.run(limited or feed, self._saver, self._events)
                    with self._finishing:
                        await feed.wait_closed()
                    watchers.cancel_scope.cancel()
                if limited is not None:
                    self.limit_reason = self.limit_reason or limited.limit_reason
            finally:
                self._saver.abandoned()
                for background in helpers:
                    background.close()

    @asynccontextmanager
    async def _caching(self) -> AsyncGenerator[None]:
        """Let the cache write what it keeps. It ends after the block, because it keeps answers once they are saved."""
        if self._cache is None:
            yield
            return
        async with task_group() as tasks:
            tasks.start_soon(self._cache.run)
            try:
                yield
            finally:
                self._cache.close()

    def taken(self) -> None:
        """The outcome of one row was consumed."""
        if self._feed is not None:
            self._feed.close()

    async def _watch(self, stop: Stop) -> None:
        await stop.wait()
        self.stopped = True
        self._finishing.cancel()
        self._executor.stop(stop.grace)

    def _limited(self, feed: InputFeed, budget: Budget) -> LimitedFeed:
        """The feed under the limits of the job. Batch jobs that are sent are read to their end in any case."""
        limited = LimitedFeed(feed, budget, is_batch=self._executor.is_batch)

        def reached() -> None:
            self.limit_reason, limited.is_limit_reached = budget.why_reached(), True
            self._finishing.cancel()
            self._executor.stop(math.inf)

        if not self._executor.is_batch:
            budget.on_reached = reached
        return limited

    def _row_done(self) -> None:
        if not self._until_taken:
            self.taken()

    def _on_engine_dead(self, error: EngineDeadError, is_conclusion: bool) -> None:
        if self.dead is None:
            self.dead = error
            if is_conclusion and (self._raised is None or not isinstance(error, self._raised)):
                log.error("%s", error)
            if self._until_taken:
                self._finishing.cancel()
                self._executor.stop(math.inf)
