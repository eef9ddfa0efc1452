"""Batch jobs of Fireworks: datasets in place of files, and jobs with an id that the client chooses.

The tag is the id of the job and of its dataset, so a job is created only once. The model is one of the job. A result
has the answer as its `response`, without a status. URLs contain the id of the account.

Sources, November 2026: fireworks-ai 1.2.30 (`resources/batch_inference_jobs.py`, `resources/datasets.py`); Fireworks'
"Batch inference", for limits and files; Oumi 0.8 (`fireworks_inference_engine.py`), for `:cancel`, which the API
reference does not have. A server without it deletes the job instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from asyncinfer.dialects.batch import TAG, BatchDialect, BatchLimits, JobFile, SentJob
from asyncinfer.dialects.batch_fields import end_times, query_of, segment
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps
from asyncinfer.dialects.fields import as_object, object_at
from asyncinfer.dialects.http import json_object, status_error
from asyncinfer.dialects.openai.batches.datasets import (
    ACCOUNT,
    DATASETS,
    LARGEST_PAGE,
    account_of,
    account_request,
    downloads,
    short_id,
    upload_dataset,
)
from asyncinfer.dialects.openai.batches.fields import first_count, first_text, first_time, listed_in, required_id
from asyncinfer.dialects.openai.batches.jobs import status_of
from asyncinfer.dialects.openai.batches.lines import answer
from asyncinfer.dialects.openai.batches.quirks import CHAT, ONE_DAY, BatchQuirks
from asyncinfer.errors import RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus
from asyncinfer.types.http import HttpRequest

_QUIRKS = BatchQuirks("FIREWORKS", names_endpoint=False)
_BAD_REQUEST, _NOT_FOUND, _CONFLICT = 400, 404, 409
_NEWEST_FIRST = "create_time desc"
# Statuses of a server that cannot cancel jobs.
_NO_CANCEL = frozenset({404, 405, 501})


def line(context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the dataset. The request has no model, because the job has it.

    Raises:
        ConfigError: The engine uses the Responses API.
    """
    _QUIRKS.endpoint(context)
    body = {name: value for name, value in from_json(request.body).items() if name != "model"}
    return to_json({"custom_id": custom_id, "body": body})


def submit(context: BatchContext, file: JobFile, tag: str, window: str) -> Steps[str]:
    """Upload the dataset of a job and start the job. Returns its id. A job that exists already is not started again."""
    ONE_DAY.hours(window, "FIREWORKS")
    name = _resource_id(tag)
    yield from upload_dataset(context, file, name)
    body = {"model": context.model, "displayName": tag, "inputDatasetId": f"{account_of(context)}/datasets/{name}"}
    query = query_of(batchInferenceJobId=name)
    create = account_request(context, "POST", "/batchInferenceJobs", to_json(body), query=query)
    response = yield Exchange(create, stored=name)
    return name if response.status == _CONFLICT else short_id(required_id(json_object(response), "name"))


def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return job_info(json_object((yield Exchange(account_request(context, "GET", _job(batch_id))))))


