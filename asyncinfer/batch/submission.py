"""Submits a job exactly once, whatever goes wrong.

The state of the job is saved before each attempt. If it is unclear whether an attempt created the job, because the
connection broke or the API answered with an error of its own, the list of jobs is searched for its tag before another
attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.job_state import JobFolder, JobState
from asyncinfer.batch.recognition import Recognition
from asyncinfer.dialects.batch import JobFile, SentJob
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.types.batch import BatchInfo
from asyncinfer.types.times import duration_text

log = logging.getLogger("asyncinfer")

# How long a provider may take until a job appears in its list (seconds). Longer than any that is known.
_APPEARS_SECONDS = 60.0
_MOST_ATTEMPTS = 8
_LONGEST_WAIT = 600.0


class Submission:
    """Submits jobs.

    Args:
        settle: Seconds between an unclear attempt and the search for the job, at least.
        wall: The time of day, as Unix time.
    """

    def __init__(
        self, api: BatchApi, folder: JobFolder, clock: Clock, settle: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._api, self._folder, self._clock, self._wall = api, folder, clock, wall
        self._settle = min(settle, _APPEARS_SECONDS)
        self._recognition = Recognition(api, folder, clock, settle, self._note_request)
        self.last_sent = clock.now()

    async def submit(self, job: JobState) -> None:
        """Submit a job, and save its id.

        Raises:
            RequestError: The API refused the job. It does not exist.
            EngineDeadError: It is unclear whether the job exists, or the API does not accept jobs at present. The next
                run searches for it.
            ScratchError: The state cannot be saved.
        """
        failure: RequestError | None = None
        for attempt in range(_MOST_ATTEMPTS):
            failure = await self._try(job)
            if failure is None:
                return
            wait = max(self._settle * 2**attempt, failure.retry_after or 0)
            text = "It is not known whether the batch job %s was submitted: %s. The run searches for it in %s"
            log.warning(text, job.tag, failure, duration_text(wait))
            await self._sleep(min(wait, _LONGEST_WAIT))
            if await self.find(job):
                return
        assert failure is not None, "there is at least one attempt"
        raise EngineDeadError(
            f"the batch job {job.tag} could not be submitted in {_MOST_ATTEMPTS} attempts: {failure}. Run the same "
            "again to go on: it searches for the job first",
            error_type=failure.error_type,
            status_code=failure.status_code,
        )

    async def find(self, job: JobState) -> bool:
        """Search for a job by its tag, and save its id if it exists.

        Returns:
            Whether the job exists.

        Raises:
            EngineDeadError: The list of jobs could not be read.
        """
        await self._sleep(min(job.tried + self._settle - self._wall(), self._settle))  # The clock may have been set.
        found = await self._found(job)
        if not found:
            return False
        first, *others = found
        for other in others:
            await self._cancel(job, other)
        await self._save(job, first.id)
        log.info("The batch job %s was submitted before: it is %s", job.tag, first.id)
        return True

    async def _found(self, job: JobState) -> list[BatchInfo]:
        since = datetime.fromtimestamp(min(job.created, self._wall()), UTC)
        sent = SentJob(job.tag, self._file(job), job.window, since)
        failure: RequestError | None = None
        for attempt in range(_MOST_ATTEMPTS):
            try:
                self._note_request()
                found = await self._api.client.do(self._api.dialect.find_jobs(self._api.client.context, sent))
                return await self._recognition.confirmed(job, found)
            except RequestError as error:
                failure = error
            if not failure.is_retryable:
                break
            await self._sleep(max(failure.retry_after or 0, self._settle * 2**attempt))
        assert failure is not None
        raise EngineDeadError(
            f"it is not known whether the batch job {job.tag} was submitted, because the list of jobs cannot be read: "
            f"{failure}. Run the same again to go on",
            error_type=failure.error_type,
            status_code=failure.status_code,
        )

    def _note_request(self) -> None:
        self.last_sent = self._clock.now()

    async def _try(self, job: JobState) -> RequestError | None:
        """Submit a job once, and save its id.

        Returns:
            The error if it is unclear whether the job exists.

        Raises:
            RequestError: The API refused the job. It does not exist.
        """
        self._note_request()
        job.tried = self._wall()
        await DISK.run(self._folder.write, job)
        client = self._api.client
        steps = self._api.dialect.submit(client.context, self._file(job), job.tag, job.window)
        try:
            batch_id = await client.do(steps, partial(self._note_stored, job))
        except RequestError as error:
            if is_refusal(error):
                raise
            return error
        await self._save(job, batch_id)
        return None

    async def _note_stored(self, job: JobState, file_id: str) -> None:
        if file_id not in job.stored:
            job.stored.append(file_id)
            with anyio.CancelScope(shield=True):
                await DISK.run(self._folder.write, job)

    async def _cancel(self, job: JobState, other: BatchInfo) -> None:
        log.warning("The batch job %s exists twice; %s is cancelled", job.tag, other.id)
        try:
            await self._api.client.do(self._api.dialect.cancel(self._api.client.context, other.id))
        except RequestError as error:
            log.warning(
                "The batch job %s could not be cancelled: %s. Cancel it with `asyncinfer batch cancel`", other.id, error
            )

    async def _save(self, job: JobState, batch_id: str) -> None:
        job.batch_id = batch_id
        with anyio.CancelScope(shield=True):
            await DISK.run(self._folder.write, job)
            await DISK.run(self._folder.remove_requests, job)

    def _file(self, job: JobState) -> JobFile:
        return JobFile(self._folder.requests_path(job), job.size, job.rows)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await wait_until(anyio.Event(), self._clock, self._clock.now() + seconds)


def is_refusal(error: RequestError) -> bool:
    """Whether the API said that it does not accept the job, so that the job does not exist."""
    status = error.status_code
    return status is not None and 400 <= status < 500 and not error.is_retryable
