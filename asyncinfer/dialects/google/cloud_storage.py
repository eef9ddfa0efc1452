"""Requests to Google Cloud Storage.

Source: the reference of its JSON API (`objects.insert`, `objects.list`, `objects.get`), November 2026. An upload in one
request creates the object only when it is complete. google-cloud-storage reads the environment variable
`STORAGE_EMULATOR_HOST` too.
"""

from __future__ import annotations

from asyncinfer.dialects.batch import JobFile
from asyncinfer.dialects.batch_fields import objects_at, optional_text, query_of, segment
from asyncinfer.dialects.batch_steps import GCS, BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.http import json_object
from asyncinfer.dialects.storage import StoragePath
from asyncinfer.types.http import HttpRequest

EMULATOR = "STORAGE_EMULATOR_HOST"
_HOST = "https://storage.googleapis.com"
_MOST_PAGES = 1000


def upload(context: BatchContext, path: StoragePath, job_file: JobFile) -> Steps[None]:
    """Create or replace an object.

    Raises:
        RequestError: The object could not be created.
    """
    query = query_of(uploadType="media", name=path.key)
    request = _request(context, "POST", f"/upload/storage/v1/b/{segment(path.bucket)}/o?{query}")
    headers = {**request.headers, "Content-Type": "application/jsonl"}
    json_object((yield Upload(request._replace(headers=headers), job_file.path, service=GCS)))


def objects_below(context: BatchContext, prefix: StoragePath) -> Steps[list[StoragePath]]:
    """Return the objects whose names begin with a prefix and a slash, sorted by name.

    Raises:
        RequestError: They could not be listed.
    """
    names, token = list[str](), None
    for _ in range(_MOST_PAGES):
        query = query_of(prefix=f"{prefix.key}/", pageToken=token)
        listed = _request(context, "GET", f"/storage/v1/b/{segment(prefix.bucket)}/o?{query}")
        page = json_object((yield Exchange(listed, GCS)))
        names += [name for entry in objects_at(page, "items") if (name := optional_text(entry, "name"))]
        token = optional_text(page, "nextPageToken")
        if token is None:
            break
    return [prefix._replace(key=name) for name in sorted(set(names))]


def content(context: BatchContext, path: StoragePath) -> Exchange:
    """Return the request for the content of an object."""
    url_path = f"/storage/v1/b/{segment(path.bucket)}/o/{segment(path.key)}?alt=media"
    return Exchange(_request(context, "GET", url_path), GCS)


def _request(context: BatchContext, method: str, path: str) -> HttpRequest:
    host = (context.variables.get(EMULATOR) or _HOST).rstrip("/")
    host = host if "://" in host else f"http://{host}"
    return context.request(method, host + path)
