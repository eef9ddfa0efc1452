"""A fake of Mistral's batch API.

Shapes: mistralai 3.7 (`client/models/batchjob.py`, `fileschema.py`, `listbatchjobsresponse.py`), November 2026.
"""

from __future__ import annotations

import json

from aiohttp import web

from asyncinfer import BatchStatus
from tests.batch.fakes.base import FakeBatchServer, Job, Json, Outcome, StoredFile, chat_answer

_STATUSES = {
    BatchStatus.VALIDATING: "QUEUED",
    BatchStatus.IN_PROGRESS: "RUNNING",
    BatchStatus.FINALIZING: "RUNNING",
    BatchStatus.COMPLETED: "SUCCESS",
    BatchStatus.EXPIRED: "TIMEOUT_EXCEEDED",
    BatchStatus.CANCELLING: "CANCELLATION_REQUESTED",
}


class MistralBatchServer(FakeBatchServer):
    """Mistral's batch API: the model is one of the job, and lists have numbered pages."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/batch/jobs", self._create)
        router.add_get("/v1/batch/jobs", self._list)
        router.add_get("/v1/batch/jobs/{id}", self._retrieve)
        router.add_post("/v1/batch/jobs/{id}/cancel", self._cancel)
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files", self._list_files)
        router.add_get("/v1/files/{id}", self._retrieve_file)
        router.add_delete("/v1/files/{id}", self._delete_file)
        router.add_get("/v1/files/{id}/content", self._content)

    def job_json(self, job: Job) -> Json:
        """Return a job, as the API shows it."""
        succeeded, failed = job.count(Outcome.ANSWERED), job.count(Outcome.FAILED, Outcome.UNREACHED)
        errors = [{"message": "HTTP Error, status code: 400", "count": failed}] if failed else []
        return {
            "id": job.id,
            "object": "batch",
            "input_files": [job.input_file],
            "metadata": job.request.get("metadata"),
            "endpoint": job.request["endpoint"],
            "model": job.request["model"],
            "agent_id": None,
            "output_file": job.output and job.output.id,
            "error_file": job.errors and job.errors.id,
            "errors": [{"message": job.error, "count": 1}] if job.error else errors,
            "outputs": None,
            "status": _STATUSES.get(job.status, job.status.value.upper()),
            "created_at": job.created,
            "total_requests": len(job.rows),
            "completed_requests": succeeded + failed,
            "succeeded_requests": succeeded,
            "failed_requests": failed,
            "started_at": job.created,
            "completed_at": job.created + 60 if job.output or job.errors or job.error else None,
        }

    def file_json(self, file: StoredFile) -> Json:
        """Return a file, as the API shows it."""
        is_input = file.purpose == "batch" and file.name not in ("output.jsonl", "errors.jsonl")
        return {
            "id": file.id,
            "object": "file",
            "bytes": len(file.content),
            "created_at": file.created,
            "filename": file.name,
            "purpose": "batch",
            "sample_type": "batch_request" if is_input else "batch_result",
            "num_lines": file.content.count(b"\n"),
            "source": "upload" if is_input else "mistral",
            "deleted": False,
        }

    def answered_row(self, job: Job, row: Json) -> Json:
        body = chat_answer(row, job.request["model"])
        response = {"status_code": 200, "body": body}
        return {"id": "batch-1", "custom_id": row["custom_id"], "response": response, "error": None}

    def failed_row(self, job: Job, row: Json, outcome: Outcome) -> Json:
        error = {"object": "error", "message": "bad prompt", "type": "invalid_request_file", "code": "3310"}
        status = 400 if outcome is Outcome.FAILED else 500
        response = {"status_code": status, "body": json.dumps(error)}
        return {"id": "batch-1", "custom_id": row["custom_id"], "response": response, "error": None}

    async def _upload(self, request: web.Request) -> web.Response:
        fields, name, content = await self.form(request)
        self.require(fields.get("purpose") == "batch", f"purpose {fields}")
        return web.json_response(self.file_json(self.store(name, "batch", content)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        allowed = {"input_files", "model", "endpoint", "timeout_hours", "metadata"}
        self.require(set(body) <= allowed, f"fields {body}")
        self.require(body["endpoint"] == "/v1/chat/completions" and bool(body["model"]), f"endpoint {body}")
        self.require(1 <= body.get("timeout_hours", 24) <= 168, f"window {body}")
        [file_id] = body["input_files"]
        job = self.create(f"00000000-0000-0000-0000-{len(self.jobs) + 1:012}", body, self.files[file_id])
        for row in job.rows:
            self.require(list(row) == ["custom_id", "body"], f"row {list(row)}")
        return web.json_response(self.job_json(job))

    async def _retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_json(self.poll(self.job(request))))

    async def _cancel(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_json(self.cancel(self.job(request))))

    async def _list(self, request: web.Request) -> web.Response:
        jobs = [self.job_json(self.poll(job)) for job in [*self.jobs.values()][::-1]]
        return web.json_response(self._page(jobs, request))

    async def _list_files(self, request: web.Request) -> web.Response:
        files = [self.file_json(file) for file in reversed(self.files.values())]
        return web.json_response(self._page(files, request))

    def _page(self, entries: list[Json], request: web.Request) -> Json:
        page, size = int(request.query.get("page", 0)), int(request.query.get("page_size", 100))
        self.require(size <= 100, f"page size {size}")
        return {"object": "list", "data": entries[page * size : (page + 1) * size], "total": len(entries)}

    async def _retrieve_file(self, request: web.Request) -> web.Response:
        return web.json_response(self.file_json(self.file(request)))

    async def _delete_file(self, request: web.Request) -> web.Response:
        file = self.files.pop(self.file(request).id)
        return web.json_response({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.file(request).content)
