"""Batch jobs of Together.

A file is uploaded in three requests: one that returns a signed URL as a redirect, the upload to that URL, and one that
ends the upload. A job has no metadata, so it is found again by the name of its file. It has no counts of requests
either, only a percentage, which is reported as counts of 100.

Sources, November 2026: together 3.1 (`lib/resources/files.py`, `types/batch_job.py`); Together's "Batch inference" and
"Manage batch jobs" for limits, lines and error files. `CANCELING` is in no documentation, but the API sends it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from asyncinfer.dialects.batch import BatchLimits, JobFile
from asyncinfer.dialects.batch_fields import segment
from asyncinfer.dialects.batch_steps import UNSIGNED, BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.http import json_object, status_error
from asyncinfer.dialects.openai.batches.fields import required_id
from asyncinfer.dialects.openai.batches.files import FILES, file_name, form_request
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks, NewJob, Paging
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 20
_HEADERS = {"User-Agent": "asyncinfer"}


def upload(context: BatchContext, file: JobFile, tag: str) -> Steps[str]:
    """Upload the file of a job, and return its id."""
    request = context.request("POST", FILES)
    fields = {"purpose": "batch-api", "file_name": file_name(tag), "file_type": "jsonl"}
    response = yield Exchange(form_request(request, fields))
    if response.is_success:  # The server needs no upload to another URL.
        return required_id(json_object(response), "id")
    file_id = response.headers.get("x-together-file-id") or response.headers.get("X-Together-File-Id")
    if response.status not in _REDIRECTS or not file_id:
        raise status_error(response)
    yield from _put(request, response, file, file_id)
    ended = yield Exchange(context.request("POST", f"{FILES}/{segment(file_id)}/preprocess"))
    if not ended.is_success:
        raise status_error(ended)
    return file_id


def _put(request: HttpRequest, response: HttpResponse, file: JobFile, file_id: str) -> Steps[None]:
    """Upload a file to the URL of a redirect."""
    url = request.url
    for _ in range(_MOST_REDIRECTS):
        url = _target(url, response)
        put = HttpRequest(url, _HEADERS, b"", "PUT", request.timeout, request.limits)
        response = yield Upload(put, file.path, service=UNSIGNED, stored=file_id)
        if response.status not in _REDIRECTS:
            break
    if not response.is_success:
        raise status_error(response)


def _target(url: str, response: HttpResponse) -> str:
    """Return the URL of a redirect. The file must not leave an encrypted connection."""
    location = response.headers.get("location") or response.headers.get("Location")
    target = urljoin(url, location or "")
    if not location or (urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https"):
        raise malformed_response("redirects the upload to no secure URL")
    return target


def body(context: BatchContext, job: NewJob) -> dict[str, Any]:
    """Return the body of the request that creates a job."""
    return {"input_file_id": job.file_id, "endpoint": job.endpoint, "completion_window": job.window}


TOGETHER = BatchQuirks(
    "TOGETHER",
    upload,
    body,
    limits=BatchLimits(rows=50_000, bytes=100 * 10**6, line_bytes=10 * 10**6),
    job_pages=Paging.NONE,
    file_pages=Paging.NONE,
    names_endpoint=False,
    docs="https://docs.together.ai/docs/inference/batch/overview",
)
