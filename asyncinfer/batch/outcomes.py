"""Reports the outcomes of rows, and knows which answers are durable."""

from __future__ import annotations

from collections import Counter

import anyio

from asyncinfer.batch.custom_ids import id_of
from asyncinfer.batch.open_rows import NO_JOB, OpenRows
from asyncinfer.errors import EngineDeadError
from asyncinfer.run.events import Events, Latency, RowFailed, RowFinished, RunEvent
from asyncinfer.run.executor import OutcomeSink
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from asyncinfer.types.results import FailureDetail, failure_of

# The most answers that are not durable yet. Further results are read only afterwards, so that memory does not grow.
_MOST_UNSAVED = 2048


class RowOutcomes(OutcomeSink):
    """Reports outcomes to the run. A row that has its outcome is no longer open.

    Attributes:
        dead: Why no other row can be answered.
    """

    def __init__(self, rows: OpenRows, outcomes: OutcomeSink, events: Events) -> None:
        self._rows, self._outcomes = rows, outcomes
        self._saving: dict[int, int] = {}
        self._of_job: Counter[int] = Counter()
        self._changed = anyio.Event()
        self.dead: EngineDeadError | None = None
        events.subscribe(self._observe)

    async def answered(self, row: Row, completion: Completion, latency: Latency, job: int = NO_JOB) -> None:
        """Report the answer of a row.

        Args:
            job: The number of the job that answered it; `NO_JOB` for a single request.
        """
        while len(self._saving) >= _MOST_UNSAVED:
            await self._wait_changed()
        self._rows.forget(id_of(row))
        self._saving[row.index] = job
        self._of_job[job] += 1
        await self._outcomes.answered(row, completion, latency)

    def failed(self, row: Row, failure: FailureDetail) -> None:
        self._rows.forget(id_of(row))
        self._outcomes.failed(row, failure)

    def failed_with(self, row: Row, error: Exception) -> None:
        """Report that a row failed with this error."""
        self.failed(row, failure_of(error))

    def ended_early(self, error: EngineDeadError, *, is_conclusion: bool = False) -> None:
        if self.dead is None:
            self.dead = error
            self._outcomes.ended_early(error, is_conclusion=is_conclusion)

    async def wait_durable(self, job: int) -> None:
        """Wait until all reported answers of a job are durable."""
        while self._of_job[job]:
            await self._wait_changed()
        del self._of_job[job]

    def _observe(self, event: RunEvent) -> None:
        if isinstance(event, RowFinished | RowFailed) and event.index in self._saving:
            self._of_job[self._saving.pop(event.index)] -= 1
            self._changed.set()

    async def _wait_changed(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()
