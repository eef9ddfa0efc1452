"""The jobs of a run: those of an earlier run, and those that it submits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.clean_up import delete_requests
from asyncinfer.batch.custom_ids import RowId
from asyncinfer.batch.job_maker import Added
from asyncinfer.batch.job_state import JobFolder, JobState, ids_or_tags
from asyncinfer.batch.online_rows import OnlineRows
from asyncinfer.batch.open_rows import NO_JOB, OpenRows
from asyncinfer.batch.outcomes import RowOutcomes
from asyncinfer.batch.polling import Polling
from asyncinfer.batch.spill import Spill
from asyncinfer.batch.submission import Submission
from asyncinfer.config.batch import BatchParams
from asyncinfer.errors import EngineDeadError, ErrorScope, RequestError
from asyncinfer.run.rows import Row
from asyncinfer.types.batch import BatchInfo

log = logging.getLogger("asyncinfer")

_GROUP = 256


@dataclass(slots=True)
class RunParts:
    """The parts of a batch run that its other parts use."""

    api: BatchApi
    params: BatchParams
    folder: JobFolder
    rows: OpenRows
    spill: Spill
    outcomes: RowOutcomes
    online: OnlineRows
    submission: Submission
    polling: Polling

    async def groups(self, job: JobState) -> Sequence[Sequence[RowId]]:
        """Return the ids of a job's rows, in groups."""
        ids = await DISK.run(self.folder.ids, job)
        return [ids[start : start + _GROUP] for start in range(0, len(ids), _GROUP)]

    async def waiting(self, ids: Sequence[RowId], job: JobState) -> list[Row]:
        """Return those of the rows that still wait for a job."""

        def load() -> list[Row]:
            offsets = (self.rows.offset(row_id, job.number) for row_id in ids)
            return [self.spill.row(offset) for offset in offsets if offset is not None]

        return await DISK.run(load)

    def send_online(self, row_id: RowId, job: JobState) -> None:
        """Send a row of a job as a single request."""
        offset = self.rows.offset(row_id, job.number)
        if offset is not None:
            self.rows.assign(row_id, NO_JOB)
            self.online.add(offset)


