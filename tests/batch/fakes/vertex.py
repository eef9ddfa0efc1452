"""A fake of Vertex's batch prediction jobs, with Cloud Storage. google-genai 3.6 reads its jobs."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from tests.batch.fakes.gemini import generated
from tests.batch.fakes.jobs import FakeJobs, Job, rfc3339

TOKEN = "ya29.secret"
PARENT = "projects/p1/locations/us-central1"
_ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
_MODEL = re.compile(r"publishers/[a-z-]+/models/[\w.@-]+|projects/.+/models/\d+")


class FakeVertexBatches(FakeJobs):
    """`url`: the URL for chats.

    Attributes:
        objects: The contents of objects, by bucket and name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[tuple[str, str], bytes] = {}

    @property
    def url(self) -> str:
        return f"{self.root}/v1beta1/{PARENT}/endpoints/openapi/chat/completions"

    def routes(self) -> list[web.RouteDef]:
        jobs = f"/v1beta1/{PARENT}/batchPredictionJobs"
        return [
            web.post("/upload/storage/v1/b/{bucket}/o", self._upload),
            web.get("/storage/v1/b/{bucket}/o", self._list_objects),
            web.get("/storage/v1/b/{bucket}/o/{name:.+}", self._download),
            web.post(jobs, self._create),
            web.get(jobs, self._list),
            web.get(f"{jobs}/{{id:[0-9]+}}", self._get),
            web.post(f"{jobs}/{{id:[0-9]+}}:cancel", self._cancel),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        assert request.query["uploadType"] == "media"
        bucket, name = request.match_info["bucket"], request.query["name"]
        self.objects[bucket, name] = await self.read(request)
        return web.json_response({"kind": "storage#object", "bucket": bucket, "name": name})

    async def _list_objects(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        bucket, prefix = request.match_info["bucket"], request.query["prefix"]
        names = sorted(name for where, name in self.objects if where == bucket and name.startswith(prefix))
        start = int(request.query.get("pageToken", "0"))
        page: dict[str, Any] = {"kind": "storage#objects"}
        if names:
            page["items"] = [{"name": name} for name in names[start : start + 2]]
        if start + 2 < len(names):
            page["nextPageToken"] = str(start + 2)
        return web.json_response(page)

    async def _download(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        assert request.query["alt"] == "media"
        content = self.objects.get((request.match_info["bucket"], request.match_info["name"]))
        return web.Response(body=content) if content is not None else _error(404, "NOT_FOUND")

    async def _create(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        asked = await request.json()
        assert set(asked) == {"displayName", "model", "inputConfig", "outputConfig"}
        assert _MODEL.fullmatch(asked["model"]), asked["model"]
        assert asked["inputConfig"]["instancesFormat"] == asked["outputConfig"]["predictionsFormat"] == "jsonl"
        [uri] = asked["inputConfig"]["gcsSource"]["uris"]
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        lines = [json.loads(line) for line in self.objects[bucket, name].splitlines()]
        id = f"{PARENT}/batchPredictionJobs/{1000 + len(self.jobs)}"
        job = self.new_job(
            id,
            asked["displayName"],
            [(str(place), line) for place, line in enumerate(lines)],
            "JOB_STATE_PENDING",
            asked,
        )
        return self.created(self.shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        jobs, size = list(self.jobs.values())[::-1], int(request.query.get("pageSize", "2"))
        if wanted := request.query.get("filter"):
            name = re.fullmatch(r'display_name="([^"]*)"', wanted)
            assert name, wanted
            jobs = [job for job in jobs if job.name == name[1]]
        start = int(request.query.get("pageToken", "0"))
        page: dict[str, Any] = {
            "batchPredictionJobs": [self.shown(self.polled(job)) for job in jobs[start : start + size]]
        }
        if start + size < len(jobs):
            page["nextPageToken"] = str(start + size)
        return web.json_response(page)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.shown(self.polled(self.jobs[_id(request)])))

    async def _cancel(self, request: web.Request) -> web.Response:
        self.jobs[_id(request)].state = "JOB_STATE_CANCELLING"
        return web.json_response({})

    def write_results(self, job: Job, name: str = "predictions.jsonl") -> None:
        """Write the results of a job that has ended."""
        bucket, _, prefix = self.directory(job).removeprefix("gs://").partition("/")
        self.objects[bucket, f"{prefix}/{name}"] = job.results(_line)

    def directory(self, job: Job) -> str:
        return f"{job.asked['outputConfig']['gcsDestination']['outputUriPrefix']}/prediction-model-2026-11-27T12:00:00Z"

    def shown(self, job: Job) -> dict[str, Any]:
        done = job.state in _ENDED
        shown: dict[str, Any] = {
            "name": job.id,
            **job.asked,
            "state": job.state,
            "createTime": rfc3339(job.created),
            "updateTime": rfc3339(job.created),
        }
        if job.state != "JOB_STATE_PENDING":
            shown["startTime"] = rfc3339(job.created)
        if done:
            shown["endTime"] = rfc3339(job.created)
        if job.state in ("JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED"):
            shown["outputInfo"] = {"gcsOutputDirectory": self.directory(job)}
            stats = {"successfulCount": job.count("answered"), "failedCount": job.count("errors")}
            shown["completionStats"] = {name: str(count) for name, count in stats.items()}
        if job.state == "JOB_STATE_FAILED":
            shown["error"] = {"code": 3, "message": "the input is not valid"}
        return shown


def _line(_: str, row: Any, kind: str) -> dict[str, Any] | None:
    if kind == "unanswered":
        return None
    body = row.get("request", row.get("body"))
    if kind == "errors":
        error = 'Bad Request: {"error": {"code": 400, "message": "Invalid argument", "status": "INVALID_ARGUMENT"}}'
        result: dict[str, Any] = {"status": error, "response": {}}
    elif "contents" in body:
        result = {"status": "", "response": generated(body)}
    elif "anthropic_version" in body:
        result = {"status": "", "response": _message(body)}
    else:
        completion = {"choices": [{"message": {"content": f"re: {_question(body)}"}, "finish_reason": "stop"}]}
        result = {
            "id": "batch_req_1",
            "response": {"status_code": 200, "request_id": "1", "body": completion},
            "error": None,
        }
    # Gemini's results repeat the request, those of other models only its id.
    echo = {"request": row["request"]} if "contents" in body else {"custom_id": row["custom_id"]}
    return {**echo, **result, "processed_time": "2026-11-27T12:30:00.000+00:00"}


def _message(body: Any) -> dict[str, Any]:
    assert "model" not in body
    return {
        "id": "msg_vrtx_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": f"re: {_question(body)}"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }


def _id(request: web.Request) -> str:
    return f"{PARENT}/batchPredictionJobs/{request.match_info['id']}"


def _refusal(request: web.Request) -> web.Response | None:
    return None if request.headers.get("Authorization") == f"Bearer {TOKEN}" else _error(401, "UNAUTHENTICATED")


def _error(status: int, name: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": f"it is {name}", "status": name}}, status=status)


def _question(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]
