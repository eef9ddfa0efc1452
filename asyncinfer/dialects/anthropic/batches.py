"""Anthropic's Message Batches: one request creates a job with all its rows, and the results are JSON lines.

Sources, November 2026: anthropic-python 2.14 (`resources/messages/batches.py`, `types/messages/message_batch*.py`);
Anthropic's API reference "Create a Message Batch" (at most 100,000 requests and 256 MB) and guide "Batch processing"
(a job ends after at most 24 hours, its results are available for 29 days, half the price of single requests). The API
refuses ids with more than 64 characters.

A job has neither a name nor metadata, and the API documents no idempotency key. So a job whose response was lost can be
recognised only by its results, which have the ids of its rows. Before it ends, only its time and the number of its
requests are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from asyncinfer.dialects.anthropic.messages import VERSION_HEADERS, error_in
from asyncinfer.dialects.batch import BatchAnswer, BatchDialect, BatchLimits, JobFile, SentJob
from asyncinfer.dialects.batch_fields import (
    as_response,
    line_object,
    objects_at,
    optional_text,
    query_of,
    required_custom_id,
    required_text,
    segment,
    time_at,
    unanswered,
)
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.fields import as_object, count_at, object_at
from asyncinfer.dialects.http import json_object
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus, earliest
from asyncinfer.types.http import HttpRequest, malformed_response

_PATH = "/messages/batches"
_BEFORE, _AFTER = b'{"requests":[', b"]}"
_MOST_BYTES = 256 * 10**6 - len(_BEFORE) - len(_AFTER)
# A lost job was created after the attempt to create it, by clocks that differ a little, and not much later.
_CLOCK_DIFFERENCE, _LATEST = timedelta(minutes=10), timedelta(hours=24)
_PAGE, _MOST_PAGES = 1000, 100
_STATUSES = {"in_progress": BatchStatus.IN_PROGRESS, "canceling": BatchStatus.CANCELLING}
_UNANSWERED = {
    "expired": "the batch job expired before this request was answered",
    "canceled": "the batch job was cancelled before this request was answered",
}


def line(context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the file of requests."""
    return b'{"custom_id":"%b","params":%b}' % (custom_id.encode(), request.body)


def submit(context: BatchContext, job_file: JobFile, tag: str, window: str) -> Steps[str]:
    """Create a job. The API stores no tag, and has no other window than 24 hours."""
    created = json_object((yield Upload(_request(context, "POST", _PATH), job_file.path, _BEFORE, _AFTER)))
    return required_text(created, "id")


def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return info(json_object((yield Exchange(_request(context, "GET", _path(batch_id))))))