def cancel(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it. A job that has ended is returned as it is."""
    info = yield from status(context, batch_id)
    if info.is_terminal:
        return info
    response = yield Exchange(account_request(context, "POST", f"{_job(batch_id)}:cancel", b"{}"))
    if response.status in _NO_CANCEL:
        response = yield Exchange(account_request(context, "DELETE", _job(batch_id)))
    if not response.is_success:
        raise status_error(response)
    return (yield from _after_cancel(context, info))


def _after_cancel(context: BatchContext, info: BatchInfo) -> Steps[BatchInfo]:
    """Return a job that was cancelled. It may have been deleted."""
    response = yield Exchange(account_request(context, "GET", _job(info.id)))
    if response.status == _NOT_FOUND:
        return replace(info, status=BatchStatus.CANCELLED)
    return job_info(json_object(response))


def listing(context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
    """Return one page of the jobs, newest first, or as the API sorts them if it does not accept the order."""
    size = None if limit is None else min(limit, LARGEST_PAGE)
    query = query_of(pageToken=after, pageSize=size, orderBy=_NEWEST_FIRST)
    response = yield Exchange(account_request(context, "GET", "/batchInferenceJobs", query=query))
    if response.status == _BAD_REQUEST:
        query = query_of(pageToken=after, pageSize=size)
        response = yield Exchange(account_request(context, "GET", "/batchInferenceJobs", query=query))
    page = json_object(response)
    batches = [job_info(entry) for entry in listed_in(page, "batchInferenceJobs") if first_text(entry, "name")]
    token = first_text(page, "nextPageToken")
    first, last = (batches[0].id, batches[-1].id) if batches else (None, None)
    return BatchListResponse(batches, first, token or last, token is not None)


def find(context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    """Find the job with a tag, which is its id."""
    response = yield Exchange(account_request(context, "GET", _job(_resource_id(job.tag))))
    return [] if response.status == _NOT_FOUND else [job_info(json_object(response))]


def results(context: BatchContext, info: BatchInfo) -> Steps[list[Exchange]]:
    """Return the requests for the files of the dataset of results: answers first.

    A job that did not complete may have no such dataset.
    """
    if info.output_file_id is None:
        return []
    try:
        return (yield from downloads(context, info.output_file_id))
    except RequestError as error:
        if error.status_code != _NOT_FOUND or info.status is BatchStatus.COMPLETED:
            raise
        return []


def job_info(data: Mapping[str, Any]) -> BatchInfo:
    """Return the job that an object describes.

    Raises:
        RequestError: The object has no name.
    """
    progress, lifecycle = object_at(data, "jobProgress"), object_at(data, "lifecycle")
    status = status_of(data.get("state"))
    ended = first_time(lifecycle, "endTime") or first_time(data, "endTime")
    counts = [first_count(progress, key) or 0 for key in ("totalInputRequests", "totalProcessedRequests")]
    return BatchInfo(
        id=short_id(required_id(data, "name")),
        status=status,
        total_requests=max(counts),
        completed_requests=first_count(progress, "successfullyProcessedRequests") or 0,
        failed_requests=first_count(progress, "failedRequests") or 0,
        endpoint=f"/v1{CHAT}",
        input_file_id=_optional_id(data, "inputDatasetId"),
        output_file_id=_optional_id(data, "outputDatasetId"),
        error=_error(data, status),
        created_at=first_time(data, "createTime"),
        in_progress_at=first_time(lifecycle, "runStartTime") or first_time(data, "startTime"),
        expires_at=first_time(data, "expireTime"),
        **end_times(status, ended),
        metadata=_metadata(data),
    )


def _error(data: Mapping[str, Any], status: BatchStatus) -> str | None:
    state = object_at(data, "status")
    text = first_text(state, "message") or first_text(state, "code")
    return None if status is BatchStatus.COMPLETED or text == "OK" else text


def _metadata(data: Mapping[str, Any]) -> dict[str, Any]:
    tag, percent = first_text(data, "displayName"), first_count(object_at(data, "jobProgress"), "percent")
    names = {TAG: tag, "model": first_text(data, "model"), "state": first_text(data, "state"), "percent": percent}
    return {name: value for name, value in names.items() if value is not None}


def _job(batch_id: str) -> str:
    return f"/batchInferenceJobs/{segment(short_id(batch_id))}"


def _resource_id(tag: str) -> str:
    """Return the id of a resource, which may have lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9-]", "-", tag.lower())[:63].strip("-")


def _optional_id(data: Mapping[str, Any], key: str) -> str | None:
    name = first_text(as_object(data), key)
    return None if name is None else short_id(name)


FIREWORKS_BATCHES = BatchDialect(
    line=line,
    submit=submit,
    status=status,
    cancel=cancel,
    listing=listing,
    results=results,
    answer=answer,
    limits=BatchLimits(rows=500_000, bytes=150 * 10**6),
    find=find,
    files=DATASETS,
    variables=(ACCOUNT,),
    docs="https://docs.fireworks.ai/guides/batch-inference",
)
