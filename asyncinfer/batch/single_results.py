"""The results of one job, in the order of the conversations that were submitted as this job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi, Codec
from asyncinfer.batch.custom_ids import custom_id
from asyncinfer.batch.line_counts import LineCounts
from asyncinfer.batch.results import checked, read_groups
from asyncinfer.batch.single_job import row_ids
from asyncinfer.errors import BatchError, RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.types.answer import Completion
from asyncinfer.types.batch import BatchInfo, BatchResult, BatchStatus
from asyncinfer.types.conversation import Conversation

# The ids of rows in jobs that Oumi submitted: their indices in the input.
_INDEX = re.compile(r"request-(\d+)")


async def results(
    api: BatchApi, access: EngineAccess, info: BatchInfo, conversations: Sequence[Conversation]
) -> BatchResult:
    """Return the results of a job that has ended.

    Args:
        access: Has the check of the answers. An answer that does not pass it is a failure.

    Raises:
        BatchError: The job has not ended, it failed, or it has none of the conversations.
        RequestError: The results cannot be read.
    """
    _check_ended(info)
    indices = {custom_id(row): index for index, row in enumerate(await DISK.run(row_ids, conversations))}
    outcomes, has_lines = _Outcomes(conversations, access), False
    read = partial(_results, api, api.codec(), indices, len(conversations))
    async with aclosing(read_groups(api, info, read, is_last_attempt=True)) as groups:
        async for group in groups:
            has_lines = True
            for index, result in group:
                await outcomes.add(index, result)
    if has_lines and conversations and outcomes.are_empty:
        raise BatchError(
            f"the results of the batch job {info.id} have none of these conversations. Give those of the job; if it is "
            "one of the jobs of a run, start the same run again"
        )
    return outcomes.all()


def not_completed(info: BatchInfo) -> BatchError:
    """Return the error for a job that ended before it was completed."""
    why = f": {info.error}" if info.error else ""
    return BatchError(
        f"the batch job {info.id} is {info.status}{why}. `get_batch_results_partial` returns the answers that it has; "
        "submit the other conversations again"
    )


def _check_ended(info: BatchInfo) -> None:
    if not info.is_terminal:
        raise BatchError(
            f"the batch job {info.id} has not ended: it is {info.status} ({info.completed_requests} of "
            f"{info.total_requests} requests are done). Get its results once `asyncinfer batch status {info.id}`, or "
            "get_batch_status in Python, shows that it is completed, failed, expired or cancelled"
        )
    if info.status is BatchStatus.FAILED:
        raise BatchError(
            f"the batch job {info.id} failed: {info.error or 'the API does not say why'}. Correct the cause, and "
            "submit the conversations again"
        )


class _Outcomes:
    """The outcomes of the conversations of a job. The first answer to each counts, and replaces its errors."""

    def __init__(self, conversations: Sequence[Conversation], access: EngineAccess) -> None:
        self._conversations, self._check = conversations, access.check
        self._answered: dict[int, Conversation] = {}
        self._errors: dict[int, str] = {}

    async def add(self, index: int, result: Completion | RequestError) -> None:
        """Add the result of a conversation."""
        if index in self._answered:
            return
        outcome = await checked(result, self._check)
        if isinstance(outcome, RequestError):
            self._errors[index] = str(outcome)
        else:
            self._answered[index] = outcome.append_to(self._conversations[index])
            self._errors.pop(index, None)

    @property
    def are_empty(self) -> bool:
        return not self._answered and not self._errors

    def all(self) -> BatchResult:
        """The outcomes of all conversations."""
        for index in range(len(self._conversations)):
            if index not in self._answered:
                self._errors.setdefault(index, "the results of the job do not have this row")
        errors = dict(sorted(self._errors.items()))
        return BatchResult(sorted(self._answered.items()), [*errors], errors)


def _results(
    api: BatchApi, codec: Codec, indices: dict[str, int], rows: int, lines: Sequence[bytes], counts: LineCounts
) -> list[tuple[int, Completion | RequestError]]:
    """Return the results in these lines, with the indices of their conversations. Counts the lines."""
    found: list[tuple[int, Completion | RequestError]] = []
    for line in lines:
        try:
            answer = api.dialect.answer(line)
        except RequestError:
            counts.unreadable += 1
            continue  # The row is reported as missing.
        counts.read += 1
        index = indices.get(answer.custom_id)
        if index is None and (match := _INDEX.fullmatch(answer.custom_id)):
            index = int(match[1])
        if index is None or index >= rows:
            continue
        try:
            found.append((index, api.completion(codec, answer)))
        except RequestError as error:
            found.append((index, error))
    return found
