"""The operations of batch APIs in OpenAI's format."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from asyncinfer.dialects.batch import TAG, FileQuery, JobFile, SentJob, has_tag, jobs_since
from asyncinfer.dialects.batch_fields import query_of, segment
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps
from asyncinfer.dialects.fields import as_count, as_object, object_at
from asyncinfer.dialects.http import json_object, json_value
from asyncinfer.dialects.openai.batches.fields import first_text
from asyncinfer.dialects.openai.batches.files import file_content, file_name, list_files, upload_file
from asyncinfer.dialects.openai.batches.jobs import job_info, jobs_in
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks, NewJob, Paging, WithQuirks
from asyncinfer.errors import ConfigError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus, earliest

# The largest page of a list of jobs.
_PAGE = 100
# How many pages of a list of files are searched.
_PAGES = 1000
# Statuses of a job that can no longer be cancelled.
_TOO_LATE = frozenset({400, 409})


def submit(quirks: BatchQuirks, context: BatchContext, file: JobFile, tag: str, window: str) -> Steps[str]:
    """Upload the file of a job and start the job. Returns its id."""
    hours, endpoint = quirks.windows.hours(window, quirks.name), quirks.endpoint(context)
    upload = quirks.upload or WithQuirks(upload_file, quirks)
    file_id = yield from upload(context, file, tag)
    job = NewJob(file_id, tag, endpoint, "24h" if hours == 24 else window.strip(), hours)
    body = (quirks.body or openai_body)(context, job)
    created = yield Exchange(quirks.send(context, "POST", quirks.jobs, to_json(body)), stored=file_id)
    return job_info(json_object(created)).id


def openai_body(context: BatchContext, job: NewJob) -> dict[str, Any]:
    """Return the body of the request that creates a job."""
    return {
        "input_file_id": job.file_id,
        "endpoint": job.endpoint,
        "completion_window": job.window,
        "metadata": {TAG: job.tag},
    }


def status(quirks: BatchQuirks, context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return job_info(json_object((yield Exchange(quirks.send(context, "GET", _path(quirks, batch_id))))))


def cancel(quirks: BatchQuirks, context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it. A job that has ended, or is being cancelled, is returned as it is."""
    response = yield Exchange(quirks.send(context, "POST", f"{_path(quirks, batch_id)}/cancel"))
    if response.status in _TOO_LATE:
        info = yield from status(quirks, context, batch_id)
        if info.is_terminal or info.status is BatchStatus.CANCELLING:
            return info
    data = json_object(response)
    return job_info(data) if first_text(data, "id") else (yield from status(quirks, context, batch_id))


def listing(
    quirks: BatchQuirks, context: BatchContext, after: str | None, limit: int | None
) -> Steps[BatchListResponse]:
    """Return one page of the jobs."""
    size = min(limit or _PAGE, _PAGE)
    number = _page_number(quirks, after) if quirks.job_pages is Paging.NUMBER else 0
    query = {
        Paging.AFTER: query_of(after=after, limit=None if limit is None else size),
        Paging.CURSOR: query_of(cursor=after),
        Paging.NUMBER: query_of(page=number, page_size=size),
        Paging.NONE: "",
    }[quirks.job_pages]
    data = json_value((yield Exchange(quirks.send(context, "GET", quirks.jobs, query=query))))
    batches, fields = jobs_in(data), as_object(data)
    match quirks.job_pages:
        case Paging.AFTER:
            cursor, has_more = first_text(fields, "last_id"), fields.get("has_more") is True and bool(batches)
        case Paging.CURSOR:
            cursor = first_text(object_at(fields, "paging"), "next_cursor")
            has_more = cursor is not None
        case Paging.NUMBER:
            has_more = bool(batches) and (number + 1) * size < (as_count(fields.get("total")) or 0)
            cursor = str(number + 1)
        case Paging.NONE:
            batches, has_more = _cut(batches, after, limit)
            cursor = None
    first, last = (batches[0].id, batches[-1].id) if batches else (None, None)
    return BatchListResponse(batches, first, cursor or last, has_more)


def find(quirks: BatchQuirks, context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    """Find the jobs with a tag, earliest first: by their metadata, or else by the names of their files."""
    limit = None if quirks.job_pages is Paging.NONE else _PAGE
    batches = yield from jobs_since(WithQuirks(listing, quirks), context, job.since, limit)
    found = [batch for batch in batches if has_tag(batch, job.tag)]
    if batches and not found:
        uploaded = yield from _uploaded(quirks, context, job.tag)
        found = [batch for batch in batches if batch.input_file_id in uploaded]
    return earliest(found)


def results(quirks: BatchQuirks, context: BatchContext, info: BatchInfo) -> Steps[list[Exchange]]:
    """Return the requests for the files of results: answers first, then failed requests."""
    ids = dict.fromkeys(file_id for file_id in (info.output_file_id, info.error_file_id) if file_id)
    exchanges: list[Exchange] = []
    for file_id in ids:
        exchanges.append((yield from file_content(quirks, context, file_id)))
    return exchanges


def _uploaded(quirks: BatchQuirks, context: BatchContext, tag: str) -> Steps[set[str]]:
    """Return the ids of the files with the name of the file of a job."""
    found = set[str]()
    after: str | None = None
    for _ in range(_PAGES):
        page = yield from list_files(quirks, context, FileQuery(after=after))
        found |= {file.id for file in page.files if file.filename == file_name(tag)}
        if not page.has_more or page.files[-1].id == after:
            break
        after = page.files[-1].id
    return found


def _cut(batches: list[BatchInfo], after: str | None, limit: int | None) -> tuple[list[BatchInfo], bool]:
    """Return the page that was asked for of the whole list, and whether more follow."""
    ids = [batch.id for batch in batches]
    rest = batches[ids.index(after) + 1 :] if after in ids else batches
    return rest[:limit], limit is not None and len(rest) > limit


def _page_number(quirks: BatchQuirks, after: str | None) -> int:
    number = as_count(after or "0")
    if number is None:
        raise ConfigError(f"after: {quirks.name} counts the pages of its jobs; pass `last_id` of the page before")
    return number


def _path(quirks: BatchQuirks, batch_id: str) -> str:
    return f"{quirks.jobs}/{segment(batch_id)}"