def cancel(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it."""
    return info(json_object((yield Exchange(_request(context, "POST", f"{_path(batch_id)}/cancel")))))


def listing(context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
    """Return one page of the jobs."""
    query = query_of(after_id=after, limit=limit)
    page = json_object((yield Exchange(_request(context, "GET", _PATH, query))))
    batches = [info(entry) for entry in objects_at(page, "data")]
    first, last = (batches[0].id, batches[-1].id) if batches else (None, None)
    has_more = page.get("has_more") is True and bool(batches)
    return BatchListResponse(batches, optional_text(page, "first_id") or first, last, has_more)


def find(context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    """Return the jobs that may be this one: created within a day of the attempt, with the same number of requests."""
    found: list[BatchInfo] = []
    after: str | None = None
    for _ in range(_MOST_PAGES):
        page = yield from listing(context, after, _PAGE)
        found += [batch for batch in page.batches if _may_be(batch, job)]
        if not page.has_more or page.last_id == after or _are_older(page.batches, job):
            break
        after = page.last_id
    return earliest(found)


def results(context: BatchContext, job: BatchInfo) -> Steps[list[Exchange]]:
    """Return the request for the results. A key is sent only to the server of the API.

    Raises:
        RequestError: The results are not available any more.
    """
    yield from ()  # The job already says where its results are.
    metadata = job.metadata or {}
    if metadata.get("archived_at"):
        raise RequestError(
            f"the results of batch job {job.id} were deleted on {metadata['archived_at']}. Submit the rows again",
            error_type=InferenceErrorType.API_STATUS,
        )
    url = metadata.get("results_url")
    if not isinstance(url, str) or not url:
        return []
    return [Exchange(_request(context, "GET", url if _is_same_server(url, context) else f"{_path(job.id)}/results"))]


def answer(result_line: bytes) -> BatchAnswer:
    """Read one line of the results.

    Raises:
        RequestError: The line is not a result with an id.
    """
    entry = line_object(result_line)
    custom_id, result = required_custom_id(entry.get("custom_id")), object_at(entry, "result")
    message = result.get("message")
    if isinstance(message, dict):
        return BatchAnswer(custom_id, as_response(message))
    kind = result.get("type")
    if isinstance(kind, str) and kind in _UNANSWERED:
        return BatchAnswer(custom_id, error=unanswered(_UNANSWERED[kind], is_cancelled=kind == "canceled"))
    return BatchAnswer(custom_id, error=_error(result))


def info(batch: Mapping[str, Any]) -> BatchInfo:
    """Return the job in a response. Requests that failed do not make a job that ended a failed one."""
    counts = object_at(batch, "request_counts")
    succeeded, errored, canceled, expired, processing = (
        count_at(counts, name) or 0 for name in ("succeeded", "errored", "canceled", "expired", "processing")
    )
    state, ended = _state(batch, canceled, expired), time_at(batch, "ended_at")
    return BatchInfo(
        id=required_text(batch, "id"),
        status=state,
        total_requests=succeeded + errored + canceled + expired + processing,
        completed_requests=succeeded,
        failed_requests=errored + canceled + expired,
        endpoint="/v1/messages",
        created_at=time_at(batch, "created_at"),
        expires_at=time_at(batch, "expires_at"),
        completed_at=ended,
        expired_at=ended if state is BatchStatus.EXPIRED else None,
        canceling_at=time_at(batch, "cancel_initiated_at"),
        canceled_at=ended if state is BatchStatus.CANCELLED else None,
        metadata={name: batch.get(name) for name in ("processing_status", "results_url", "archived_at")},
    )


def _state(batch: Mapping[str, Any], canceled: int, expired: int) -> BatchStatus:
    """Return the state of a job. An unknown state means that the job goes on, unless it has results."""
    named = batch.get("processing_status")
    if named != "ended" and not optional_text(batch, "results_url"):
        return _STATUSES.get(named, BatchStatus.IN_PROGRESS) if isinstance(named, str) else BatchStatus.IN_PROGRESS
    if canceled:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if expired else BatchStatus.COMPLETED


def _may_be(batch: BatchInfo, job: SentJob) -> bool:
    """Whether a job may be the one that was sent. A job whose time is not known may be."""
    if batch.total_requests != job.file.rows:
        return False
    created = batch.created_at
    return created is None or -_CLOCK_DIFFERENCE <= created - job.since <= _LATEST


def _are_older(batches: Iterable[BatchInfo], job: SentJob) -> bool:
    """Whether all jobs of a page are older than the job. The API lists new jobs first."""
    times = [batch.created_at for batch in batches]
    return all(time is not None and time < job.since - _CLOCK_DIFFERENCE for time in times)


def _error(result: Mapping[str, Any]) -> RequestError:
    """Return the error of a row. It is an error response, with the error under `error`, or only the error itself."""
    found = as_object(result.get("error"))
    if not found:
        return malformed_response(f"has a result of an unknown type ({str(result.get('type'))[:50]!r})")
    whole = found if isinstance(found.get("error"), dict) else {"type": "error", "error": found}
    return error_in(whole, as_response(whole).body)


def _request(context: BatchContext, method: str, path: str, query: str = "") -> HttpRequest:
    request = context.request(method, path, query=query)
    return request._replace(headers={**request.headers, **VERSION_HEADERS})


def _path(batch_id: str) -> str:
    return f"{_PATH}/{segment(batch_id)}"


def _is_same_server(url: str, context: BatchContext) -> bool:
    try:
        return urlsplit(url)[:2] == urlsplit(context.base_url)[:2]
    except ValueError:
        return False


ANTHROPIC_BATCHES = BatchDialect(
    line=line,
    submit=submit,
    status=status,
    cancel=cancel,
    listing=listing,
    results=results,
    answer=answer,
    limits=BatchLimits(rows=100_000, bytes=_MOST_BYTES),
    separator=b",",
    find=find,
    docs="https://platform.claude.com/docs/en/build-with-claude/batch-processing",
)
