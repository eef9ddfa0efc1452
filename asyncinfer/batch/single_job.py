"""Submits a list of conversations as one job."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi
from asyncinfer.batch.clean_up import delete_requests
from asyncinfer.batch.custom_ids import RowId, custom_id
from asyncinfer.batch.job_state import new_tag
from asyncinfer.batch.submission import is_refusal
from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.batch import JobFile, SentJob, has_tag
from asyncinfer.errors import InputError, RequestError, invalid_request
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.input import InvalidRows
from asyncinfer.run.items import item_of
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.transport.base import UnreachableError
from asyncinfer.types.conversation import Conversation

log = logging.getLogger("asyncinfer")

# The key of a row is that of its content: results may be read by an engine with other parameters.
_CONTENT_KEYS = RowKeys("BATCH", ModelParams(), GenerationParams())


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


async def submit(api: BatchApi, access: EngineAccess, conversations: Sequence[Conversation]) -> str:
    """Submit a job, and return its id.

    Args:
        access: How conversations reach the engine.

    Raises:
        InputError: There are no conversations, or one of them cannot be part of a job.
        RequestError: The API did not accept the job, or it is not known whether it did.
    """
    path = await DISK.run(_temporary)
    try:
        file = await DISK.run(_write, path, api, access, conversations)
        sent = SentJob(new_tag(), file, api.window, datetime.now(UTC))
        stored: list[str] = []

        async def note_stored(file_id: str) -> None:
            stored.append(file_id)

        try:
            steps = api.dialect.submit(api.client.context, file, sent.tag, sent.window)
            return await api.client.do(steps, note_stored)
        except RequestError as error:
            if is_refusal(error) or isinstance(error, UnreachableError):  # The last request was not even sent.
                await delete_requests(api, sent.tag, stored)
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
            if has_tag(info, sent.tag):
                return info.id
    raise RequestError(
        f"{failure}. {_how_to_find(sent)}",
        error_type=failure.error_type,
        status_code=failure.status_code,
    )


def _how_to_find(sent: SentJob) -> str:
    return (
        "It is not known whether the batch job was created. Before you submit it again, look in the list of jobs for "
        f"one with the tag {sent.tag}, or for a new one with {sent.file.rows:,} requests"
    )


def _write(path: Path, api: BatchApi, access: EngineAccess, conversations: Sequence[Conversation]) -> JobFile:
    """Write the file of a job."""
    codec, limits, size = api.codec(), api.dialect.limits, 0
    problems = InvalidRows("conversations")
    with path.open("wb") as file:
        for index, (row, conversation) in enumerate(zip(row_ids(conversations), conversations, strict=True)):
            try:
                line = api.line(custom_id(row), codec.encode(_as_sent(access, conversation)))
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
            f"{limits.bytes:,} bytes (found {rows:,} requests and {size:,} bytes). `asyncinfer batch run`, or arun "
            "with `batch` in Python, splits any number of rows into jobs"
        )
    return JobFile(path, size, rows)


def _as_sent(access: EngineAccess, conversation: Conversation) -> Conversation:
    """The conversation as the requests of the job contain it.

    Raises:
        RequestError: Its request needs other settings than those of the job.
    """
    sent = access.as_sent(conversation)
    if sent is not None:
        return sent
    what = "settings of its own" if conversation.has_settings else "tools, which the API does not combine with a schema"
    raise invalid_request(
        f"it has {what}. `asyncinfer batch run`, or arun with `batch` in Python, sends such rows one by one"
    )


def _temporary() -> Path:
    with tempfile.NamedTemporaryFile(prefix="asyncinfer-", suffix=".jsonl", delete=False) as file:
        return Path(file.name)
