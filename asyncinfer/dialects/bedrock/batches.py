"""Bedrock's batch inference, with its files in S3.

Sources, November 2026: botocore 1.44 (service model `bedrock` 2023-04-20); in the user guide of Bedrock, "Process
multiple prompts with batch inference" (`Converse` jobs refuse tools, `InvokeModel` jobs accept them), "Format and
upload your batch inference data" and "View the results of a batch inference job"; quotas in "Amazon Bedrock endpoints
and quotas" (for most models at least 100 records, and at most 50,000 records and 1 GB in a file). Half the price of
single requests.

`clientRequestToken` makes the creation of a job idempotent, and the names of jobs are unique. Both are the tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from pydantic_core import to_json

from asyncinfer.dialects.batch import TAG, BatchAnswer, BatchDialect, BatchLimits, JobFile, SentJob, has_tag
from asyncinfer.dialects.batch_fields import (
    as_response,
    end_times,
    line_object,
    objects_at,
    optional_text,
    query_of,
    required_custom_id,
    required_text,
    segment,
    time_at,
    token_page,
)
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps
from asyncinfer.dialects.bedrock.hosts import VARIABLES, control_plane
from asyncinfer.dialects.bedrock.job_requests import invocation_type, job_dialect
from asyncinfer.dialects.bedrock.s3 import content, objects_below, upload
from asyncinfer.dialects.fields import as_object, count_at, object_at
from asyncinfer.dialects.http import json_object
from asyncinfer.dialects.storage import StoragePath, requests_path, required_storage, results_path, storage_path
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus, earliest
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response
from asyncinfer.types.times import parse_duration

_LEAST_HOURS, _MOST_HOURS = 24, 168
_ROLE = re.compile(r"arn:aws(?:-[^:]+)?:iam::[0-9]{12}:role/.+")
_STATUSES = {
    "Submitted": BatchStatus.VALIDATING,
    "Validating": BatchStatus.VALIDATING,
    "Scheduled": BatchStatus.IN_PROGRESS,
    "InProgress": BatchStatus.IN_PROGRESS,
    "Completed": BatchStatus.COMPLETED,
    "PartiallyCompleted": BatchStatus.EXPIRED,  # The time was not enough for all records.
    "Failed": BatchStatus.FAILED,
    "Stopping": BatchStatus.CANCELLING,
    "Stopped": BatchStatus.CANCELLED,
    "Expired": BatchStatus.EXPIRED,
}


def line(context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the file of requests."""
    return b'{"recordId":"%b","modelInput":%b}' % (custom_id.encode(), request.body)


def submit(context: BatchContext, job_file: JobFile, tag: str, window: str) -> Steps[str]:
    """Upload the file and create a job. If a job with this tag exists already, return its id.

    Raises:
        ConfigError: The storage or the role is not set, or not valid.
    """
    storage = required_storage(context, "s3")
    role = _role(context)
    yield from upload(context, requests_path(storage, tag), job_file)
    job = {
        "jobName": tag,
        "clientRequestToken": tag,
        "modelId": context.model,
        "roleArn": role,
        "modelInvocationType": invocation_type(context.model),
        "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": requests_path(storage, tag).uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{results_path(storage, tag).uri}/"}},
        "timeoutDurationInHours": _hours(window),
    }
    created = yield _exchange(context, "POST", "/model-invocation-job", to_json(job))
    if created.status == 409 and (found := (yield from _named(context, tag))):
        return found[0].id
    return required_text(json_object(created), "jobArn")


def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return info(json_object((yield _exchange(context, "GET", _path(batch_id)))))


