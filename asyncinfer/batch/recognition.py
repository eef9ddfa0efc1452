"""Recognises a job by its results, for APIs that cannot tag jobs.

Such an API says only when a job was created and how many requests it has. Another program may have created a
similar job at the same time. So a job counts as the one that was sent only if its results have the ids of the rows. The
run waits for the results of jobs that may be the one. It never cancels such a job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.custom_ids import RowId, row_of
from asyncinfer.batch.job_state import JobFolder, JobState
from asyncinfer.dialects.batch import has_tag
from asyncinfer.errors import RequestError
from asyncinfer.types.batch import BatchInfo

log = logging.getLogger("asyncinfer")


class Recognition:
    """Recognises jobs.

    Args:
        interval: Seconds between two requests for the state of a job that may be the one.
        on_request: Called before each request.
    """

    def __init__(
        self, api: BatchApi, folder: JobFolder, clock: Clock, interval: float, on_request: Callable[[], None]
    ) -> None:
        self._api, self._folder, self._clock = api, folder, clock
        self._interval, self._on_request = interval, on_request

    async def confirmed(self, job: JobState, found: Sequence[BatchInfo]) -> list[BatchInfo]:
        """Return those of the found jobs that are certainly this one. Waits for the results of jobs that may be.

        Raises:
            RequestError: The API refused a request.
        """
        tagged = [info for info in found if has_tag(info, job.tag)]
        if tagged or not found:
            return tagged
        known = await DISK.run(self._folder.batch_ids)
        recognised = await self._recognised(job, [info for info in found if info.id not in known])
        return [recognised] if recognised is not None else []

    async def _recognised(self, job: JobState, candidates: Sequence[BatchInfo]) -> BatchInfo | None:
        left, is_logged = list(candidates), False
        ids = frozenset(await DISK.run(self._folder.ids, job)) if left else frozenset[RowId]()
        while left:
            info = left.pop(0)
            if info.is_terminal:
                if await self._has_rows(info, ids):
                    return info
                continue
            if not is_logged:
                is_logged = True
                log.warning(
                    "It is not known whether the batch job %s was submitted: %s may be it. The run waits for results",
                    job.tag,
                    " or ".join(each.id for each in [info, *left]),
                )
            await wait_until(anyio.Event(), self._clock, self._clock.now() + self._interval)
            self._on_request()
            context = self._api.client.context
            left.append(await self._api.client.do(self._api.dialect.status(context, info.id)))
        return None

    async def _has_rows(self, info: BatchInfo, ids: frozenset[RowId]) -> bool:
        """Whether the first result of a job that can be read is that of one of these rows."""
        client, dialect = self._api.client, self._api.dialect
        self._on_request()
        for download in await client.do(dialect.results(client.context, info)):
            async with aclosing(client.lines(download)) as lines:
                async for line in lines:
                    try:
                        answer = dialect.answer(line)
                    except RequestError:
                        continue
                    return row_of(answer.custom_id) in ids
        return False
