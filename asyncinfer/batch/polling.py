"""Requests the state of the jobs of a run: one request for all jobs, at intervals that grow while nothing changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.job_state import JobState
from asyncinfer.config.batch import BatchParams
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.types.batch import BatchInfo

log = logging.getLogger("asyncinfer")

_GROWTH = 1.5
# One page of the list of jobs.
_PAGE = 100


class Polling:
    """Requests the state of jobs.

    Args:
        max_outage: Seconds without a response after which the run ends.

    Attributes:
        infos: The latest known state of each job, by its id.
    """

    def __init__(self, api: BatchApi, clock: Clock, params: BatchParams, max_outage: float) -> None:
        self._api, self._clock, self._params, self._max_outage = api, clock, params, max_outage
        self._interval = params.poll_interval
        self._due = clock.now()
        self._answered = clock.now()
        self._turn = 0
        self.infos: dict[str, BatchInfo] = {}

    def seconds_left(self) -> float:
        """Seconds until the next request."""
        return max(0.0, self._due - self._clock.now())

    def restart(self) -> None:
        """Start again with the first interval, because a job was submitted."""
        self._interval = self._params.poll_interval
        self._due = self._clock.now() + self._interval

    async def wait(self, changed: anyio.Event) -> bool:
        """Wait until the next request is due. Returns False if `changed` was set before."""
        if self._clock.now() < self._due:
            await wait_until(changed, self._clock, self._due)
        return self._clock.now() >= self._due

    async def poll(self, jobs: Sequence[JobState]) -> list[tuple[JobState, BatchInfo]]:
        """Request the state of jobs, and return those that have ended.

        Raises:
            EngineDeadError: The API does not know a job, refuses to answer, or has not answered for too long.
        """
        before = dict(self.infos)
        self._due = self._clock.now() + self._interval
        try:
            await (self._poll_one(jobs) if len(jobs) == 1 else self._poll_all(jobs))
        except RequestError as error:
            self._failed(error)
        else:
            self._answered = self._clock.now()
            if before == self.infos:
                self._interval = min(self._interval * _GROWTH, self._params.max_poll_interval)
            else:
                self._interval = self._params.poll_interval
            self._due = self._clock.now() + self._interval
        return [(job, info) for job in jobs if (info := self.infos.get(job.batch_id or "")) and info.is_terminal]

    async def _poll_one(self, jobs: Sequence[JobState]) -> None:
        job = jobs[0]
        assert job.batch_id is not None, "a job is polled after it was submitted"
        context = self._api.client.context
        self.infos[job.batch_id] = await self._api.client.do(self._api.dialect.status(context, job.batch_id))

    async def _poll_all(self, jobs: Sequence[JobState]) -> None:
        """Read the newest page of the list. Request the state of one job that the page does not have."""
        client, wanted = self._api.client, {job.batch_id for job in jobs}
        page = await client.do(self._api.dialect.listing(client.context, None, _PAGE))
        found = {batch.id: batch for batch in page.batches if batch.id in wanted}
        self.infos.update(found)
        missing = [job for job in jobs if job.batch_id not in found]
        if missing:  # One in each interval, in turn.
            self._turn += 1
            await self._poll_one([missing[self._turn % len(missing)]])

    def _failed(self, error: RequestError) -> None:
        if error.status_code == 404:
            message = (
                f"the API does not know a batch job of this run: {error}. Use the key with which the job was sent "
                f"(see `asyncinfer batch list`)"
            )
        elif not error.is_retryable:
            message = f"the state of the batch jobs cannot be read: {error}"
        elif self._clock.now() - self._answered > max(self._max_outage, 3 * self._params.max_poll_interval):
            message = f"the state of the batch jobs could not be read for too long: {error}"
        else:
            log.warning("The state of the batch jobs could not be read: %s", error)
            self._due = max(self._due, self._clock.now() + (error.retry_after or 0))
            return
        raise EngineDeadError(
            f"{message}. The jobs go on at the provider; run the same again to get their results",
            error_type=error.error_type,
            status_code=error.status_code,
        )
