"""A server of OpenAI's batch API, with faults. It runs on the event loop of the test.

Jobs answer each request with `answer to <last message>`. They keep their requests on disk, and results are written as a
stream, so that a test of the client's memory may run in the same process.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestServer

from tests.fakes import answer_to

Line = dict[str, Any]


@dataclass
class Job:
    """A job as the server keeps it. Times are in seconds since the epoch."""

    id: str
    file_id: str
    metadata: dict[str, str]
    window: str
    custom_ids: list[str]
    status: str = "validating"
    polls: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def is_terminal(self) -> bool:
        return self.status in ("completed", "failed", "expired", "cancelled")


@dataclass
class Faults:
    """What goes wrong. By default, nothing.

    Attributes:
        slow_polls: How many polls a job needs before it is done.
        result: Changes the result line of a request, by its text and its job. None: the row is missing. The line has
            `error` or a status from 400 if it belongs in the file of errors.
        outcome: The final status of a job.
        order: Changes the order of the result lines.
        create_status: The statuses of the next responses to a creation, after the job was created.
        single: Returns the answer to a single request, by its body.
        cut_uploads: How many of the next uploads break off in the middle.
        cut_results: How many of the next downloads break off in the middle.
        poll_statuses: The statuses of the next responses to polls.
        refuse: The response to a creation, in place of a job.
        cancel_statuses: The statuses of the next responses to cancellations, in place of them.
        delete_status: The status of all responses to deletions of files, in place of them.
    """

    slow_polls: int = 1
    result: Callable[[str, Line, Job], Line | None] = lambda _text, line, _job: line
    outcome: Callable[[Job], str] = lambda _: "completed"
    order: Callable[[list[Line]], list[Line]] = lambda lines: lines
    create_statuses: list[int] = field(default_factory=list[int])
    single: Callable[[dict[str, Any]], str] = lambda body: f"single {answer_to(text_of(body))}"
    cut_uploads: int = 0
    cut_results: int = 0
    poll_statuses: list[int] = field(default_factory=list[int])
    refuse: tuple[int, dict[str, Any]] | None = None
    cancel_statuses: list[int] = field(default_factory=list[int])
    delete_status: int | None = None


class BatchServer:
    """OpenAI's batch API. `asked` counts how often each question was submitted in a job, `single` how often alone."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.jobs: dict[str, Job] = {}
        self.asked: Counter[str] = Counter()
        self.single: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str, str], None] = lambda _method, _path: None
        # Called with what has just been done, before the response is sent.
        self.on_step: Callable[[str], None] = lambda _step: None
        self.list_status: int | None = None
        self.hangs_at: str | None = None  # Requests whose path ends like this get no response.
        self.piece = 2**16  # The bytes of results that are sent at once.
        self._numbers = itertools.count(1)
        self._folder = tempfile.TemporaryDirectory()
        app = web.Application(client_max_size=2**30, middlewares=[self._hang])
        app.add_routes(
            [
                web.post("/v1/files", self._upload),
                web.get("/v1/files", self._list_files),
                web.get("/v1/files/{id}", self._file),
                web.delete("/v1/files/{id}", self._delete),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create),
                web.get("/v1/batches", self._list),
                web.get("/v1/batches/{id}", self._status),
                web.post("/v1/batches/{id}/cancel", self._cancel),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        self._server = TestServer(app)
        self.files: dict[str, str] = {}

    @property
    def url(self) -> str:
        return str(self._server.make_url("/v1"))

    @property
    def polls(self) -> int:
        """How often the state of jobs was asked for."""
        return sum(method == "GET" and path.startswith("/v1/batches") for method, path in self.requests)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()
        self._folder.cleanup()

    def path(self, file_id: str) -> Path:
        return Path(self._folder.name) / file_id

    def lines_of(self, job: Job) -> Iterator[Line]:
        """The requests of a job."""
        with self.path(job.file_id).open() as file:
            for line in file:
                yield json.loads(line)

    def add_copy(self, job: Job) -> None:
        """Create a job once more, with the same tag."""
        again = replace(job, id=f"batch_{next(self._numbers)}")
        self.jobs[again.id] = again

    # Requests

    @web.middleware
    async def _hang(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.hangs_at is not None and request.path.endswith(self.hangs_at):
            await anyio.sleep_forever()
        return await handler(request)

    def _note(self, request: web.Request) -> None:
        self.requests.append((request.method, request.path))
        self.on_request(request.method, request.path)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self.faults.cut_uploads:
            self.faults.cut_uploads -= 1
            await request.content.readany()
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        length = int(request.headers["Content-Length"])
        file_id, name = f"file-{next(self._numbers)}", ""
        reader = await request.multipart()
        async for part in reader:
            assert isinstance(part, BodyPartReader)
            if part.name == "purpose":
                assert await part.text() == "batch"
            else:
                name = part.filename or ""
                with self.path(file_id).open("wb") as file:
                    while chunk := await part.read_chunk(2**18):
                        file.write(chunk)
                        self.on_step("received")
        assert request.content.total_bytes == length
        self.files[file_id] = name
        self.on_step("uploaded")
        return web.json_response(self._file_object(file_id))

    async def _create(self, request: web.Request) -> web.Response:
        self._note(request)
        body = await request.json()
        if self.faults.refuse is not None:
            status, refusal = self.faults.refuse
            return web.json_response(refusal, status=status)
        job = Job(
            f"batch_{next(self._numbers)}", body["input_file_id"], body["metadata"], body["completion_window"], []
        )
        for line in self.lines_of(job):
            assert line["method"] == "POST"
            assert line["url"] == body["endpoint"] == "/v1/chat/completions"
            job.custom_ids.append(line["custom_id"])
            self.asked[text_of(line["body"])] += 1
        assert len(set(job.custom_ids)) == len(job.custom_ids)
        self.jobs[job.id] = job
        self.on_step("created")
        if self.faults.create_statuses:
            return web.json_response({"error": {"message": "down"}}, status=self.faults.create_statuses.pop(0))
        return web.json_response(self._object(job))

    async def _list(self, request: web.Request) -> web.Response:
        self._note(request)
        self.on_step("polled")
        if self.list_status is not None:
            return web.json_response({"error": {"message": "no"}}, status=self.list_status)
        limit, after = int(request.query.get("limit", 20)), request.query.get("after")
        newest = [*reversed(self.jobs.values())]
        start = next((place + 1 for place, job in enumerate(newest) if job.id == after), 0)
        page = newest[start : start + limit]
        for job in page:
            self._advance(job)
        data = [self._object(job) for job in page]
        has_more = start + limit < len(newest)
        ids = {"first_id": page[0].id, "last_id": page[-1].id} if page else {"first_id": None, "last_id": None}
        return web.json_response({"object": "list", "data": data, "has_more": has_more, **ids})

    async def _status(self, request: web.Request) -> web.Response:
        self._note(request)
        self.on_step("polled")
        if self.faults.poll_statuses:
            return web.json_response({"error": {"message": "no"}}, status=self.faults.poll_statuses.pop(0))
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return web.json_response({"error": {"message": "No batch found"}}, status=404)
        self._advance(job)
        return web.json_response(self._object(job))

    async def _cancel(self, request: web.Request) -> web.Response:
        self._note(request)
        job = self.jobs[request.match_info["id"]]
        if self.faults.cancel_statuses:
            return web.json_response({"error": {"message": "no"}}, status=self.faults.cancel_statuses.pop(0))
        if not job.is_terminal:
            job.status = "cancelled"
        return web.json_response(self._object(job))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        file_id = request.match_info["id"]
        response = web.StreamResponse()
        await response.prepare(request)
        cut, self.faults.cut_results = self.faults.cut_results > 0, max(0, self.faults.cut_results - 1)
        count = 0
        async for piece in self._pieces(file_id):
            await response.write(piece)
            self.on_step("sent")
            count += 1
            if cut:
                await response.write(b'{"custom_id": "half a li')
                assert request.transport is not None
                request.transport.abort()
                return response
        await response.write_eof()
        return response

    async def _pieces(self, file_id: str) -> AsyncIterator[bytes]:
        """The content of a file, of an upload or of results."""
        kind, _, job_id = file_id.partition(":")
        if not job_id:
            yield self.path(file_id).read_bytes()
            return
        piece, size = list[bytes](), 0
        for line in self._results(self.jobs[job_id], kind == "errors"):
            piece.append(json.dumps(line).encode() + b"\n")
            size += len(piece[-1])
            if size > self.piece:
                yield b"".join(piece)
                piece, size = [], 0
                await anyio.lowlevel.checkpoint()
        yield b"".join(piece)

    def _results(self, job: Job, errors: bool) -> Iterator[Line]:
        lines = (self.faults.result(text_of(line["body"]), result_of(line), job) for line in self.lines_of(job))
        wanted = (line for line in lines if line is not None and is_error(line) == errors)
        yield from self.faults.order([*wanted]) if self.faults.order is not Faults().order else wanted

    async def _list_files(self, request: web.Request) -> web.Response:
        self._note(request)
        data = [self._file_object(file_id) for file_id in self.files]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def _file(self, request: web.Request) -> web.Response:
        self._note(request)
        file_id = request.match_info["id"]
        if file_id not in self.files:
            return web.json_response({"error": {"message": "No such File object"}}, status=404)
        return web.json_response(self._file_object(file_id))

    async def _delete(self, request: web.Request) -> web.Response:
        self._note(request)
        file_id = request.match_info["id"]
        if self.faults.delete_status is not None:
            return web.json_response({"error": {"message": "no"}}, status=self.faults.delete_status)
        self.files.pop(file_id)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def _chat(self, request: web.Request) -> web.Response:
        self._note(request)
        body = await request.json()
        self.single[text_of(body)] += 1
        return web.json_response(chat_completion(self.faults.single(body)))

    # States

    def _advance(self, job: Job) -> None:
        """Each poll brings a job a step forward."""
        if job.is_terminal:
            return
        job.polls += 1
        if job.polls < self.faults.slow_polls:
            job.status = ("validating", "in_progress", "finalizing")[min(job.polls, 2)]
        else:
            job.status = self.faults.outcome(job)

    def _file_object(self, file_id: str) -> dict[str, Any]:
        return {
            "id": file_id,
            "object": "file",
            "bytes": self.path(file_id).stat().st_size,
            "created_at": 1_700_000_000,
            "filename": self.files[file_id],
            "purpose": "batch",
            "status": "processed",
        }

    def _object(self, job: Job) -> dict[str, Any]:
        has_results = job.status in ("completed", "expired", "cancelled")
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": {"object": "list", "data": job.errors} if job.errors else None,
            "input_file_id": job.file_id,
            "completion_window": job.window,
            "status": job.status,
            "output_file_id": f"output:{job.id}" if has_results else None,
            "error_file_id": f"errors:{job.id}" if has_results else None,
            "created_at": 1_700_000_000 + int(job.id.removeprefix("batch_")),
            "request_counts": {
                "total": len(job.custom_ids),
                "completed": len(job.custom_ids) if has_results else 0,
                "failed": 0,
            },
            "metadata": job.metadata,
        }


def text_of(body: Line) -> str:
    """The text of the last message of a request."""
    return str(body["messages"][-1]["content"])


def chat_completion(text: str) -> Line:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def result_of(line: Line) -> Line:
    """The successful result of a request."""
    body = chat_completion(answer_to(text_of(line["body"])))
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": None}


def failed(line: Line, status: int = 500, message: str = "server error") -> Line:
    """The result of a request that failed with this status."""
    body = {"error": {"message": message}}
    return line | {"response": {"status_code": status, "request_id": "req_1", "body": body}}


def expired(line: Line) -> Line:
    """The result of a request to which an expired job did not get."""
    error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
    return line | {"response": None, "error": error}


def is_error(line: Line) -> bool:
    return line.get("error") is not None or line["response"]["status_code"] >= 400
