"""A fake of OpenAI's batch API, and of Azure's and Groq's.

Shapes: openai 3.57 (`types/batch.py`, `types/file_object.py`), groq 1.7 (`types/batch_create_response.py`) and the
guides of the providers, November 2026.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from asyncinfer import BatchStatus
from tests.batch.fakes.base import FakeBatchServer, Job, Json, Outcome, StoredFile, chat_answer, question_of
from tests.fakes import answer_to

_DAY = 86400


class OpenAIBatchServer(FakeBatchServer):
    """OpenAI's batch API.

    Args:
        endpoints: The endpoints that jobs may use.
        windows: Matches the completion windows that the API accepts.
        keeps_metadata: Whether jobs show the metadata that they were created with.
    """

    def __init__(
        self,
        *,
        endpoints: tuple[str, ...] = ("/v1/chat/completions", "/v1/responses"),
        windows: str = "24h",
        keeps_metadata: bool = True,
    ) -> None:
        super().__init__()
        self.endpoints, self.windows, self.keeps_metadata = endpoints, windows, keeps_metadata
        self.page = 20

    def add_routes(self, router: web.UrlDispatcher) -> None:
        jobs, files = f"{self.prefix}/batches", f"{self.prefix}/files"
        router.add_post(jobs, self._create)
        router.add_get(jobs, self._list)
        router.add_get(f"{jobs}/{{id}}", self._retrieve)
        router.add_post(f"{jobs}/{{id}}/cancel", self._cancel)
        router.add_post(files, self._upload)
        router.add_get(files, self._list_files)
        router.add_get(f"{files}/{{id}}", self._retrieve_file)
        router.add_delete(f"{files}/{{id}}", self._delete_file)
        router.add_get(f"{files}/{{id}}/content", self._content)

    def job_json(self, job: Job) -> Json:
        """Return a job, as the API shows it."""
        ended = job.created + 60
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.request["endpoint"],
            "errors": {"object": "list", "data": [{"code": "invalid_json_line", "message": job.error, "line": 1}]}
            if job.error
            else None,
            "input_file_id": job.input_file,
            "completion_window": job.request["completion_window"],
            "status": job.status.value,
            "output_file_id": job.output.id if job.output else None,
            "error_file_id": job.errors.id if job.errors else None,
            "created_at": job.created,
            "in_progress_at": job.created + 1,
            "expires_at": job.created + _DAY,
            "completed_at": ended if job.status is BatchStatus.COMPLETED else None,
            "failed_at": ended if job.status is BatchStatus.FAILED else None,
            "expired_at": ended if job.status is BatchStatus.EXPIRED else None,
            "cancelled_at": ended if job.status is BatchStatus.CANCELLED else None,
            "request_counts": {
                "total": len(job.rows),
                "completed": job.count(Outcome.ANSWERED),
                "failed": job.count(Outcome.FAILED, Outcome.UNREACHED),
            },
            "metadata": job.request.get("metadata") if self.keeps_metadata else None,
        }

    def file_json(self, file: StoredFile) -> Json:
        """Return a file, as the API shows it."""
        return {
            "id": file.id,
            "object": "file",
            "bytes": len(file.content),
            "created_at": file.created,
            "filename": file.name,
            "purpose": file.purpose,
            "status": "processed",
        }

    def answered_row(self, job: Job, row: Json) -> Json:
        body = _response(row) if row["url"].endswith("/responses") else chat_answer(row, row["body"]["model"])
        return self._row(row, {"status_code": 200, "request_id": "r", "body": body})

    def failed_row(self, job: Job, row: Json, outcome: Outcome) -> Json:
        if outcome is Outcome.UNREACHED:
            message = "This request could not be executed before the completion window expired."
            return self._row(row, None, {"code": "batch_expired", "message": message})
        error = {"message": "bad prompt", "type": "invalid_request_error", "param": "messages", "code": None}
        return self._row(row, {"status_code": 400, "request_id": "r", "body": {"error": error}})

    def _row(self, row: Json, response: Json | None, error: Json | None = None) -> Json:
        return {"id": "batch_req_1", "custom_id": row["custom_id"], "response": response, "error": error}

    async def _upload(self, request: web.Request) -> web.Response:
        fields, name, content = await self.form(request)
        self.require(fields.get("purpose") == "batch", f"purpose {fields}")
        return web.json_response(self.file_json(self.store(name, "batch", content)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.require(set(body) <= {"input_file_id", "endpoint", "completion_window", "metadata"}, f"fields {body}")
        self.require(body["endpoint"] in self.endpoints, f"endpoint {body['endpoint']}")
        self.require(bool(re.fullmatch(self.windows, body["completion_window"])), f"window {body}")
        job = self.create(f"batch_{len(self.jobs) + 1}", body, self.files[body["input_file_id"]])
        for row in job.rows:
            self.require(list(row) == ["custom_id", "method", "url", "body"], f"row {list(row)}")
            self.require((row["method"], row["url"]) == ("POST", body["endpoint"]), f"url {row['url']}")
            self.require(bool(row["body"]["model"]) and "stream" not in row["body"], "body of a row")
        return web.json_response(self.job_json(job))

    async def _retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_json(self.poll(self.job(request))))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.job(request)
        if job.output or job.errors or job.error:
            return web.json_response({"error": {"message": "the job has ended"}}, status=409)
        return web.json_response(self.job_json(self.cancel(job)))

    async def _list(self, request: web.Request) -> web.Response:
        jobs = [self.job_json(self.poll(job)) for job in [*self.jobs.values()][::-1]]
        return web.json_response(self.job_page(jobs, request))

    def job_page(self, jobs: list[Json], request: web.Request) -> Json:
        """Return one page of the jobs."""
        self.require(set(request.query) <= {"after", "limit", "api-version"}, f"query {request.query_string}")
        return _page(jobs, request, self.page)

    async def _list_files(self, request: web.Request) -> web.Response:
        files = [self.file_json(file) for file in reversed(self.files.values())]
        return web.json_response(self.file_page(files, request))

    def file_page(self, files: list[Json], request: web.Request) -> Json:
        """Return one page of the files."""
        allowed = {"after", "limit", "order", "purpose", "api-version"}
        self.require(set(request.query) <= allowed, f"query {request.query_string}")
        purpose = request.query.get("purpose")
        files = [file for file in files if purpose in (None, file["purpose"])]
        return _page(files[::-1] if request.query.get("order") == "asc" else files, request, 10_000)

    async def _retrieve_file(self, request: web.Request) -> web.Response:
        return web.json_response(self.file_json(self.file(request)))

    async def _delete_file(self, request: web.Request) -> web.Response:
        file = self.files.pop(self.file(request).id)
        return web.json_response({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.file(request).content)


def _page(entries: list[Json], request: web.Request, default: int) -> Json:
    ids = [entry["id"] for entry in entries]
    after = request.query.get("after")
    rest = entries[ids.index(after) + 1 :] if after is not None else entries
    page = rest[: int(request.query.get("limit", default))]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(rest) > len(page),
    }


def _response(row: Json) -> Json:
    """Return the answer of the Responses API to a row."""
    text = {"type": "output_text", "text": answer_to(question_of(row)), "annotations": list[Any]()}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": row["body"]["model"],
        "output": [message],
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }


class GroqBatchServer(OpenAIBatchServer):
    """Groq's batch API: below `/openai/v1`, with a cursor in the list of jobs, and one page of files."""

    prefix = "/openai/v1"

    def __init__(self) -> None:
        super().__init__(endpoints=("/v1/chat/completions",), windows=r"[0-9]+h|[1-7]d")

    def job_page(self, jobs: list[Json], request: web.Request) -> Json:
        self.require(set(request.query) <= {"cursor"}, f"query {request.query_string}")
        start = int(request.query.get("cursor", "cursor_0").removeprefix("cursor_"))
        end = start + self.page
        more = {"next_cursor": f"cursor_{end}"} if end < len(jobs) else {}
        return {"object": "list", "data": jobs[start:end], "paging": more}

    def file_page(self, files: list[Json], request: web.Request) -> Json:
        self.require(not request.query, f"query {request.query_string}")
        return {"object": "list", "data": files}


class AzureBatchServer(OpenAIBatchServer):
    """The batch API of a resource of Azure: its paths, and jobs that show no metadata.

    Args:
        version: The version in the query of all requests; None for the API without versions.
    """

    def __init__(self, version: str | None = None) -> None:
        endpoints = ("/v1/chat/completions", "/v1/responses", "/chat/completions", "/responses")
        super().__init__(endpoints=endpoints, keeps_metadata=False)
        self.version = version
        self.prefix = "/openai" if version else "/openai/v1"

    async def _create(self, request: web.Request) -> web.Response:
        self.require(request.query.get("api-version") == self.version, f"version {request.query_string}")
        response = await super()._create(request)
        models = {row["body"]["model"] for job in self.jobs.values() for row in job.rows}
        self.require(len(models) == 1, f"model_mismatch: {models}")
        return response
