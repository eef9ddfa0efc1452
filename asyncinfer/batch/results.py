"""The results of a job, as outcomes of rows. They are read as a stream, and may be larger than the memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, TypeVar

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi, Codec
from asyncinfer.batch.custom_ids import RowId, row_of
from asyncinfer.batch.job_state import JobState
from asyncinfer.batch.line_counts import LineCounts
from asyncinfer.batch.open_rows import OpenRows
from asyncinfer.batch.spill import Spill
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.answer_check import AnswerCheck
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from asyncinfer.types.batch import BatchInfo

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

_MOST_ATTEMPTS = 6
# How often results that lack lines are read. A proxy, or a file that is still written, may be the reason.
_MOST_ATTEMPTS_FOR_LINES = 3
_FIRST_WAIT = 1.0


async def read_groups(
    api: BatchApi, info: BatchInfo, read: Callable[[Sequence[bytes], LineCounts], T], *, is_last_attempt: bool
) -> AsyncGenerator[T]:
    """Yield what `read` returns for each group of lines of a job's results.

    Args:
        read: Reads lines, and counts them. It is called in a thread.
        is_last_attempt: Accept results that lack lines, if there are any.

    Raises:
        RequestError: The results cannot be read to their end, are not results, or lack lines.
    """
    client, total = api.client, LineCounts()
    for download in await client.do(api.dialect.results(client.context, info)):
        counts = LineCounts()
        async with aclosing(client.line_groups(download)) as groups:
            async for lines in groups:
                yield await DISK.run(read, lines, counts)
        counts.check_format()
        total.add(counts)
    total.check_complete(info, is_last_attempt=is_last_attempt)


async def checked(result: Completion | RequestError, check: AnswerCheck | None) -> Completion | RequestError:
    """Return the result; an error in place of an answer that does not pass the check.

    Args:
        check: The check of the answers; None if all pass.
    """
    if check is None or isinstance(result, RequestError):
        return result
    try:
        return await check(result)
    except RequestError as error:
        return error


class RowResult(NamedTuple):
    """The result of one row: its answer, or why it has none."""

    id: RowId
    row: Row
    result: Completion | RequestError


class JobResults:
    """Reads the results of jobs."""

    def __init__(self, api: BatchApi, codec: Codec, rows: OpenRows, spill: Spill, clock: Clock) -> None:
        self._api, self._codec, self._rows, self._spill, self._clock = api, codec, rows, spill, clock

    async def read(self, job: JobState, info: BatchInfo) -> AsyncGenerator[list[RowResult]]:
        """Yield the results of the rows that wait for this job. A row may come more than once.

        If the connection breaks, or lines are missing, the results are read again from the beginning.

        Raises:
            EngineDeadError: The results cannot be read to their end, or are not results.
        """
        read = partial(self._results, job)
        for attempt in range(_MOST_ATTEMPTS):
            is_last = attempt >= _MOST_ATTEMPTS_FOR_LINES - 1
            try:
                async with aclosing(read_groups(self._api, info, read, is_last_attempt=is_last)) as groups:
                    async for results in groups:
                        yield results
                return
            except RequestError as error:
                if not error.is_retryable or attempt == _MOST_ATTEMPTS - 1:
                    raise _unreadable(job, error) from None
                wait = max(error.retry_after or 0, _FIRST_WAIT * 2**attempt)
                log.warning(
                    "The results of the batch job %s are not complete: %s. They are read again", job.batch_id, error
                )
            await wait_until(anyio.Event(), self._clock, self._clock.now() + wait)

    def _results(self, job: JobState, lines: Sequence[bytes], counts: LineCounts) -> list[RowResult]:
        """Return the results in these lines of the rows that wait for this job. Counts the lines."""
        found: list[RowResult] = []
        for line in lines:
            try:
                answer = self._api.dialect.answer(line)
            except RequestError as error:
                log.warning("A line of the results of the batch job %s is not used: it %s", job.batch_id, error)
                counts.unreadable += 1
                continue
            counts.read += 1
            row_id = row_of(answer.custom_id)
            offset = self._rows.offset(row_id, job.number) if row_id is not None else None
            if row_id is None or offset is None:
                continue
            try:
                result: Completion | RequestError = self._api.completion(self._codec, answer)
            except RequestError as error:
                result = error
            found.append(RowResult(row_id, self._spill.row(offset), result))
        return found


def _unreadable(job: JobState, error: RequestError) -> EngineDeadError:
    return EngineDeadError(
        f"the results of the batch job {job.batch_id} cannot be read: {error}. Run the same again to read them. "
        f"To send its rows, and pay for them, a second time instead, delete {job.tag}.json beside the scratch file",
        error_type=error.error_type,
        status_code=error.status_code,
    )
