"""Gemini's batch API: a file of requests is uploaded, a job answers it, and its results are a file again.

Sources, November 2026: Google's reference "Batch API", the guide "Batch API" (files of at most 2 GB, half the price of
single requests; a job that takes more than 48 hours expires and has no results), and google-genai 3.6 (`batches.py`).

The creation of a job is not idempotent, so a job is found again by its display name. Requests are those of Gemini's own
API, which get the key in another header than the OpenAI-compatible endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from asyncinfer.dialects.base import Dialect, Encoder, EncoderSettings
from asyncinfer.dialects.batch import TAG, BatchAnswer, BatchDialect, BatchLimits, JobFile
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
from asyncinfer.dialects.fields import as_object, count_at, object_at
from asyncinfer.dialects.google import response as gemini_response
from asyncinfer.dialects.google.files import GEMINI_FILES, file_content, upload_file
from asyncinfer.dialects.google.gemini import GEMINI, native_base, native_obstacle
from asyncinfer.dialects.google.jobs import error_response, message_in, state_in
from asyncinfer.dialects.google.native_api import native_exchange
from asyncinfer.dialects.google.request import GenerateEncoder
from asyncinfer.dialects.http import json_object
from asyncinfer.errors import ConfigError, InferenceErrorType, RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response

_CANCELLED = 1  # The code of gRPC.


def line(context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the file of requests."""
    return b'{"key":"%b","request":%b}' % (custom_id.encode(), request.body)


def submit(context: BatchContext, job_file: JobFile, tag: str, window: str) -> Steps[str]:
    """Upload the file and create a job. The API has no windows."""
    file_name = yield from upload_file(context, job_file, tag)
    batch = {"displayName": tag, "inputConfig": {"fileName": file_name}}
    path = f"/{quote(_model(context.model))}:batchGenerateContent"
    create = native_exchange(context, "POST", path, to_json({"batch": batch}))
    created = json_object((yield create._replace(stored=file_name)))
    return required_text(created, "name")


def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return info(json_object((yield native_exchange(context, "GET", _path(batch_id)))))


def cancel(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it."""
    json_object((yield native_exchange(context, "POST", f"{_path(batch_id)}:cancel", b"{}")))
    return (yield from status(context, batch_id))


def listing(context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
    """Return one page of the jobs."""
    query = query_of(pageSize=limit, pageToken=after)
    page = json_object((yield native_exchange(context, "GET", "/batches", query=query)))
    batches = [info(entry) for entry in objects_at(page, "operations")]
    token = optional_text(page, "nextPageToken")
    return token_page(batches, token)


def results(context: BatchContext, job: BatchInfo) -> Steps[list[Exchange]]:
    """Return the request for the results.

    Raises:
        RequestError: The job was created with its requests inline, so that it has no file of results.
    """
    if (job.metadata or {}).get("inlined_responses"):
        raise RequestError(
            f"batch job {job.id} has inline results, but only results in a file can be read. Submit the rows again",
            error_type=InferenceErrorType.API_STATUS,
        )
    if job.output_file_id is None:
        return []
    return [(yield from file_content(context, job.output_file_id))]


def answer(result_line: bytes) -> BatchAnswer:
    """Read one line of the results.

    Raises:
        RequestError: The line is not a result with a key.
    """
    entry = line_object(result_line)
    custom_id = required_custom_id(entry.get("key"), object_at(entry, "metadata").get("key"))
    return BatchAnswer(custom_id, _response(entry))


def _response(entry: Mapping[str, Any]) -> HttpResponse:
    """Return the response in a line: that of the model, or the one that the status of an error stands for."""
    if isinstance(entry.get("response"), dict) and entry["response"]:
        return as_response(entry["response"])
    for name in ("error", "status"):
        if error := as_object(entry.get(name)):
            return error_response(error)
    raise malformed_response("has a line with neither a response nor an error")


def info(operation: Mapping[str, Any]) -> BatchInfo:
    """Return the job in a long-running operation."""
    batch, stats = object_at(operation, "metadata"), object_at(object_at(operation, "metadata"), "batchStats")
    output, ended = _output(operation, batch), time_at(batch, "endTime")
    state, name = _state(operation, batch), optional_text(batch, "displayName")
    return BatchInfo(
        id=required_text(operation, "name"),
        status=state,
        total_requests=count_at(stats, "requestCount") or 0,
        completed_requests=count_at(stats, "successfulRequestCount") or 0,
        failed_requests=count_at(stats, "failedRequestCount") or 0,
        endpoint=optional_text(batch, "model"),
        input_file_id=optional_text(object_at(batch, "inputConfig"), "fileName"),
        output_file_id=optional_text(output, "responsesFile"),
        error=message_in(operation.get("error")),
        created_at=time_at(batch, "createTime"),
        **end_times(state, ended),
        metadata={
            "display_name": name,
            "state": batch.get("state"),
            **({TAG: name} if name is not None else {}),
            **({"inlined_responses": True} if output.get("inlinedResponses") else {}),
        },
    )


def _state(operation: Mapping[str, Any], batch: Mapping[str, Any]) -> BatchStatus:
    """Return the state of a job. If its name is not known, the operation says whether the job has ended, and how."""
    named = state_in(batch.get("state"))
    if named is not None or operation.get("done") is not True:
        return named or BatchStatus.IN_PROGRESS
    error = object_at(operation, "error")
    if error:
        return BatchStatus.CANCELLED if count_at(error, "code") == _CANCELLED else BatchStatus.FAILED
    return BatchStatus.COMPLETED


def _output(operation: Mapping[str, Any], batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where the results are. Both the response of the operation and the batch may say it."""
    response = object_at(operation, "response")
    return response if response.keys() & {"responsesFile", "inlinedResponses"} else object_at(batch, "output")


def _path(batch_id: str) -> str:
    return f"/batches/{segment(batch_id.removeprefix('batches/'))}"


def _model(name: str) -> str:
    return name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"


def native_encoder(settings: EncoderSettings) -> Encoder:
    """Return the encoder of the requests in a job.

    Raises:
        ConfigError: Gemini's own API does not support these settings.
    """
    if (obstacle := native_obstacle(settings)) is not None:
        raise ConfigError(f"batch jobs need Gemini's own API; {obstacle}")
    return GenerateEncoder(settings, native_base(settings.url))


GEMINI_NATIVE = replace(GEMINI, encoder=native_encoder, decode=gemini_response.decode)


def _native(model: str) -> Dialect:
    return GEMINI_NATIVE


GEMINI_BATCHES = BatchDialect(
    line=line,
    submit=submit,
    status=status,
    cancel=cancel,
    listing=listing,
    results=results,
    answer=answer,
    # Google documents no limit of requests. Smaller jobs end sooner.
    limits=BatchLimits(rows=50_000, bytes=2 * 10**9),
    chat=_native,
    files=GEMINI_FILES,
    docs="https://ai.google.dev/gemini-api/docs/batch-api",
)
