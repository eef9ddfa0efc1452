"""Tasks that are used again: starting a task costs ten times as much as handing it a row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from asyncinfer.aio.tasks import Tasks
from asyncinfer.control.permit import Permit
from asyncinfer.run.row_queue import QueuedRow

# A task that has done this many jobs lets other tasks run. An engine that answers without waiting would otherwise keep
# the loop busy.
_JOBS_BETWEEN_PAUSES = 20


class Job(NamedTuple):
    """A row to attempt, and the permit for the attempt."""

    queued: QueuedRow
    permit: Permit


class Workers:
    """Runs `work(job)` for each job that is started, in as many tasks as are busy at once. A task that has finished its
    job takes the one that `more()` returns.
    """

    def __init__(self, tasks: Tasks, work: Callable[[Job], Awaitable[None]], more: Callable[[], Job | None]) -> None:
        self._tasks, self._work, self._more = tasks, work, more
        # Jobs that were given to a task that has not started on them. The task may be cancelled before that.
        self._handed: dict[int, Job] = {}
        self._idle: list[asyncio.Future[Job | None]] = []
        self._released = False

    def start(self, job: Job) -> None:
        """Have `job` done; never waits."""
        self._handed[id(job)] = job
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(job)
                return
        self._tasks.start_soon(self._serve, job)

    @property
    def handed(self) -> list[Job]:
        """The jobs that no task has started on. After the end of the task group, no task ever will."""
        return list(self._handed.values())

    def release(self) -> None:
        """Let every task end once it is idle."""
        self._released = True
        for waiting in self._idle:
            if not waiting.done():
                waiting.set_result(None)
        self._idle.clear()

    async def _serve(self, job: Job | None) -> None:
        loop, done = asyncio.get_running_loop(), 0
        while job is not None:
            self._handed.pop(id(job), None)
            await self._work(job)
            done += 1
            if not done % _JOBS_BETWEEN_PAUSES:
                await asyncio.sleep(0)
            job = self._more()
            if job is None and not self._released:
                waiting: asyncio.Future[Job | None] = loop.create_future()
                self._idle.append(waiting)
                job = await waiting
