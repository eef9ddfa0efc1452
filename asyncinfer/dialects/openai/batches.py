"""OpenAI's batch API: a file of requests is uploaded, a job answers it, and its results are files again.

Sources, November 2026: openai 3.57.0 (`resources/batches.py`, `resources/files.py`, `types/batch.py`) and the guide
https://developers.openai.com/api/docs/guides/batch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from pydantic_core import to_json

from asyncinfer.dialects.batch import (
    TAG,
    BatchAnswer,
    BatchContext,
    BatchDialect,
    BatchLimits,
    Exchange,
    FileQuery,
    FilesApi,
    JobFile,
    Steps,
    Upload,
)
from asyncinfer.dialects.http import error_within, json_object
from asyncinfer.dialects.json_text import read_json
from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchStatus, FileInfo, FileListResponse
from asyncinfer.types.http import HttpRequest, HttpResponse, malformed_response

_DOCS = "https://developers.openai.com/api/docs/guides/batch"
# The codes of requests that a job did not get to. They may succeed in another job.
_UNANSWERED = frozenset({"batch_expired", "batch_cancelled"})
_STATUSES: Mapping[str, BatchStatus] = {status.value: status for status in BatchStatus}


def openai_batches(api: OpenAIBatchApi | None = None, limits: BatchLimits | None = None) -> BatchDialect:
    """Return the dialect of a server with OpenAI's batch API.

    Args:
        api: How the server differs from OpenAI's.
        limits: The limits of one job.
    """
    api = api or OpenAIBatchApi()
    files = FilesApi(api.list_files, api.get_file, api.delete_file, api.file_content)
    return BatchDialect(
        line=api.line,
        submit=api.submit,
        status=api.status,
        cancel=api.cancel,
        listing=api.list_jobs,
        results=api.results,
        answer=answer,
        limits=limits or BatchLimits(),
        files=files,
        docs=_DOCS,
    )


@dataclass(frozen=True, slots=True)
class OpenAIBatchApi:
    """The operations of a server with OpenAI's batch API.

    Args:
        prefix: What the path of a request begins with in a job, before `/chat/completions`.
        purpose: The purpose of the file of requests.
    """

    prefix: str = "/v1"
    purpose: str = "batch"

    def endpoint(self, chat_url: str) -> str:
        """Return the path by which a job names the API."""
        has_responses = urlsplit(chat_url).path.rstrip("/").endswith("/responses")
        return self.prefix + ("/responses" if has_responses else "/chat/completions")

    def line(self, context: BatchContext, custom_id: str, request: HttpRequest) -> bytes:
        head = to_json({"custom_id": custom_id, "method": "POST", "url": self.endpoint(context.chat_url)})
        return b'%b,"body":%b}' % (head[:-1], request.body)

    def submit(self, context: BatchContext, job_file: JobFile, tag: str, window: str) -> Steps[str]:
        uploaded = json_object((yield self._upload(context, job_file, tag)))
        body = {
            "input_file_id": _text(uploaded, "id"),
            "endpoint": self.endpoint(context.chat_url),
            "completion_window": window,
            "metadata": {TAG: tag},
        }
        created = json_object((yield Exchange(context.request("POST", "/batches", to_json(body)))))
        return _text(created, "id")

    def status(self, context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
        response = yield Exchange(context.request("GET", f"/batches/{_segment(batch_id)}"))
        return self.info(json_object(response))

    def cancel(self, context: BatchContext, batch_id: str) -> Steps[BatchInfo]:
        response = yield Exchange(context.request("POST", f"/batches/{_segment(batch_id)}/cancel"))
        return self.info(json_object(response))

    def list_jobs(self, context: BatchContext, after: str | None, limit: int | None) -> Steps[BatchListResponse]:
        query = _query(after=after, limit=limit)
        page = json_object((yield Exchange(context.request("GET", "/batches", query=query))))
        batches = [self.info(entry) for entry in _objects(page, "data")]
        ids = [batch.id for batch in batches]
        first, last = (page.get("first_id"), page.get("last_id")) if ids else (None, None)
        return BatchListResponse(batches, first or _at(ids, 0), last or _at(ids, -1), bool(page.get("has_more")))

    def results(self, context: BatchContext, info: BatchInfo) -> Steps[list[Exchange]]:
        ids = [file_id for file_id in (info.output_file_id, info.error_file_id) if file_id]
        exchanges: list[Exchange] = []
        for file_id in ids:
            exchanges.append((yield from self.file_content(context, file_id)))
        return exchanges

    def info(self, batch: Mapping[str, Any]) -> BatchInfo:
        """Return the job in a response. A status that is not known means that the job goes on."""
        counts: Mapping[str, Any] = batch.get("request_counts") or {}
        return BatchInfo(
            id=_text(batch, "id"),
            status=_STATUSES.get(str(batch.get("status")).lower(), BatchStatus.IN_PROGRESS),
            total_requests=counts.get("total") or 0,
            completed_requests=counts.get("completed") or 0,
            failed_requests=counts.get("failed") or 0,
            endpoint=batch.get("endpoint"),
            input_file_id=batch.get("input_file_id"),
            batch_completion_window=batch.get("completion_window"),
            output_file_id=batch.get("output_file_id"),
            error_file_id=batch.get("error_file_id"),
            error=_error_text(batch),
            created_at=_time(batch, "created_at"),
            in_progress_at=_time(batch, "in_progress_at"),
            expires_at=_time(batch, "expires_at"),
            finalizing_at=_time(batch, "finalizing_at"),
            completed_at=_time(batch, "completed_at"),
            failed_at=_time(batch, "failed_at"),
            expired_at=_time(batch, "expired_at"),
            canceling_at=_time(batch, "cancelling_at"),
            canceled_at=_time(batch, "cancelled_at"),
            metadata=batch.get("metadata"),
        )

    def list_files(self, context: BatchContext, wanted: FileQuery) -> Steps[FileListResponse]:
        query = _query(order=wanted.order, purpose=wanted.purpose, limit=wanted.limit, after=wanted.after)
        page = json_object((yield Exchange(context.request("GET", "/files", query=query))))
        files = [_file(entry) for entry in _objects(page, "data")]
        has_more = page.get("has_more")
        return FileListResponse(files, len(files) == wanted.limit if has_more is None else bool(has_more))

    def get_file(self, context: BatchContext, file_id: str) -> Steps[FileInfo]:
        return _file(json_object((yield Exchange(context.request("GET", f"/files/{_segment(file_id)}")))))

    def delete_file(self, context: BatchContext, file_id: str) -> Steps[bool]:
        response = yield Exchange(context.request("DELETE", f"/files/{_segment(file_id)}"))
        return bool(json_object(response).get("deleted"))

    def file_content(self, context: BatchContext, file_id: str) -> Steps[Exchange]:
        yield from ()  # No request is needed to know the URL.
        return Exchange(context.request("GET", f"/files/{_segment(file_id)}/content"))

    def _upload(self, context: BatchContext, job_file: JobFile, tag: str) -> Upload:
        boundary = f"asyncinfer-{tag}"  # The tag is random, so no line contains it.
        parts = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{self.purpose}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{tag}.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        request = context.request("POST", "/files")
        headers = {**request.headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        end = f"\r\n--{boundary}--\r\n".encode()
        return Upload(request._replace(headers=headers), job_file.path, parts.encode(), end)


def answer(line: bytes) -> BatchAnswer:
    """Read one line of the results of a job.

    Raises:
        RequestError: The line is not a result with a `custom_id`.
    """
    result = _line_object(line)
    custom_id = _text(result, "custom_id")
    response, error = result.get("response"), result.get("error")
    if isinstance(response, dict):
        found = cast(dict[str, Any], response)
        status = found.get("status_code")
        body = found.get("body")
        if body is not None or error is None:
            text = body.encode() if isinstance(body, str) else to_json(body, inf_nan_mode="constants")
            return BatchAnswer(custom_id, HttpResponse(status if isinstance(status, int) else 200, {}, text))
    return BatchAnswer(custom_id, error=_error(error))


def _line_object(line: bytes) -> dict[str, Any]:
    try:
        value = read_json(line)
    except ValueError as error:
        raise malformed_response(f"has a line that is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise malformed_response("has a line that is not a JSON object")
    return cast(dict[str, Any], value)


def _error(error: Any) -> RequestError:
    if isinstance(error, dict):
        fields = cast(dict[str, Any], error)
        if fields.get("code") in _UNANSWERED:
            message = str(fields.get("message") or fields["code"])
            return RequestError(message, error_type=InferenceErrorType.API_STATUS, is_retryable=True)
    return error_within(to_json({"error": error or "no response"}), "the batch job answered with an error")


def _error_text(batch: Mapping[str, Any]) -> str | None:
    """The errors of a job, as one text. OpenAI has a list under `errors.data`; other servers a text or an object."""
    errors = batch.get("errors") or batch.get("error")
    if isinstance(errors, dict):
        errors = cast(dict[str, Any], errors).get("data", errors)
    if not errors:
        return None
    entries = cast(list[Any], errors) if isinstance(errors, list) else [errors]
    texts = [_one_error(entry) for entry in entries[:3]]
    more = f" ({len(entries) - 3} more)" if len(entries) > 3 else ""
    return "; ".join(texts) + more


def _one_error(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    fields = cast(dict[str, Any], entry)
    line = f"line {fields['line']}: " if fields.get("line") is not None else ""
    return line + str(fields.get("message") or fields.get("code") or fields)


def _file(entry: Mapping[str, Any]) -> FileInfo:
    return FileInfo(
        id=_text(entry, "id"),
        filename=str(entry.get("filename") or ""),
        bytes=int(entry.get("bytes") or 0),
        created_at=int(entry.get("created_at") or 0),
        purpose=str(entry.get("purpose") or ""),
    )


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise malformed_response(f"has no {key}")
    return found


def _objects(page: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = page.get(key)
    if not isinstance(entries, list):
        raise malformed_response(f"has no list of {key}")
    return [entry for entry in cast(list[Any], entries) if isinstance(entry, dict)]


def _time(batch: Mapping[str, Any], key: str) -> datetime | None:
    value = batch.get(key)
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) and value else None


def _query(**values: object) -> str:
    return urlencode({name: value for name, value in values.items() if value is not None})


def _segment(name: str) -> str:
    return quote(name, safe="")


def _at(ids: list[str], place: int) -> str | None:
    return ids[place] if ids else None
