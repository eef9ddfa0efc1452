"""A fake of Fireworks' batch API.

Shapes: fireworks-ai 1.2.30 (`types/batch_inference_job.py`, `types/dataset.py`), November 2026.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from asyncinfer import BatchStatus
from tests.batch.fakes.base import SIGNED, FakeBatchServer, Job, Json, Outcome, StoredFile, chat_answer

ACCOUNT = "acme"
_STATUSES = {
    BatchStatus.IN_PROGRESS: "RUNNING",
    BatchStatus.FINALIZING: "WRITING_RESULTS",
}
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class FireworksBatchServer(FakeBatchServer):
    """Fireworks' batch API: datasets in place of files, and jobs with ids of the client.

    `cancels`: the server has `:cancel`; otherwise jobs can only be deleted. `orders`: it accepts an order of its lists.
    """

    prefix = "/inference/v1"
    cancels = True
    orders = True

    def add_routes(self, router: web.UrlDispatcher) -> None:
        root = f"/v1/accounts/{ACCOUNT}"
        router.add_post(f"{root}/datasets", self._create_dataset)
        router.add_get(f"{root}/datasets", self._list_datasets)
        router.add_get(f"{root}/datasets/{{id:[^:]+}}", self._get_dataset)
        router.add_delete(f"{root}/datasets/{{id:[^:]+}}", self._delete_dataset)
        router.add_post(f"{root}/datasets/{{id:[^:]+}}:upload", self._upload)
        router.add_get(f"{root}/datasets/{{id:[^:]+}}:getDownloadEndpoint", self._downloads)
        router.add_get(f"{SIGNED}{{id}}/{{name}}", self._content)
        router.add_post(f"{root}/batchInferenceJobs", self._create)
        router.add_get(f"{root}/batchInferenceJobs", self._list)
        router.add_get(f"{root}/batchInferenceJobs/{{id:[^:]+}}", self._get)
        router.add_delete(f"{root}/batchInferenceJobs/{{id:[^:]+}}", self._delete)
        if self.cancels:
            router.add_post(f"{root}/batchInferenceJobs/{{id:[^:]+}}:cancel", self._cancel)

    def job_json(self, job: Job) -> Json:
        """Return a job, as the API shows it."""
        ended = job.status.value in ("completed", "failed", "expired", "cancelled")
        answered, failed = job.count(Outcome.ANSWERED), job.count(Outcome.FAILED, Outcome.UNREACHED)
        progress = {
            "percent": 100 if ended else 0,
            "totalInputRequests": len(job.rows),
            "totalProcessedRequests": answered + failed,
            "successfullyProcessedRequests": answered,
            "failedRequests": failed,
        }
        return {
            "name": f"accounts/{ACCOUNT}/batchInferenceJobs/{job.id}",
            "displayName": job.request.get("displayName", ""),
            "createTime": _iso(job.created),
            "expireTime": _iso(job.created + 86400),
            "inputDatasetId": job.request["inputDatasetId"],
            "outputDatasetId": f"accounts/{ACCOUNT}/datasets/{job.id}-results",
            "jobProgress": progress if job.polls else None,
            "lifecycle": {"runStartTime": _iso(job.created + 1), "endTime": _iso(job.created + 60) if ended else None},
            "model": job.request["model"],
            "state": f"JOB_STATE_{_STATUSES.get(job.status, job.status.value.upper())}",
            "status": {"code": "INVALID_ARGUMENT" if job.error else "OK", "message": job.error or ""},
        }

    def answered_row(self, job: Job, row: Json) -> Json:
        return {"custom_id": row["custom_id"], "response": chat_answer(row, job.request["model"])}

    def failed_row(self, job: Job, row: Json, outcome: Outcome) -> Json:
        code = 400 if outcome is Outcome.FAILED else 503
        return {"custom_id": row["custom_id"], "error": {"message": "no answer", "code": code}}

    async def _create_dataset(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, dataset = body["datasetId"], body["dataset"]
        self.require(bool(_ID.fullmatch(name)), f"id {name}")
        self.require(dataset.get("userUploaded") == {} and str(dataset["exampleCount"]).isdigit(), f"dataset {body}")
        if name in self.files:
            return web.json_response({"code": 6, "message": "resource already exists"}, status=409)
        return web.json_response(self._dataset(self.store(name, "", b"", name)))

    def _dataset(self, file: StoredFile) -> Json:
        return {
            "name": f"accounts/{ACCOUNT}/datasets/{file.id}",
            "createTime": _iso(file.created),
            "exampleCount": "1",
            "format": "CHAT",
            "state": "READY" if file.content else "UPLOADING",
            "status": {"code": "OK", "message": ""},
            "userUploaded": {},
        }

    async def _get_dataset(self, request: web.Request) -> web.Response:
        return web.json_response(self._dataset(self.file(request)))

    async def _list_datasets(self, request: web.Request) -> web.Response:
        start, size = int(request.query.get("pageToken", 0)), int(request.query.get("pageSize", 50))
        datasets = [self._dataset(file) for file in self.files.values()]
        more = str(start + size) if start + size < len(datasets) else ""
        return web.json_response({"datasets": datasets[start : start + size], "nextPageToken": more})

    async def _delete_dataset(self, request: web.Request) -> web.Response:
        self.files.pop(self.file(request).id)
        return web.json_response({})

    async def _upload(self, request: web.Request) -> web.Response:
        file = self.file(request)
        self.require(not file.content, f"{file.id} is uploaded twice")
        fields, name, content = await self.form(request)
        self.require(not fields and name.endswith(".jsonl"), f"fields {fields}")
        file.content = content
        uploaded = {"id": file.id, "bytes": len(content), "filename": name, "object": "file", "purpose": "dataset"}
        return web.json_response(uploaded)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        job_id = request.query.get("batchInferenceJobId") or f"job-{len(self.jobs) + 1}"
        self.require(bool(_ID.fullmatch(job_id)), f"id {job_id}")
        self.require(bool(body["model"]), f"model {body}")
        if job_id in self.jobs:
            return web.json_response({"code": 6, "message": "resource already exists"}, status=409)
        dataset = body["inputDatasetId"].removeprefix(f"accounts/{ACCOUNT}/datasets/")
        job = self.create(job_id, body, self.files[dataset])
        for row in job.rows:
            self.require(list(row) == ["custom_id", "body"] and "model" not in row["body"], f"row {list(row)}")
        return web.json_response(self.job_json(job))

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_json(self.poll(self.job(request))))

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancel(self.job(request))
        return web.json_response({})

    async def _delete(self, request: web.Request) -> web.Response:
        self.jobs.pop(self.job(request).id)
        return web.json_response({})

    async def _list(self, request: web.Request) -> web.Response:
        start, size = int(request.query.get("pageToken", 0)), int(request.query.get("pageSize", 50))
        order = request.query.get("orderBy")
        if order not in (None, "create_time desc") or (order and not self.orders):
            return web.json_response({"code": 3, "message": "invalid order_by"}, status=400)
        listed = [*self.jobs.values()][:: -1 if order else 1]
        jobs = [self.job_json(self.poll(job)) for job in listed]
        more = str(start + size) if start + size < len(jobs) else ""
        page = {"batchInferenceJobs": jobs[start : start + size], "nextPageToken": more, "totalSize": len(jobs)}
        return web.json_response(page)

    async def _downloads(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name in self.files:
            return web.json_response({"filenameToSignedUrls": {f"dataset/{name}": f"{self.host}{SIGNED}{name}/input"}})
        job = self.jobs.get(name.removesuffix("-results"))
        if job is None or job.error is not None:
            return web.json_response({"code": 5, "message": "resource not found", "details": []}, status=404)
        signed = f"{self.host}{SIGNED}{job.id}"
        names = {"error-data": f"{signed}/errors", "BIJOutputSet.jsonl": f"{signed}/output"}
        urls = {f"dataset/{job.id}-results/{name}": url for name, url in names.items()}
        return web.json_response({"filenameToSignedUrls": urls})

    async def _content(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "input":
            return web.Response(body=self.file(request).content)
        job = self.job(request)
        file = job.output if name == "output" else job.errors
        return web.Response(body=file.content if file else b"")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
