"""A fake of Gemini's batch API and files. Its shapes are those of Google's reference, and google-genai 3.6 reads them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.batch.fakes.jobs import FakeJobs, Job, rfc3339

KEY = "AIza-secret"
_ENDED = {"BATCH_STATE_SUCCEEDED", "BATCH_STATE_FAILED", "BATCH_STATE_CANCELLED", "BATCH_STATE_EXPIRED"}


class FakeGeminiBatches(FakeJobs):
    """`url`: the URL for chats.

    Attributes:
        files: The contents of files, by name.
        started: The uploads that were started: their size, and what the client said about the file.
        upload_host: The host in the URLs of uploads, if it is not this server.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.started: list[dict[str, Any]] = []
        self.upload_host: str | None = None

    @property
    def url(self) -> str:
        return f"{self.root}/v1beta/openai/chat/completions"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/upload/v1beta/files", self._upload),
            web.get("/v1beta/files", self._list_files),
            web.get("/v1beta/files/{name:[^:/]+}", self._get_file),
            web.delete("/v1beta/files/{name}", self._delete_file),
            web.get("/download/v1beta/files/{name}:download", self._download),
            web.get("/v1beta/files/{name}:download", self._download),
            web.post("/v1beta/models/{model}:batchGenerateContent", self._create),
            web.get("/v1beta/batches", self._list),
            web.get("/v1beta/batches/{id}", self._get),
            web.post("/v1beta/batches/{id}:cancel", self._cancel),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        command = request.headers["X-Goog-Upload-Command"]
        if command == "start":
            if (refusal := _refusal(request)) is not None:
                return refusal
            about = {"size": int(request.headers["X-Goog-Upload-Header-Content-Length"]), **(await request.json())}
            self.started.append(about)
            url = f"{self.upload_host or self.root}/upload/v1beta/files?upload_id={len(self.started) - 1}"
            return web.json_response({}, headers={"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})
        assert command == "upload, finalize"
        about = self.started[int(request.query["upload_id"])]
        content = await self.read(request)
        assert len(content) == about["size"]
        name = f"files/f{request.query['upload_id']}"
        self.files[name] = content
        return web.json_response({"file": self._file(name)}, headers={"X-Goog-Upload-Status": "final"})

    async def _list_files(self, request: web.Request) -> web.Response:
        names, size = sorted(self.files), int(request.query.get("pageSize", "10"))
        start = int(request.query.get("pageToken", "0"))
        page: dict[str, Any] = {"files": [self._file(name) for name in names[start : start + size]]}
        if start + size < len(names):
            page["nextPageToken"] = str(start + size)
        return web.json_response(page)

    async def _get_file(self, request: web.Request) -> web.Response:
        name = f"files/{request.match_info['name']}"
        return web.json_response(self._file(name)) if name in self.files else _error(404, "NOT_FOUND")

    async def _delete_file(self, request: web.Request) -> web.Response:
        del self.files[f"files/{request.match_info['name']}"]
        return web.json_response({})

    async def _download(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        assert request.query["alt"] == "media"
        job = next(job for job in self.jobs.values() if f"results-{job.id[8:]}" == request.match_info["name"])
        return web.Response(body=job.results(_line), content_type="application/jsonl")

    async def _create(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        asked = await request.json()
        batch = asked["batch"]
        assert set(batch) == {"displayName", "inputConfig"}
        content = self.files.get(batch["inputConfig"]["fileName"])
        if content is None:
            return _error(404, "NOT_FOUND")
        lines = [json.loads(line) for line in content.splitlines()]
        assert all(set(line) == {"key", "request"} for line in lines)
        rows = [(line["key"], line["request"]) for line in lines]
        id = f"batches/b{len(self.jobs)}"
        job = self.new_job(id, batch["displayName"], rows, "BATCH_STATE_PENDING", asked)
        job.asked["model"] = f"models/{request.match_info['model']}"
        return self.created(self.shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        jobs, size = list(self.jobs.values())[::-1], int(request.query.get("pageSize", "2"))
        start = int(request.query.get("pageToken", "0"))
        page: dict[str, Any] = {"operations": [self.shown(self.polled(job)) for job in jobs[start : start + size]]}
        if start + size < len(jobs):
            page["nextPageToken"] = str(start + size)
        return web.json_response(page)

    async def _get(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        job = self.jobs.get(f"batches/{request.match_info['id']}")
        return web.json_response(self.shown(self.polled(job))) if job else _error(404, "NOT_FOUND")

    async def _cancel(self, request: web.Request) -> web.Response:
        self.jobs[f"batches/{request.match_info['id']}"].end("BATCH_STATE_CANCELLED")
        return web.json_response({})

    def _file(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "displayName": "a name",
            "mimeType": "application/jsonl",
            "sizeBytes": str(len(self.files[name])),
            "createTime": "2026-11-27T12:00:00.123456Z",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }

    def shown(self, job: Job) -> dict[str, Any]:
        done = job.state in _ENDED
        has_results = job.state == "BATCH_STATE_SUCCEEDED"
        output = {"responsesFile": f"files/results-{job.id[8:]}"}
        shown: dict[str, Any] = {
            "name": job.id,
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
                "name": job.id,
                "model": job.asked["model"],
                "displayName": job.name,
                "inputConfig": job.asked["batch"]["inputConfig"],
                "createTime": rfc3339(job.created),
                "updateTime": rfc3339(job.created),
                "state": job.state,
                "batchStats": _stats(job),
                **({"endTime": rfc3339(job.created)} if done else {}),
                **({"output": output} if has_results else {}),
            },
        }
        if has_results:
            shown |= {"done": True, "response": {"@type": "x", **output}}
        elif done:
            code = {"BATCH_STATE_CANCELLED": 1, "BATCH_STATE_EXPIRED": 4}.get(job.state, 3)
            shown |= {"done": True, "error": {"code": code, "message": f"the job ended: {job.state}"}}
        return shown


def _stats(job: Job) -> dict[str, str]:
    stats = {
        "requestCount": len(job.rows),
        "successfulRequestCount": job.count("answered"),
        "failedRequestCount": job.count("errors"),
        "pendingRequestCount": 0 if job.has_ended else len(job.rows),
    }
    return {name: str(count) for name, count in stats.items() if count}


def _line(key: str, request: Any, kind: str) -> dict[str, Any] | None:
    if kind == "answered":
        return {"key": key, "response": generated(request)}
    return {"key": key, "error": {"code": 3, "message": "Request contains an invalid argument."}}


def generated(request: Any) -> dict[str, Any]:
    """The response of `generateContent` to a request."""
    text = f"re: {request['contents'][-1]['parts'][-1]['text']}"
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    }


def _refusal(request: web.Request) -> web.Response | None:
    return None if request.headers.get("x-goog-api-key") == KEY else _error(401, "UNAUTHENTICATED")


def _error(status: int, name: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": f"it is {name}", "status": name}}, status=status)
