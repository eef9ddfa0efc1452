"""Vertex's batch prediction jobs, with their files in Cloud Storage.

Sources, November 2026, in Google Cloud's documentation: the REST reference of `projects.locations.batchPredictionJobs`,
"Batch inference with Gemini" (at most 200,000 requests and 1 GB; half the price of single requests), and the pages that
`vertex_rows.py` names; google-genai 3.6 (`batches.py`). Claude models get the Messages API's requests without `model`,
with `anthropic_version` in the body (anthropic-python 2.14, `lib/vertex`).

The creation of a job is not idempotent, so a job is found again by its display name. The results of a job that did not
end well, if there are any, are below the same prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.anthropic.embedded import embedded_messages
from asyncinfer.dialects.base import Dialect, Encoder, EncoderSettings
from asyncinfer.dialects.batch import TAG, BatchDialect, BatchLimits, JobFile, SentJob, has_tag
from asyncinfer.dialects.batch_fields import (
    end_times,
    objects_at,
    optional_text,
    query_of,
    required_text,
    segment,
    time_at,
    token_page,
)
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps
from asyncinfer.dialects.fields import as_list, count_at, object_at
from asyncinfer.dialects.google import response as gemini_response
from asyncinfer.dialects.google.cloud_storage import EMULATOR, content, objects_below, upload
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.jobs import message_in, state_in
from asyncinfer.dialects.google.request import GenerateEncoder
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.google.vertex_rows import answer, claude_line, gemini_line, openai_line
from asyncinfer.dialects.http import json_object
from asyncinfer.dialects.storage import requests_path, required_storage, results_path, storage_path
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus, earliest
from asyncinfer.types.http import HttpRequest

_CHATS = "/endpoints/openapi"
_CLAUDE_VERSION = "vertex-2023-10-16"
_PUBLISHER = re.compile(r"(?:.*/)?publishers/([^/]+)/models/(.+)|([^/]+)/([^/]+)")
_MOST_PAGES = 100


def line(context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
    """Return one line of the file of requests."""
    make = {"google": gemini_line, "anthropic": claude_line}.get(_publisher(context.model)[0], openai_line)
    return make(custom_id, request.body)


def submit(context: BatchContext, job_file: JobFile, tag: str, window: str) -> Steps[str]:
    """Upload the file and create a job. The API has no windows.

    Raises:
        ConfigError: The storage is not set.
    """
    storage = required_storage(context, "gs")
    yield from upload(context, requests_path(storage, tag), job_file)
    job = {
        "displayName": tag,
        "model": _model_path(context.model),
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [requests_path(storage, tag).uri]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": results_path(storage, tag).uri},
        },
    }
    created = json_object((yield _exchange(context, "POST", "", to_json(job))))
    return required_text(created, "name")


def status(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Return a job."""
    return info(json_object((yield _exchange(context, "GET", _path(batch_id)))))


