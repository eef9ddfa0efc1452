"""Cancels jobs at the provider, and deletes the files of requests that it stores."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import task_group
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.job_state import JobFolder, JobState
from asyncinfer.batch.submission import is_refusal
from asyncinfer.errors import RequestError, error_str
from asyncinfer.types.batch import BatchInfo

log = logging.getLogger("asyncinfer")

_CANCELLED_AT_ONCE = 8
# How long cancelling jobs, and deleting a file, may take (seconds).
_CANCEL_SECONDS, _DELETE_SECONDS = 20.0, 30.0
_NOT_FOUND = 404


async def cancel_jobs(api: BatchApi, folder: JobFolder, jobs: Sequence[JobState]) -> dict[int, BatchInfo]:
    """Ask the provider to cancel jobs. Their results so far are read by the next run.

    Returns:
        The jobs that were cancelled, or had ended before, by their numbers.
    """
    ended = dict[int, BatchInfo]()
    some = anyio.CapacityLimiter(_CANCELLED_AT_ONCE)

    async def cancel(job: JobState) -> None:
        async with some:
            await _cancel(api, folder, job, ended)

    with anyio.move_on_after(_CANCEL_SECONDS):
        async with task_group() as tasks:
            for job in jobs:
                tasks.start_soon(cancel, job)
    return dict(sorted(ended.items()))


async def _cancel(api: BatchApi, folder: JobFolder, job: JobState, ended: dict[int, BatchInfo]) -> None:
    job.is_cancelled = True
    await DISK.run(folder.write, job)
    try:
        ended[job.number] = await api.client.do(api.dialect.cancel(api.client.context, job.batch_id or ""))
    except RequestError as error:
        log.warning("The batch job %s could not be cancelled: %s", job.batch_id, error)
        if is_refusal(error):
            job.is_cancelled = False
            await DISK.run(folder.write, job)


async def delete_requests(api: BatchApi, job: str, file_ids: Iterable[str | None]) -> None:
    """Delete the files with the requests of a job, if the provider stores them. A failure is only logged.

    Args:
        job: The id of the job, or its tag if it was not created.
        file_ids: The files. None, and a file that was deleted before, are left out.
    """
    files = api.dialect.files
    if files is None:
        return
    for file_id in dict.fromkeys(file_ids):
        if file_id is None:
            continue
        try:
            with anyio.fail_after(_DELETE_SECONDS):
                await api.client.do(files.delete(api.client.context, file_id))
        except (RequestError, TimeoutError) as error:
            if isinstance(error, RequestError) and error.status_code == _NOT_FOUND:
                continue
            why = error_str(error) or f"no response in {_DELETE_SECONDS:g} s"
            log.warning(
                "The file %s with the requests of the batch job %s stays at the provider, because it could not be "
                "deleted: %s",
                file_id,
                job,
                why,
            )
