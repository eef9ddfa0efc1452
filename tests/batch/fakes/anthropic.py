"""A fake of Anthropic's Message Batches. Its shapes are those of anthropic-python 2.14."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from aiohttp import web

from tests.batch.fakes.jobs import FakeJobs, Job, Outcome, rfc3339

KEY = "sk-ant-secret"


class FakeAnthropicBatches(FakeJobs):
    """`url`: the URL for chats."""

    @property
    def url(self) -> str:
        return f"{self.root}/v1/messages"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/messages/batches", self._create),
            web.get("/v1/messages/batches", self._list),
            web.get("/v1/messages/batches/{id}", self._get),
            web.post("/v1/messages/batches/{id}/cancel", self._cancel),
            web.get("/v1/messages/batches/{id}/results", self._results),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        asked = json.loads(await self.read(request))
        rows = [(row["custom_id"], row["params"]) for row in asked["requests"]]
        if problem := _problem(rows):
            return _error(400, "invalid_request_error", problem)
        job = self.new_job(f"msgbatch_{len(self.jobs):03}", "", rows, "in_progress", asked)
        return self.created(self.shown(job))

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(self.jobs.values())[::-1]
        after, limit = request.query.get("after_id"), int(request.query.get("limit", "20"))
        if not 1 <= limit <= 1000:
            return _error(400, "invalid_request_error", "limit: should be 1 to 1000")
        start = next((place + 1 for place, job in enumerate(newest) if job.id == after), 0)
        page = newest[start : start + limit]
        return web.json_response(
            {
                "data": [self.shown(self.polled(job)) for job in page],
                "has_more": start + limit < len(newest),
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )

    async def _get(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return (
            web.json_response(self.shown(self.polled(job))) if job else _error(404, "not_found_error", "no such batch")
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        if not job.has_ended:
            job.state = "canceling"
        return web.json_response(self.shown(job))

    async def _results(self, request: web.Request) -> web.Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        job = self.jobs[request.match_info["id"]]
        return web.Response(body=job.results(lambda *row: _line(job, *row)), content_type="application/x-jsonl")

    def shown(self, job: Job) -> dict[str, Any]:
        ended = job.state == "ended"
        unanswered = job.count("unanswered")
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": job.state,
            "request_counts": {
                "processing": 0 if ended else len(job.rows),
                "succeeded": job.count("answered"),
                "errored": job.count("errors"),
                "canceled": unanswered if job.asked.get("canceled") else 0,
                "expired": 0 if job.asked.get("canceled") else unanswered,
            },
            "created_at": rfc3339(job.created),
            "expires_at": rfc3339(job.created + timedelta(hours=24)),
            "ended_at": rfc3339(job.created + timedelta(hours=1)) if ended else None,
            "cancel_initiated_at": rfc3339(job.created) if job.asked.get("canceled") else None,
            "archived_at": None,
            "results_url": f"{self.root}/v1/messages/batches/{job.id}/results" if ended else None,
        }


def finish(job: Job, outcome: Outcome | None = None, *, canceled: bool = False) -> None:
    """End a job. `canceled`: its unanswered requests were cancelled, and did not expire."""
    job.asked["canceled"] = canceled
    job.end("ended", outcome)


def _line(job: Job, custom_id: str, params: Any, kind: str) -> dict[str, Any]:
    error = {"type": "invalid_request_error", "message": "prompt is too long"}
    results = {
        "answered": {"type": "succeeded", "message": _message(params)},
        "errors": {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_1"}},
        "unanswered": {"type": "canceled" if job.asked.get("canceled") else "expired"},
    }
    return {"custom_id": custom_id, "result": results[kind]}


def _message(params: Any) -> dict[str, Any]:
    question = params["messages"][-1]["content"]
    text = question if isinstance(question, str) else question[-1]["text"]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": params["model"],
        "content": [{"type": "text", "text": f"re: {text}"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 4, "service_tier": "batch"},
    }


def _problem(rows: list[tuple[str, Any]]) -> str | None:
    ids = [custom_id for custom_id, _ in rows]
    if bad := next((name for name in ids if not re.fullmatch("[a-zA-Z0-9_-]{1,64}", name)), None):
        return f"custom_id: {bad!r} should match ^[a-zA-Z0-9_-]{{1,64}}$"
    if len(set(ids)) < len(ids):
        return "custom_id: should be unique"
    if any("max_tokens" not in params or "stream" in params for _, params in rows):
        return "params: max_tokens is required, and stream is not supported"
    return None if 1 <= len(rows) <= 100_000 else "requests: should have 1 to 100000 items"


def _refusal(request: web.Request) -> web.Response | None:
    if KEY not in (request.headers.get("x-api-key"), request.headers.get("Authorization", "").removeprefix("Bearer ")):
        return _error(401, "authentication_error", "invalid x-api-key")
    if "anthropic-version" not in request.headers:
        return _error(400, "invalid_request_error", "anthropic-version: header is required")
    return None


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"type": kind, "message": message}}, status=status)
