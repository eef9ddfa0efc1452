"""The files that Gemini stores: the requests and the results of batch jobs, and files that users uploaded.

Sources, November 2026: Google's reference "Files", and google-genai 3.6 (`files.py`, `_api_client.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from asyncinfer.dialects.batch import FileQuery, FilesApi, JobFile
from asyncinfer.dialects.batch_fields import (
    epoch_seconds,
    objects_at,
    optional_text,
    query_of,
    required_text,
    segment,
    time_at,
)
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.fields import object_at
from asyncinfer.dialects.google.native_api import NATIVE, native_exchange
from asyncinfer.dialects.http import json_object, status_error
from asyncinfer.types.batch import FileInfo, FileListResponse
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response

_MEDIA_TYPE = "application/jsonl"
_UPLOAD = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
_FINALIZE = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
_MOST_PAGES = 1000


def list_files(context: BatchContext, wanted: FileQuery) -> Steps[FileListResponse]:
    """Return files. The API orders them, and has no purposes. Pages have tokens, so `after` is searched for."""
    found, token = list[FileInfo](), None
    for _ in range(_MOST_PAGES):
        query = query_of(pageSize=wanted.limit, pageToken=token)
        page = json_object((yield native_exchange(context, "GET", "/files", query=query)))
        found += map(_file, objects_at(page, "files"))
        token = optional_text(page, "nextPageToken")
        rest = _after(found, wanted.after)
        if rest or token is None:
            most = len(rest) if wanted.limit is None else wanted.limit
            return FileListResponse(rest[:most], token is not None or len(rest) > most)
    return FileListResponse([])


def get_file(context: BatchContext, file_id: str) -> Steps[FileInfo]:
    return _file(json_object((yield native_exchange(context, "GET", _file_path(file_id)))))


def delete_file(context: BatchContext, file_id: str) -> Steps[bool]:
    json_object((yield native_exchange(context, "DELETE", _file_path(file_id))))
    return True


def file_content(context: BatchContext, file_id: str) -> Steps[Exchange]:
    yield from ()  # No request is needed to know the URL.
    return native_exchange(
        context, "GET", f"{_file_path(file_id)}:download", query="alt=media", service_path="/download"
    )


def _file(entry: Mapping[str, Any]) -> FileInfo:
    return FileInfo(
        id=required_text(entry, "name"),
        filename=optional_text(entry, "displayName") or "",
        bytes=_size(entry.get("sizeBytes")),
        created_at=epoch_seconds(time_at(entry, "createTime")),
        purpose=str(entry.get("source") or "").lower(),
    )


def upload_file(context: BatchContext, job_file: JobFile, tag: str) -> Steps[str]:
    """Upload a file by the resumable protocol, in one piece. Returns its name. If it is cut off, there is no file."""
    start = {
        **_UPLOAD,
        "X-Goog-Upload-Header-Content-Length": str(job_file.size),
        "X-Goog-Upload-Header-Content-Type": _MEDIA_TYPE,
    }
    about = to_json({"file": {"displayName": tag, "mimeType": _MEDIA_TYPE}})
    started = yield native_exchange(context, "POST", "/files", about, headers=start, service_path="/upload")
    if not started.is_success:
        raise status_error(started)
    url = _at_server(_header(started, "x-goog-upload-url"), context)
    request = HttpRequest(url, {**context.headers, "Content-Type": _MEDIA_TYPE, **_FINALIZE}, timeout=context.timeout)
    done = json_object((yield Upload(request._replace(limits=context.limits), job_file.path, service=NATIVE)))
    return required_text(object_at(done, "file"), "name")


def _after(files: list[FileInfo], last_id: str | None) -> list[FileInfo]:
    """Return the files after the one with this id; all files if it is None."""
    if last_id is None:
        return files
    place = next((place for place, file in enumerate(files) if file.id == last_id), len(files))
    return files[place + 1 :]


def _size(value: object) -> int:
    """Return a number of bytes, which the API sends as a text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16 else 0


def _header(response: HttpResponse, name: str) -> str:
    found = next((value for key, value in response.headers.items() if key.lower() == name), None)
    if not found:
        raise malformed_response(f"has no header {name}")
    return found


def _at_server(url: str, context: BatchContext) -> str:
    """Return the URL of an upload at the server of the API, which may be behind a gateway. google-genai does the same.

    Raises:
        RequestError: The URL is not valid.
    """
    try:
        return urlsplit(url)._replace(**_origin(context)).geturl()
    except ValueError:
        raise malformed_response("has an invalid URL for the upload") from None


def _origin(context: BatchContext) -> dict[str, str]:
    own = urlsplit(context.base_url)
    return {"scheme": own.scheme, "netloc": own.netloc}


def _file_path(file_id: str) -> str:
    return f"/files/{segment(file_id.removeprefix('files/'))}"


GEMINI_FILES = FilesApi(list_files, get_file, delete_file, file_content)