def cancel(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it."""
    json_object((yield _exchange(context, "POST", f"{_path(batch_id)}/stop")))
    return (yield from status(context, batch_id))


def listing(context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
    """Return one page of the jobs."""
    return (yield from _page(context, nextToken=after, maxResults=limit))


def find(context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    """Return the jobs whose name is the tag. There is at most one."""
    return (yield from _named(context, job.tag))


def results(context: BatchContext, job: BatchInfo) -> Steps[list[Exchange]]:
    """Return the requests for the objects with results. Without the permission to list them, their name is assumed."""
    output = storage_path(job.output_file_id or "")
    if output is None:
        return []
    try:
        found = yield from objects_below(context, output)
    except RequestError as error:
        if error.status_code != 403:
            raise
        found = _likely_results(job, output)
    return [content(context, path) for path in found if path.key.endswith(".jsonl.out")]


def answer(result_line: bytes) -> BatchAnswer:
    """Read one line of the results.

    Raises:
        RequestError: The line is not a result with an id.
    """
    entry = line_object(result_line)
    custom_id, output = required_custom_id(entry.get("recordId")), entry.get("modelOutput")
    if isinstance(output, dict) and output:
        return BatchAnswer(custom_id, as_response(output))
    if error := as_object(entry.get("error")):
        return BatchAnswer(custom_id, _error_response(error))
    raise malformed_response("has a line with neither an output nor an error")


def info(job: Mapping[str, Any]) -> BatchInfo:
    """Return the job in a response, or in an entry of a list."""
    state, ended, name = _state(job), time_at(job, "endTime"), optional_text(job, "jobName")
    arn = required_text(job, "jobArn")
    source = object_at(object_at(job, "inputDataConfig"), "s3InputDataConfig")
    output = storage_path(str(object_at(object_at(job, "outputDataConfig"), "s3OutputDataConfig").get("s3Uri")))
    return BatchInfo(
        id=arn,
        status=state,
        total_requests=count_at(job, "totalRecordCount") or 0,
        completed_requests=count_at(job, "successRecordCount") or 0,
        failed_requests=count_at(job, "errorRecordCount") or 0,
        endpoint=optional_text(job, "modelInvocationType") or "InvokeModel",  # The default.
        input_file_id=optional_text(source, "s3Uri"),
        batch_completion_window=_window(job),
        output_file_id=output.below(arn.rpartition("/")[2]).uri if output is not None else None,
        error=optional_text(job, "message"),
        created_at=time_at(job, "submitTime"),
        expires_at=time_at(job, "jobExpirationTime"),
        **end_times(state, ended),
        metadata={"model": job.get("modelId"), "state": job.get("status"), **({TAG: name} if name else {})},
    )


def _state(job: Mapping[str, Any]) -> BatchStatus:
    """Return the state of a job. An unknown state means that the job goes on, unless it has an end."""
    named = job.get("status")
    known = _STATUSES.get(named) if isinstance(named, str) else None
    return known or (BatchStatus.COMPLETED if optional_text(job, "endTime") else BatchStatus.IN_PROGRESS)


def _window(job: Mapping[str, Any]) -> str | None:
    hours = count_at(job, "timeoutDurationInHours")
    return f"{hours}h" if hours is not None else None


def _role(context: BatchContext) -> str:
    role = (context.role or "").strip()
    if not _ROLE.fullmatch(role):
        found = f"found {role!r}" if role else "not set"
        raise ConfigError(
            "batch.role: should be the ARN of a role with which Bedrock can use the bucket, such as "
            f"arn:aws:iam::123456789012:role/batch ({found})"
        )
    return role


def _hours(window: str) -> int:
    """Return the time for a job, within the bounds of the API."""
    seconds = parse_duration(window)
    return min(max(ceil((seconds or 0) / 3600), _LEAST_HOURS), _MOST_HOURS)


def _likely_results(job: BatchInfo, output: StoragePath) -> list[StoragePath]:
    """Return the object that the user guide describes: it is named after the object with the requests."""
    return [output.below(f"{(job.input_file_id or '').rpartition('/')[2]}.out")]


def _error_response(error: Mapping[str, Any]) -> HttpResponse:
    """Return the response that the error of a record stands for. Its code is an HTTP status, or a name."""
    code, message = error.get("errorCode"), error.get("errorMessage")
    status = count_at(error, "errorCode")
    name = {"code": code} if isinstance(code, str) and status is None else {}
    valid = status if status is not None and 400 <= status <= 599 else 500
    return as_response({"message": message if isinstance(message, str) else str(code), **name}, valid)


def _named(context: BatchContext, name: str) -> Steps[list[BatchInfo]]:
    page = yield from _page(context, nameContains=name, maxResults=100)
    return earliest([batch for batch in page.batches if has_tag(batch, name)])


def _page(context: BatchContext, **fields: object) -> Steps[BatchListResponse]:
    query = query_of(sortBy="CreationTime", sortOrder="Descending", **fields)
    page = json_object((yield _exchange(context, "GET", f"/model-invocation-jobs?{query}")))
    batches = [info(entry) for entry in objects_at(page, "invocationJobSummaries")]
    token = optional_text(page, "nextToken")
    return token_page(batches, token)


def _exchange(context: BatchContext, method: str, path: str, body: bytes = b"") -> Exchange:
    return Exchange(context.request(method, control_plane(context.chat_url) + path, body))


def _path(batch_id: str) -> str:
    return f"/model-invocation-job/{segment(batch_id)}"


BEDROCK_BATCHES = BatchDialect(
    line=line,
    submit=submit,
    status=status,
    cancel=cancel,
    listing=listing,
    results=results,
    answer=answer,
    limits=BatchLimits(rows=50_000, bytes=10**9, least_rows=100),
    find=find,
    chat=job_dialect,
    variables=VARIABLES,
    docs="https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html",
)
