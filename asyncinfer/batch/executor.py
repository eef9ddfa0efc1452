"""The executor that sends the rows of a run as batch jobs of the provider."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import task_group
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.clean_up import cancel_jobs
from asyncinfer.batch.ended_jobs import EndedJobs
from asyncinfer.batch.job_maker import JobMaker
from asyncinfer.batch.job_state import SPILL, JobFolder, JobState, batch_folder, ids_or_tags
from asyncinfer.batch.jobs import Jobs, RunParts
from asyncinfer.batch.online_rows import OnlineRows
from asyncinfer.batch.open_rows import OpenRows
from asyncinfer.batch.outcomes import RowOutcomes
from asyncinfer.batch.polling import Polling
from asyncinfer.batch.results import JobResults
from asyncinfer.batch.spill import Spill
from asyncinfer.batch.submission import Submission
from asyncinfer.config.batch import BatchParams
from asyncinfer.errors import EngineDeadError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.events import Events
from asyncinfer.run.executor import ExpectedWait, OutcomeSink, RowFeed, RunInfo
from asyncinfer.run.online import OnlineExecutor
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.times import duration_text

log = logging.getLogger("asyncinfer")


class BatchExecutor:
    """Gets rows answered by batch jobs.

    Rows are collected into jobs within the limits of the provider. Each job is submitted once, its state is requested
    seldom, and its results are read as a stream. Failed rows are sent in a further job, or online: as single
    requests. The state of each job is saved until the answers of its rows are durable: a run that was killed and is
    started again goes on with the jobs that it had sent.

    Args:
        access: How single requests reach the engine, for rows that are sent online.
        wall: The time of day, as Unix time.
    """

    is_batch = True

    def __init__(
        self,
        api: BatchApi,
        access: EngineAccess,
        params: BatchParams,
        run: RunInfo,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._api, self._access, self._params, self._run, self._wall = api, access, params, run, wall
        self._clock = access.clock
        # The input is read ahead of the jobs. Rows wait on disk.
        self.capacity = 2 * min(api.dialect.limits.rows, params.max_rows or api.dialect.limits.rows) * params.max_jobs
        self._input_ended = False
        self._has_stopped = False
        self._parts: RunParts | None = None
        self._jobs: Jobs | None = None
        self._maker: JobMaker | None = None
        self._online = OnlineExecutor(access)
        self._began = self._clock.now()
        self._feeding, self._working = anyio.CancelScope(), anyio.CancelScope()

    def is_sent_alone(self, conversation: Conversation) -> bool:
        access, limits = self._access, self._api.dialect.limits
        may_be_single = self._params.retry == "online" or access.check is not None or limits.least_rows > 1
        return may_be_single or access.as_sent(conversation) is None

    async def run(self, feed: RowFeed, outcomes: OutcomeSink, events: Events) -> None:
        folder = await DISK.run(_folder, self._run.scratch)
        spill = await DISK.run(Spill, folder.path / SPILL)
        rows = OpenRows()
        self._parts = parts = RunParts(
            self._api,
            self._params,
            folder,
            rows,
            spill,
            RowOutcomes(rows, outcomes, events),
            OnlineRows(lambda: self._has_stopped, spill.row, feed),
            Submission(self._api, folder, self._clock, self._params.poll_interval, self._wall),
            Polling(self._api, self._clock, self._params, self._access.retry.max_outage),
        )
        self._jobs = jobs = Jobs(parts)
        try:
            with self._working:
                await self._work(parts, jobs, feed, events)
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave(parts, jobs)

    def stop(self, grace: float) -> None:
        self._has_stopped = True
        self._feeding.cancel()
        self._working.deadline = anyio.current_time() + grace
        self._online.stop(grace)
        if self._jobs is not None:
            self._jobs.notify()

    @property
    def silent_for(self) -> float:
        parts = self._parts
        return self._clock.now() - (parts.submission.last_sent if parts is not None else self._began)

    def why_waiting(self) -> str | None:
        parts, open_jobs = self._parts, [*self._jobs.open.values()] if self._jobs is not None else []
        if parts is None or not open_jobs:
            return self._online.why_waiting()
        infos = [info for job in open_jobs if (info := parts.polling.infos.get(job.batch_id or ""))]
        done = sum(info.completed_requests + info.failed_requests for info in infos)
        states = ", ".join(sorted({info.status.value for info in infos} or {"submitted"}))
        count = f"{len(open_jobs)} batch jobs" if len(open_jobs) > 1 else "1 batch job"
        total, wait = sum(job.rows for job in open_jobs), duration_text(parts.polling.seconds_left())
        return ExpectedWait(f"{count} ({states}): {done:,} of {total:,} requests are done; next check in {wait}")

    async def _work(self, parts: RunParts, jobs: Jobs, feed: RowFeed, events: Events) -> None:
        codec = self._api.codec()
        try:
            await jobs.adopt()
        except EngineDeadError as error:
            jobs.end(error)
        self._maker = maker = JobMaker(
            self._api,
            codec,
            self._params,
            parts.folder,
            parts.rows,
            parts.spill,
            jobs.first_own,
            self._access.as_sent,
        )
        results = JobResults(self._api, codec, parts.rows, parts.spill, self._clock)
        ended = EndedJobs(parts, jobs, maker, results, events, self._clock, self._access, lambda: not self._has_stopped)
        async with task_group() as tasks:
            tasks.start_soon(self._online.run, parts.online, parts.outcomes, events)
            async with task_group() as main:
                main.start_soon(self._read, parts, jobs, maker, feed)
                main.start_soon(self._follow, parts, jobs, ended)
            parts.online.close()

    async def _read(self, parts: RunParts, jobs: Jobs, maker: JobMaker, feed: RowFeed) -> None:
        """Read the input, and send its rows."""
        most = self._params.max_jobs
        with self._feeding:
            while (rows := await feed.read()) is not None:
                if parts.outcomes.dead is not None:
                    for row in await maker.add_expected(rows):
                        parts.outcomes.failed_with(row, parts.outcomes.dead)
                    continue
                await jobs.take(await maker.add_new(rows), most=most)
            if parts.outcomes.dead is None and not feed.ended_at_limit:
                await jobs.close_unneeded(self._run.has_row)
            else:
                jobs.is_input_cut = True
            job = await maker.finish(0)
            if job is not None:
                await jobs.submit(job, most=most)
            self._input_ended = True
            jobs.notify()

    async def _follow(self, parts: RunParts, jobs: Jobs, ended: EndedJobs) -> None:
        """Request the state of the jobs, and handle those that have ended, until all rows have their outcomes."""
        while not self._has_stopped and not (self._input_ended and jobs.are_done):
            if not jobs.open:
                await jobs.wait_changed()
            elif await parts.polling.wait(jobs.changed):
                parts.submission.last_sent = self._clock.now()
                try:
                    await self._poll(parts, jobs, ended)
                except EngineDeadError as error:
                    jobs.end(error)
                    await self._fail_open(jobs, error)

    async def _fail_open(self, jobs: Jobs, error: EngineDeadError) -> None:
        """Report the rows of all open jobs as failed, also those still to be read. The state of the jobs is kept."""
        is_last = False
        while not is_last:
            changed, is_last = jobs.changed, self._input_ended or self._has_stopped
            for job in [*jobs.open.values()]:
                await jobs.fail(job, error)
            if not is_last:
                await changed.wait()
        for job in [*jobs.open.values()]:
            jobs.close(job)

    async def _poll(self, parts: RunParts, jobs: Jobs, ended: EndedJobs) -> None:
        for job, info in await parts.polling.poll([*jobs.open.values()]):
            # The results of an earlier run's job are matched with rows, so all of the input must have been read.
            while job.number < jobs.first_own and not self._input_ended and not self._has_stopped:
                await jobs.wait_changed()
            if job.number in jobs.open and not self._has_stopped:
                await ended.handle(job, info)

    async def _leave(self, parts: RunParts, jobs: Jobs) -> None:
        """Close the files. Cancel the jobs that go on, if the user wants it; otherwise say how to get their results."""
        if self._maker is not None:
            await DISK.run(self._maker.close)
        await DISK.run(parts.spill.close)
        if jobs.open and self._params.cancel_on_exit:
            await self._cancel(parts, jobs)
        elif jobs.open:
            self._say_that_they_go_on([*jobs.open.values()])
        await DISK.run(parts.folder.close if self._run.scratch is not None else parts.folder.delete)

    async def _cancel(self, parts: RunParts, jobs: Jobs) -> None:
        """Cancel the open jobs, and say which ones go on all the same."""
        ended = await cancel_jobs(self._api, parts.folder, [*jobs.open.values()])
        if ended:
            ids = ", ".join(f"{info.id} ({info.status})" for info in ended.values())
            log.warning("Cancelled the batch jobs: %s. Run the same again to get the answers that they have", ids)
        if left := [job for job in jobs.open.values() if job.number not in ended]:
            self._say_that_they_go_on(left)

    def _say_that_they_go_on(self, jobs: Sequence[JobState]) -> None:
        how = (
            "Run the same again to get their results; to end them, use"
            if self._run.scratch is not None
            else "This run has no output_path, so that no other run can use their results. To end them, use"
        )
        ids = ", ".join(ids_or_tags(jobs))
        log.warning("These batch jobs go on at the provider: %s. %s `asyncinfer batch cancel`", ids, how)


def _folder(scratch: Path | None) -> JobFolder:
    """Make the folder for the state of the jobs. A run that saves nothing has a temporary one."""
    folder = JobFolder(batch_folder(scratch) if scratch is not None else Path(tempfile.mkdtemp("asyncinfer")))
    folder.make()
    return folder
