"""The files of a batch API: uploads a file of requests, and lists, reads and deletes files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.batch import FileQuery, JobFile
from asyncinfer.dialects.batch_fields import epoch_seconds, query_of, segment
from asyncinfer.dialects.batch_steps import BatchContext, Exchange, Steps, Upload
from asyncinfer.dialects.http import json_object, json_value, status_error
from asyncinfer.dialects.openai.batches.fields import first_text, first_time, listed_in, required_id
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks, Paging
from asyncinfer.types.batch import FileInfo, FileListResponse
from asyncinfer.types.http import HttpRequest

FILES = "/files"
# JSON escapes carriage returns, so no line of the file has the boundary after one.
_BOUNDARY = "asyncinfer-batch-file"
_CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"
_END = f"--{_BOUNDARY}--\r\n".encode()
# A page of a list without a cursor, and the most pages that are read.
_PAGE, _PAGES = 100, 1000


def file_name(tag: str) -> str:
    """Return the name of the file of the job with this tag."""
    return f"{tag}.jsonl"


def upload_file(quirks: BatchQuirks, context: BatchContext, file: JobFile, tag: str) -> Steps[str]:
    """Upload the file of a job, and return its id."""
    fields = {"purpose": "batch"}
    return required_id(json_object((yield file_upload(quirks.send(context, "POST", FILES), file, tag, fields))), "id")


def file_upload(request: HttpRequest, file: JobFile, tag: str, fields: Mapping[str, str]) -> Upload:
    """Return the upload of a file as multipart form data (RFC 7578, July 2015), after these fields."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file_name(tag)}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return Upload(_as_form(request), file.path, _form(fields) + head.encode(), b"\r\n" + _END)


def form_request(request: HttpRequest, fields: Mapping[str, str]) -> HttpRequest:
    """Return a request with these fields as multipart form data."""
    return _as_form(request)._replace(body=_form(fields) + _END)


def _as_form(request: HttpRequest) -> HttpRequest:
    return request._replace(headers={**request.headers, "Content-Type": _CONTENT_TYPE})


def _form(fields: Mapping[str, str]) -> bytes:
    part = '--{}\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return "".join(part.format(_BOUNDARY, name, value) for name, value in fields.items()).encode()


def list_files(quirks: BatchQuirks, context: BatchContext, wanted: FileQuery) -> Steps[FileListResponse]:
    """Return one page of the files. If the API has no cursor, the page is cut from the whole list."""
    if quirks.file_pages is not Paging.AFTER:
        return cut((yield from _all_files(quirks, context)), wanted)
    query = query_of(purpose=wanted.purpose, limit=wanted.limit, order=wanted.order, after=wanted.after)
    page = json_object((yield Exchange(quirks.send(context, "GET", FILES, query=query))))
    files = files_in(page)
    has_more = page.get("has_more")
    return FileListResponse(
        files, bool(files) and (has_more is True or (has_more is None and len(files) == wanted.limit))
    )


def get_file(quirks: BatchQuirks, context: BatchContext, file_id: str) -> Steps[FileInfo]:
    """Return the data of a file."""
    return _file(json_object((yield Exchange(quirks.send(context, "GET", f"{FILES}/{segment(file_id)}")))))


def delete_file(quirks: BatchQuirks, context: BatchContext, file_id: str) -> Steps[bool]:
    """Delete a file. Returns whether it was deleted."""
    response = yield Exchange(quirks.send(context, "DELETE", f"{FILES}/{segment(file_id)}"))
    if not response.is_success:
        raise status_error(response)
    return not response.body.strip() or json_object(response).get("deleted", True) is True


def file_content(quirks: BatchQuirks, context: BatchContext, file_id: str) -> Steps[Exchange]:
    """Return the request for the content of a file."""
    yield from ()  # No request is needed to know the URL.
    return Exchange(quirks.send(context, "GET", f"{FILES}/{segment(file_id)}/content"))


def files_in(page: Any) -> list[FileInfo]:
    """Return the files of a page of a list. Entries that are not files are left out."""
    return [_file(entry) for entry in listed_in(page, "data") if first_text(entry, "id")]


def _all_files(quirks: BatchQuirks, context: BatchContext) -> Steps[list[FileInfo]]:
    found: list[FileInfo] = []
    is_numbered = quirks.file_pages is Paging.NUMBER
    for number in range(_PAGES):
        query = query_of(page=number, page_size=_PAGE) if is_numbered else ""
        files = files_in(json_value((yield Exchange(quirks.send(context, "GET", FILES, query=query)))))
        found += files
        if not is_numbered or len(files) < _PAGE:
            break
    return found


def cut(files: list[FileInfo], wanted: FileQuery) -> FileListResponse:
    """Return the part of the whole list that was asked for."""
    files = [file for file in files if wanted.purpose in (None, file.purpose)]
    files.sort(key=lambda file: file.created_at, reverse=wanted.order == "desc")
    ids = [file.id for file in files]
    rest = files[ids.index(wanted.after) + 1 :] if wanted.after in ids else files
    return FileListResponse(rest[: wanted.limit], wanted.limit is not None and len(rest) > wanted.limit)


def _file(data: Mapping[str, Any]) -> FileInfo:
    size = data.get("bytes")
    return FileInfo(
        id=required_id(data, "id"),
        filename=first_text(data, "filename") or "",
        bytes=size if isinstance(size, int) and size > 0 else 0,
        created_at=epoch_seconds(first_time(data, "created_at")),
        purpose=first_text(data, "purpose") or "",
    )