def cancel(context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
    """Cancel a job, and return it."""
    json_object((yield _exchange(context, "POST", f"{_path(batch_id)}:cancel", b"{}")))
    return (yield from status(context, batch_id))


def listing(context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
    """Return one page of the jobs."""
    return (yield from _page(context, pageSize=limit, pageToken=after))


def find(context: BatchContext, job: SentJob) -> Steps[list[BatchInfo]]:
    """Return the jobs whose display name is the tag."""
    found, token = list[BatchInfo](), None
    for _ in range(_MOST_PAGES):
        page = yield from _page(context, filter=f'display_name="{job.tag}"', pageToken=token)
        found += [batch for batch in page.batches if has_tag(batch, job.tag)]
        token = page.last_id
        if not page.has_more:
            break
    return earliest(found)


def results(context: BatchContext, job: BatchInfo) -> Steps[list[Exchange]]:
    """Return the requests for the objects with results. Jobs that end early may leave some."""
    prefix = storage_path(job.output_file_id or "")
    if prefix is None:
        return []
    found = yield from objects_below(context, prefix)
    return [content(context, path) for path in found if path.key.endswith(".jsonl")]


def info(job: Mapping[str, Any]) -> BatchInfo:
    """Return the job in a response."""
    state, ended, stats = _state(job), time_at(job, "endTime"), object_at(job, "completionStats")
    done, failed, left = (count_at(stats, key) or 0 for key in ("successfulCount", "failedCount", "incompleteCount"))
    name = optional_text(job, "displayName")
    return BatchInfo(
        id=required_text(job, "name"),
        status=state,
        total_requests=done + failed + left,
        completed_requests=done,
        failed_requests=failed,
        endpoint=optional_text(job, "model"),
        input_file_id=_first_input(job),
        output_file_id=_output(job),
        error=message_in(job.get("error")),
        created_at=time_at(job, "createTime"),
        in_progress_at=time_at(job, "startTime"),
        **end_times(state, ended),
        metadata={"display_name": name, "state": job.get("state"), **({TAG: name} if name is not None else {})},
    )


def _state(job: Mapping[str, Any]) -> BatchStatus:
    """Return the state of a job. An unknown state means that the job goes on, unless it has an end."""
    named = state_in(job.get("state"))
    if named is not None or not optional_text(job, "endTime"):
        return named or BatchStatus.IN_PROGRESS
    return BatchStatus.FAILED if job.get("error") else BatchStatus.COMPLETED


def _first_input(job: Mapping[str, Any]) -> str | None:
    uris = as_list(object_at(object_at(job, "inputConfig"), "gcsSource").get("uris"))
    return uris[0] if uris and isinstance(uris[0], str) else None


def _output(job: Mapping[str, Any]) -> str | None:
    """Return the directory of the results; the prefix that was given if the job does not name the directory."""
    prefix = object_at(object_at(job, "outputConfig"), "gcsDestination")
    directory = optional_text(object_at(job, "outputInfo"), "gcsOutputDirectory")
    return directory or optional_text(prefix, "outputUriPrefix")


def _page(context: BatchContext, **fields: object) -> Steps[BatchListResponse]:
    page = json_object((yield _exchange(context, "GET", "", query=query_of(**fields))))
    batches = [info(entry) for entry in objects_at(page, "batchPredictionJobs")]
    token = optional_text(page, "nextPageToken")
    return token_page(batches, token)


def _exchange(context: BatchContext, method: str, path: str, body: bytes = b"", *, query: str = "") -> Exchange:
    """Return a request for a path below the jobs of the project and the location in the URL for chats."""
    parent = context.base_url.partition("?")[0].rstrip("/").removesuffix(_CHATS)
    return Exchange(context.request(method, f"{parent}/batchPredictionJobs{path}", body, query=query))


def _path(batch_id: str) -> str:
    return f"/{segment(batch_id.rpartition('/')[2])}"


# Models


def _publisher(model: str) -> tuple[str, str]:
    """Return who published a model, and its name: `("google", "gemini-2.5-flash")`."""
    if found := _PUBLISHER.fullmatch(model):
        return (found[1] or found[3], found[2] or found[4])
    return ("anthropic" if model.startswith("claude") else "google", model)


def _model_path(model: str) -> str:
    """Return the resource name of a model. That of a tuned model, `projects/.../models/...`, is kept."""
    if model.startswith("projects/"):
        return model
    publisher, name = _publisher(model)
    return f"publishers/{quote(publisher)}/models/{quote(name, safe='@')}"


def _gemini_encoder(settings: EncoderSettings) -> Encoder:
    return GenerateEncoder(settings, settings.url)


def _claude_encoder(settings: EncoderSettings) -> Encoder:
    return embedded_messages(settings, _CLAUDE_VERSION)


_GEMINI = replace(GEMINI, encoder=_gemini_encoder, decode=gemini_response.decode)
_CLAUDE = replace(ANTHROPIC_MESSAGES, encoder=_claude_encoder)


def _chat(model: str) -> Dialect:
    return {"google": _GEMINI, "anthropic": _CLAUDE}.get(_publisher(model)[0], VERTEX)


VERTEX_BATCHES = BatchDialect(
    line=line,
    submit=submit,
    status=status,
    cancel=cancel,
    listing=listing,
    results=results,
    answer=answer,
    limits=BatchLimits(rows=200_000, bytes=10**9),
    find=find,
    chat=_chat,
    variables=(EMULATOR,),
    docs="https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini",
)