class Jobs:
    """The jobs that were submitted and have not been handled.

    Attributes:
        open: These jobs, by their numbers.
        first_own: The number of the first job of this run. Earlier numbers are those of earlier runs.
        is_input_cut: Not all rows of the input were read, or not all can be sent.
    """

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self.open: dict[int, JobState] = {}
        self.first_own = 0
        self.is_input_cut = False
        self._submitting = 0
        self._changed = anyio.Event()

    @property
    def are_done(self) -> bool:
        """Whether no job is open, and none is being submitted."""
        return not self.open and not self._submitting

    async def adopt(self) -> None:
        """Take over the jobs of an earlier run.

        Raises:
            EngineDeadError: It is not known whether a job was submitted.
        """
        parts = self._parts
        saved = await DISK.run(parts.folder.load)
        self.first_own = max((job.number for job in saved), default=0) + 1
        for job in saved:
            if job.target != parts.api.target:
                log.warning(
                    "The batch job %s belongs to other settings (%s), and is not used. Run with those settings to get "
                    "its results",
                    job.tag,
                    job.target,
                )
                continue
            if job.batch_id is None and not (job.tried and await parts.submission.find(job)):
                await self._remove_unsent(job)  # It was never submitted: its rows are sent now.
                continue
            for group in await parts.groups(job):
                for row_id in group:
                    parts.rows.expect(row_id, job.number)
            self.open[job.number] = job
        if self.open:
            log.info("Goes on with batch jobs: %s", ", ".join(ids_or_tags([*self.open.values()])))

    async def close_unneeded(self, has_row: Callable[[bytes, int], bool]) -> None:
        """Close the jobs of earlier runs that have no row which needs an answer.

        Args:
            has_row: Whether the input of this run has a row.
        """
        parts = self._parts
        for job in [job for job in self.open.values() if job.number < self.first_own]:
            ids = await DISK.run(parts.folder.ids, job)
            if any(parts.rows.offset(row_id, job.number) is not None for row_id in ids):
                continue
            if all(has_row(*row_id) for row_id in ids):  # The answers are saved, or a later job has the rows.
                await self._delete_unneeded(job)
                await DISK.run(parts.folder.remove, job)
            else:
                log.warning(
                    "The batch job %s has %d rows that belong to other input or settings. To get its results, run that "
                    "input again; to discard them, delete %s",
                    job.batch_id,
                    len(ids),
                    parts.folder.path,
                )
            for row_id in ids:
                parts.rows.forget_unread(row_id, job.number)
            self.close(job)

    async def discard(self, job: JobState, info: BatchInfo) -> None:
        """Close a job that was handled. If it has rows that were not read, its state stays for the next run.

        Otherwise the files of its requests are deleted at the provider, and then its state is removed: the next run
        deletes what a killed run has left.
        """
        if self.is_input_cut and job.number < self.first_own:
            ids = await DISK.run(self._parts.folder.ids, job)
            if any(self._parts.rows.is_unread(row_id, job.number) for row_id in ids):
                self.close(job)
                return
        self.close(job)
        await delete_requests(self._parts.api, info.id, [info.input_file_id, *job.stored])
        await DISK.run(self._parts.folder.remove, job)

    async def take(self, added: Added, *, most: int | None = None) -> None:
        """Submit jobs that are full, and handle the rows that are in no job.

        Args:
            most: As in `submit`.
        """
        for rejected in added.rejected:
            self._parts.outcomes.failed_with(rejected.row, rejected.error)
        for offset in added.online:
            self._parts.online.add(offset)
        for job in added.jobs:
            await self.submit(job, most=most)

    async def submit(self, job: JobState, *, most: int | None = None) -> None:
        """Submit a job. If the API refuses it, its rows fail.

        Args:
            most: Wait until fewer jobs of this run are open.
        """
        parts = self._parts
        self._submitting += 1
        try:
            while most is not None and self._own_count() >= most and parts.outcomes.dead is None:
                await self.wait_changed()
            if parts.outcomes.dead is not None:
                await self._give_up(job, parts.outcomes.dead)
            elif job.rows < parts.api.dialect.limits.least_rows:
                await self._send_online(job)
            else:
                await self._submit(job)
        finally:
            self._submitting -= 1
            self.notify()

    def _own_count(self) -> int:
        return sum(number >= self.first_own for number in self.open)

    async def _submit(self, job: JobState) -> None:
        parts = self._parts
        try:
            await parts.submission.submit(job)
        except RequestError as error:
            if error.scope is ErrorScope.ACCOUNT:
                self.end(_refused(parts.api.name, error))
            await self._give_up(job, parts.outcomes.dead or error)
        except EngineDeadError as error:
            self.end(error)
            await self.fail(job, error)
        else:
            self.open[job.number] = job
            parts.polling.restart()
            log.info("Submitted %d rows as the batch job %s", job.rows, job.batch_id)

    async def fail(self, job: JobState, error: Exception) -> None:
        """Report the rows of a job as failed. Its state is kept, so that the next run can get the answers."""
        for group in await self._parts.groups(job):
            for row in await self._parts.waiting(group, job):
                self._parts.outcomes.failed_with(row, error)

    async def _give_up(self, job: JobState, error: Exception) -> None:
        """Report the rows of a job as failed, and remove the job: it does not exist, and will not be sent."""
        await self.fail(job, error)
        await self._remove_unsent(job)

    async def _remove_unsent(self, job: JobState) -> None:
        """Remove a job that does not exist, and the files that the provider has stored for it."""
        await delete_requests(self._parts.api, job.tag, job.stored)
        await DISK.run(self._parts.folder.remove, job)

    async def _delete_unneeded(self, job: JobState) -> None:
        """Delete the files of a job whose results are not needed, if it has ended."""
        api = self._parts.api
        if api.dialect.files is None or job.batch_id is None:
            return
        try:
            info = await api.client.do(api.dialect.status(api.client.context, job.batch_id))
        except RequestError as error:
            log.info("The state of the batch job %s is not known: %s", job.batch_id, error)
            return
        if info.is_terminal:
            await delete_requests(api, info.id, [info.input_file_id, *job.stored])

    async def _send_online(self, job: JobState) -> None:
        """Send the rows of a job as single requests: the provider does not accept a job of so few rows."""
        for group in await self._parts.groups(job):
            for row_id in group:
                self._parts.send_online(row_id, job)
        await DISK.run(self._parts.folder.remove, job)

    def end(self, error: EngineDeadError) -> None:
        """End the run early: no further row can be answered."""
        self._parts.outcomes.ended_early(error, is_conclusion=True)

    def close(self, job: JobState) -> None:
        """Remove a job that was handled from the open jobs."""
        self.open.pop(job.number, None)
        self._parts.polling.infos.pop(job.batch_id or "", None)
        self.notify()

    @property
    def changed(self) -> anyio.Event:
        """The event that is set at the next change: a job is submitted or handled, or `notify` is called."""
        if self._changed.is_set():
            self._changed = anyio.Event()
        return self._changed

    async def wait_changed(self) -> None:
        """Wait until a job is submitted or handled, or `notify` is called."""
        await self.changed.wait()

    def notify(self) -> None:
        """Wake the tasks that wait for a change."""
        self._changed.set()


def _refused(name: str, error: RequestError) -> EngineDeadError:
    return EngineDeadError(
        f"{name} does not accept batch jobs: {error}",
        error_type=error.error_type,
        status_code=error.status_code,
        is_retryable=False,
    )
