"""One job of a list of conversations: submitted, and its results in the order of the conversations."""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi, Codec
from asyncinfer.batch.custom_ids import RowId, custom_id
from asyncinfer.batch.job_state import new_tag
from asyncinfer.batch.line_counts import LineCounts
from asyncinfer.batch.submission import is_refusal
from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.batch import TAG, JobFile, SentJob
from asyncinfer.errors import BatchError, InputError, RequestError
from asyncinfer.run.input import InvalidRows
from asyncinfer.run.items import item_of
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.transport.base import UnreachableError
from asyncinfer.types.batch import BatchInfo, BatchResult, BatchStatus
from asyncinfer.types.conversation import Conversation

log = logging.getLogger("asyncinfer")

# The ids of rows in jobs that Oumi submitted: their indices in the input.
_INDEX = re.compile(r"request-(\d+)")
# The key of a row is that of its content: results may be read by an engine with other parameters.
_CONTENT_KEYS = RowKeys("BATCH", ModelParams(), GenerationParams())


RowOutcome = tuple[int, Conversation | RequestError]
"""The index of a conversation in the input, and the answered conversation or its error."""


def row_ids(conversations: Sequence[Conversation]) -> list[RowId]:
    """Return the ids of conversations in a job. Blocks: it reads the files of conversations.

    Raises:
        InputError: A file cannot be read.
    """
    seen: Counter[bytes] = Counter()
    problems, ids = InvalidRows("conversations"), list[RowId]()
    for index, conversation in enumerate(conversations):
        try:
            key = _CONTENT_KEYS(item_of(conversation).load())
        except InputError as error:
            problems.add(None, index, str(error))
            continue
        ids.append((key, seen[key]))
        seen[key] += 1
    if problems:
        raise problems.error()
    return ids


async def submit(api: BatchApi, conversations: Sequence[Conversation]) -> str:
    """Submit a job, and return its id.

    Raises:
        InputError: There are no conversations, or one of them cannot be part of a job.
        RequestError: The API did not accept the job, or it is not known whether it did.
    """
    path = await DISK.run(_temporary)
    try:
        file = await DISK.run(_write, path, api, conversations)
        sent = SentJob(new_tag(), file, api.window, datetime.now(UTC))
        try:
            return await api.client.do(api.dialect.submit(api.client.context, file, sent.tag, sent.window))
        except RequestError as error:
            if is_refusal(error) or isinstance(error, UnreachableError):  # The last request was not even sent.
                raise
            return await _found(api, sent, error)
        except BaseException:  # It is cancelled.
            log.warning("Submitting a batch job was stopped. %s", _how_to_find(sent))
            raise
    finally:
        with CancelScope(shield=True):
            await DISK.run(path.unlink)


async def _found(api: BatchApi, sent: SentJob, failure: RequestError) -> str:
    """Return the id of a job that may have been submitted before its submission failed.

    Raises:
        RequestError: There is no such job yet.
    """
    with suppress(RequestError):
        for info in await api.client.do(api.dialect.find_jobs(api.client.context, sent)):
            if (info.metadata or {}).get(TAG) == sent.tag:
                return info.id
    raise RequestError(
        f"{failure}. {_how_to_find(sent)}",
        error_type=failure.error_type,
        status_code=failure.status_code,
    )


def _how_to_find(sent: SentJob) -> str:
    return (
        "It is not known whether the batch job was created. Before you submit it again, look in the list of jobs for "
        f"one with the mark {sent.tag}, or for a new one with {sent.file.rows:,} requests"
    )


async def results(api: BatchApi, info: BatchInfo, conversations: Sequence[Conversation]) -> BatchResult:
    """Return the results of a job that has ended.

    Raises:
        BatchError: The job has not ended, it failed, or it has none of the conversations.
        RequestError: The results cannot be read.
    """
    _check_ended(info)
    indices = {custom_id(row): index for index, row in enumerate(await DISK.run(row_ids, conversations))}
    answered: dict[int, Conversation] = {}
    errors: dict[int, str] = {}
    codec, client = api.codec(), api.client
    total = LineCounts()
    for download in await client.do(api.dialect.results(client.context, info)):
        counts = LineCounts()
        async with aclosing(client.line_groups(download)) as groups:
            async for group in groups:
                _keep(await DISK.run(_outcomes, api, codec, group, indices, conversations, counts), answered, errors)
        counts.check_format()
        total.add(counts)
    total.check_complete(info, is_last_attempt=True)
    if total.read and conversations and not answered and not errors:
        raise BatchError(
            f"the results of the batch job {info.id} have none of these conversations. Give those of the job; if it is "
            "one of the jobs of a run, start the same run again"
        )
    for index in range(len(conversations)):
        if index not in answered:
            errors.setdefault(index, "the results of the job do not have this row")
    successful = sorted(answered.items())
    return BatchResult(successful, sorted(errors), dict(sorted(errors.items())))


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
            f"{info.total_requests} requests are done). Get its results when `get_batch_status` says `is_terminal`"
        )
    if info.status is BatchStatus.FAILED:
        raise BatchError(
            f"the batch job {info.id} failed: {info.error or 'the API does not say why'}. Correct the cause, and "
            "submit the conversations again"
        )


def _keep(outcomes: Sequence[RowOutcome], answered: dict[int, Conversation], errors: dict[int, str]) -> None:
    """Add outcomes to the answers and errors. The first answer of a row counts, and replaces its errors."""
    for index, outcome in outcomes:
        if isinstance(outcome, RequestError):
            if index not in answered:
                errors[index] = str(outcome)
        elif index not in answered:
            answered[index] = outcome
            errors.pop(index, None)


def _outcomes(
    api: BatchApi,
    codec: Codec,
    lines: Sequence[bytes],
    indices: dict[str, int],
    conversations: Sequence[Conversation],
    counts: LineCounts,
) -> list[RowOutcome]:
    found: list[RowOutcome] = []
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
        if index is None or index >= len(conversations):
            continue
        try:
            completion = api.completion(codec, answer)
        except RequestError as error:
            found.append((index, error))
        else:
            found.append((index, completion.append_to(conversations[index])))
    return found


def _write(path: Path, api: BatchApi, conversations: Sequence[Conversation]) -> JobFile:
    """Write the file of a job."""
    codec, limits, size = api.codec(), api.dialect.limits, 0
    problems = InvalidRows("conversations")
    with path.open("wb") as file:
        for index, (row, conversation) in enumerate(zip(row_ids(conversations), conversations, strict=True)):
            try:
                line = api.line(custom_id(row), codec.encode(conversation))
            except RequestError as error:
                problems.add(None, index, str(error))
                continue
            size += file.write(api.dialect.separator + line if index else line)
    if problems:
        raise problems.error()
    rows = len(conversations)
    if rows > limits.rows or size > limits.bytes or rows < limits.least_rows:
        raise InputError(
            f"a batch job of {api.name} may have {limits.least_rows:,} to {limits.rows:,} requests and "
            f"{limits.bytes:,} bytes (found {rows:,} requests and {size:,} bytes). `run` with `batch` splits any "
            "number of rows into jobs"
        )
    return JobFile(path, size, rows)


def _temporary() -> Path:
    with tempfile.NamedTemporaryFile(prefix="asyncinfer-", suffix=".jsonl", delete=False) as file:
        return Path(file.name)
