"""A fake of Together's batch API.

Shapes: together 3.1 (`types/batch_job.py`, `types/file_response.py`, `lib/resources/files.py`), November 2026.
"""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from asyncinfer import BatchStatus
from tests.batch.fakes.base import SIGNED, FakeBatchServer, Job, Json, Outcome, StoredFile, chat_answer

_STATUSES = {BatchStatus.FINALIZING: "IN_PROGRESS", BatchStatus.CANCELLING: "CANCELING"}
_FIELDS = {"purpose": "batch-api", "file_type": "jsonl"}


class TogetherBatchServer(FakeBatchServer):
    """Together's batch API: three requests upload a file, and jobs have neither metadata nor counts.

    `redirects`: how often the signed URL redirects before it accepts the file.
    """

    redirects = 0

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._retrieve)
        router.add_post("/v1/batches/{id}/cancel", self._cancel)
        router.add_post("/v1/files", self._begin_upload)
        router.add_put(f"{SIGNED}{{id}}", self._put)
        router.add_post("/v1/files/{id}/preprocess", self._end_upload)
        router.add_get("/v1/files", self._list_files)
        router.add_get("/v1/files/{id}", self._retrieve_file)
        router.add_delete("/v1/files/{id}", self._delete_file)
        router.add_get("/v1/files/{id}/content", self._content)

    def job_json(self, job: Job) -> Json:
        """Return a job, as the API shows it. Fields without a value are left out."""
        ended = job.status.value in ("completed", "failed", "expired", "cancelled")
        fields: Json = {
            "id": job.id,
            "user_id": "user-1",
            "input_file_id": job.input_file,
            "file_size_bytes": job.size,
            "status": _STATUSES.get(job.status, job.status.value.upper()),
            "job_deadline": _iso(job.created + 86400),
            "created_at": _iso(job.created),
            "endpoint": job.request["endpoint"],
            "progress": 100 if ended else 25,
            "model_id": job.rows[0]["body"]["model"] if job.rows else "",
            "output_file_id": job.output and job.output.id,
            "error_file_id": job.errors and job.errors.id,
            "error": job.error,
            "completed_at": _iso(job.created + 60) if ended else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def file_json(self, file: StoredFile) -> Json:
        """Return a file, as the API shows it."""
        return {
            "id": file.id,
            "object": "file",
            "created_at": file.created,
            "filename": file.name,
            "bytes": len(file.content),
            "purpose": "batch-api",
            "FileType": "jsonl",
            "LineCount": file.content.count(b"\n"),
            "Processed": True,
            "processing_status": "COMPLETED",
        }

    def answered_row(self, job: Job, row: Json) -> Json:
        body = chat_answer(row, row["body"]["model"])
        return {"id": "br_1", "custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}}

    def failed_row(self, job: Job, row: Json, outcome: Outcome) -> Json:
        code = "batch_client_error" if outcome is Outcome.FAILED else "timeout"
        return {"id": "br_1", "custom_id": row["custom_id"], "error": {"code": code, "message": "no answer"}}

    async def _begin_upload(self, request: web.Request) -> web.Response:
        fields, name, _ = await self.form(request)
        self.require(not name and _FIELDS.items() <= fields.items(), f"fields {fields}")
        self.require(fields.get("file_name", "").endswith(".jsonl"), f"name {fields}")
        file = self.store(fields["file_name"], "batch-api", b"")
        headers = {"Location": f"{self.host}{SIGNED}{file.id}", "X-Together-File-Id": file.id}
        return web.Response(status=302, headers=headers)

    async def _put(self, request: web.Request) -> web.Response:
        if self.redirects:
            self.redirects -= 1
            await request.read()
            return web.Response(status=307, headers={"Location": request.path})
        self.file(request).content = await self.uploaded(request, request.content.readany)
        return web.Response()

    async def _end_upload(self, request: web.Request) -> web.Response:
        return web.json_response(self.file_json(self.file(request)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.require(set(body) <= {"input_file_id", "endpoint", "completion_window"}, f"fields {body}")
        self.require(body.get("completion_window", "24h") == "24h", f"window {body}")
        job = self.create(f"job-{len(self.jobs) + 1}", body, self.files[body["input_file_id"]])
        for row in job.rows:
            self.require(list(row) == ["custom_id", "body"] and bool(row["body"]["model"]), f"row {list(row)}")
        return web.json_response({"job": self.job_json(job)}, status=201)

    async def _retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_json(self.poll(self.job(request))))

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.job(request)
        if job.output or job.errors or job.error:
            error = f"Cannot cancel job - already in terminal state: {job.status.value.upper()}"
            return web.json_response({"error": error}, status=409)
        return web.json_response(self.job_json(self.cancel(job)))

    async def _list(self, request: web.Request) -> web.Response:
        self.require(not request.query, f"query {request.query_string}")
        return web.json_response([self.job_json(self.poll(job)) for job in [*self.jobs.values()][::-1]])

    async def _list_files(self, request: web.Request) -> web.Response:
        self.require(not request.query, f"query {request.query_string}")
        return web.json_response({"data": [self.file_json(file) for file in self.files.values()]})

    async def _retrieve_file(self, request: web.Request) -> web.Response:
        return web.json_response(self.file_json(self.file(request)))

    async def _delete_file(self, request: web.Request) -> web.Response:
        return web.json_response({"id": self.files.pop(self.file(request).id).id, "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.file(request).content)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
