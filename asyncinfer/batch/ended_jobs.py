"""Handles a job that has ended: reports its results, and sends the rows without an answer again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.batch.custom_ids import RowId, id_of
from asyncinfer.batch.job_maker import JobMaker
from asyncinfer.batch.job_state import JobState
from asyncinfer.batch.jobs import Jobs, RunParts
from asyncinfer.batch.results import JobResults, checked
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.events import AttemptFailed, Events, Latency
from asyncinfer.run.rows import Row
from asyncinfer.types.batch import BatchInfo, BatchStatus
from asyncinfer.types.run_errors import InvalidAnswerError

log = logging.getLogger("asyncinfer")

# Errors of a job that failed as a whole. With them, another job with the same rows may succeed.
_TEMPORARY = re.compile(
    r"token.{0,20}limit|enqueued|quota|capacity|internal|unavailable|timed? ?out|try again|\brate(?![a-z])"
)


class EndedJobs:
    """Handles jobs that have ended.

    Args:
        access: Has the check of the answers.
        may_send: Whether rows may be sent again.
    """

    def __init__(
        self,
        parts: RunParts,
        jobs: Jobs,
        maker: JobMaker,
        results: JobResults,
        events: Events,
        clock: Clock,
        access: EngineAccess,
        may_send: Callable[[], bool],
    ) -> None:
        self._check = access.check
        self._parts, self._jobs, self._maker, self._results = parts, jobs, maker, results
        self._events, self._clock, self._may_send = events, clock, may_send

    async def handle(self, job: JobState, info: BatchInfo) -> None:
        """Report the outcomes of a job's rows. Its saved state is removed once all answers are durable.

        Raises:
            EngineDeadError: The results cannot be read.
        """
        log.info("The batch job %s is %s: %d of %d rows", info.id, info.status, info.completed_requests, job.rows)
        errors = await self._report_answers(job, info)
        again = await self._handle_rest(job, info, errors)
        await self._parts.outcomes.wait_durable(job.number)
        if again is not None:
            if info.status is BatchStatus.FAILED:  # Its error, such as a limit, lasts for a while.
                await wait_until(anyio.Event(), self._clock, self._clock.now() + self._parts.params.max_poll_interval)
            await self._finish(again)
        await self._jobs.discard(job, info)

    async def _report_answers(self, job: JobState, info: BatchInfo) -> dict[RowId, RequestError]:
        """Report the answered rows, and return the errors of the others. An answer takes precedence over an error."""
        errors: dict[RowId, RequestError] = {}
        seconds = max(0.0, time.time() - job.created)
        async for results in self._results.read(job, info):
            for row_id, row, result in results:
                if self._parts.rows.offset(row_id, job.number) is None:
                    continue  # A second result of the same row.
                outcome = await checked(result, self._check)
                if isinstance(outcome, RequestError):
                    errors[row_id] = outcome
                else:
                    errors.pop(row_id, None)
                    await self._parts.outcomes.answered(row, outcome, Latency(0.0, seconds), job.number)
        return errors

    async def _handle_rest(self, job: JobState, info: BatchInfo, errors: dict[RowId, RequestError]) -> int | None:
        """Let the rows without an answer fail, or send them again.

        Returns:
            The `attempt` of the further job; None if there is none.
        """
        missing = _missing_result(job, info)
        attempt = job.attempt if job.is_cancelled else job.attempt + 1
        has_further_job = False
        for group in await self._parts.groups(job):
            offsets: list[int] = []
            for row in await self._parts.waiting(group, job):
                offset = self._handle_failed(row, job, errors.get(id_of(row), missing))
                if offset is not None:
                    offsets.append(offset)
            if offsets:
                has_further_job = True
                await self._jobs.take(await self._maker.add_again(offsets, attempt))
        return attempt if has_further_job else None

    def _handle_failed(self, row: Row, job: JobState, error: RequestError) -> int | None:
        """Let a row without an answer fail, or send it as a single request.

        Returns:
            The offset of the row if it is sent in a further job instead.
        """
        offset = self._parts.rows.offset(id_of(row), job.number)
        has_room = error.usage is None or self._parts.online.attempt_failed(row, error.usage)
        is_sent_again = offset is not None and has_room and self._is_sent_again(job, error)
        self._events.emit(AttemptFailed(row.index, error, 0.0 if is_sent_again else None, Latency(0.0, 0.0)))
        if not is_sent_again:
            self._parts.outcomes.failed_with(row, self._parts.outcomes.dead or error)
            return None
        is_online = self._parts.params.retry == "online" and not job.is_cancelled
        if is_online or isinstance(error, InvalidAnswerError):
            self._parts.send_online(id_of(row), job)
            return None
        return offset

    async def _finish(self, attempt: int) -> None:
        job = await self._maker.finish(attempt)
        if job is not None:
            await self._jobs.submit(job)

    def _is_sent_again(self, job: JobState, error: RequestError) -> bool:
        if self._parts.outcomes.dead is not None or not self._may_send():
            return False
        if job.is_cancelled and error.error_type is InferenceErrorType.CANCELLED:
            return True
        if isinstance(error, InvalidAnswerError):  # It is sent as a single request, which asks for a correction.
            return error.correction is not None
        is_cancelled = error.error_type is InferenceErrorType.CANCELLED
        return error.is_retryable and not is_cancelled and job.attempt < self._parts.params.max_retries


def _missing_result(job: JobState, info: BatchInfo) -> RequestError:
    """Return the error of the rows that have no result."""
    kind, is_retryable = InferenceErrorType.API_STATUS, True
    match info.status:
        case BatchStatus.CANCELLED:
            kind = InferenceErrorType.CANCELLED
            what = "was cancelled before this row was answered. Run the same again to send it"
        case BatchStatus.EXPIRED:
            what = "expired before this row was answered"
        case BatchStatus.FAILED:
            is_retryable = info.error is None or _TEMPORARY.search(info.error.lower()) is not None
            what = f"failed: {info.error or 'the API does not say why'}"
        case _:
            what = "has no result for this row"
    return RequestError(f"the batch job {job.batch_id} {what}", error_type=kind, is_retryable=is_retryable)
