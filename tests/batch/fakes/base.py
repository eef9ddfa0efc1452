"""The part that the fakes of all batch APIs share: stored files, jobs that pass through states, and faults.

    async with OpenAIBatchServer() as server:
        server.plan = lambda number: Plan(polls=2, outcome=lambda question: Outcome.FAILED)
        ... submit jobs to server.url, by any client ...
        assert server.problems == []

`problems` has what the API would not accept. `questions` counts the rows of all jobs by their question.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestServer

from asyncinfer import BatchStatus
from tests.fakes import answer_to

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-test"
# Files at these paths are read and written by whoever knows their URL.
SIGNED = "/signed/"


class Outcome(Enum):
    """What becomes of a row. UNREACHED: the job ended before. MISSING: no file of results has it."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNREACHED = "unreached"
    MISSING = "missing"


def _answered(question: str) -> Outcome:
    return Outcome.ANSWERED


@dataclass
class Plan:
    """How a job goes.

    Args:
        polls: How often its state is read before it ends.
        ending: How it ends.
        outcome: What becomes of a row, by its question.
        shuffled: The results are in another order.
        doubled: Each result is there twice.
    """

    polls: int = 0
    ending: BatchStatus = BatchStatus.COMPLETED
    outcome: Callable[[str], Outcome] = _answered
    shuffled: bool = False
    doubled: bool = False


@dataclass
class StoredFile:
    """A file, with the server's data of it."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Job:
    """A job. `request`: what created it. `output`, `errors`: its files of results. `size`: the bytes of its requests."""

    id: str
    request: Json
    input_file: str
    rows: list[Json]
    plan: Plan
    size: int = 0
    status: BatchStatus = BatchStatus.VALIDATING
    polls: int = 0
    output: StoredFile | None = None
    errors: StoredFile | None = None
    error: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])

    def count(self, *outcomes: Outcome) -> int:
        return sum(outcome in outcomes for outcome in self.outcomes.values())


class FakeBatchServer:
    """A batch API. Its subclasses have the routes and the shapes of a provider.

    `on_response` is called with the number of each response before it is sent.

    Faults: `cuts` uploads are cut off in the middle. `refused` requests for a job are answered with 500, and `lost`
    ones too, but their job exists. `rejected` requests for a job are answered with 400.
    """

    prefix = "/v1"

    def __init__(self) -> None:
        self.files: dict[str, StoredFile] = {}
        self.jobs: dict[str, Job] = {}
        self.plan: Callable[[int], Plan] = lambda number: Plan()
        self.questions: Counter[str] = Counter()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.on_response: Callable[[int], Awaitable[None]] | None = None
        self.cuts = self.lost = self.refused = self.rejected = 0
        self._numbers = itertools.count(1)  # Files may be deleted, so that their number is no id.

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the provider."""
        raise NotImplementedError

    def answered_row(self, job: Job, row: Json) -> Json:
        """Return the line of an answered row."""
        raise NotImplementedError

    def failed_row(self, job: Job, row: Json, outcome: Outcome) -> Json:
        """Return the line of a row without an answer."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    @property
    def url(self) -> str:
        return self.host + self.prefix

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30, middlewares=[self._middleware()])
        self.add_routes(app.router)
        self._server = TestServer(app)
        await self._server.start_server(access_log=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    # Files

    @property
    def requests_files(self) -> list[str]:
        """The ids of the files of requests that are stored."""
        return [file.id for file in self.files.values() if file.purpose != "batch_output"]

    def store(self, name: str, purpose: str, content: bytes, file_id: str | None = None) -> StoredFile:
        file = StoredFile(file_id or f"file-{next(self._numbers)}", name, purpose, content)
        self.files[file.id] = file
        return file

    def file(self, request: web.Request) -> StoredFile:
        """Return the file in the path of a request."""
        try:
            return self.files[request.match_info["id"]]
        except KeyError:
            raise web.HTTPNotFound(text=json.dumps({"error": {"message": "no such file"}})) from None

    async def form(self, request: web.Request) -> tuple[dict[str, str], str, bytes]:
        """Return the fields of a form, and the name and the content of its file."""
        fields, name, content = dict[str, str](), "", b""
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.filename is None:
                fields[part.name or ""] = (await part.read(decode=True)).decode()
            else:
                name, content = part.filename, await self.uploaded(request, part.read_chunk)
        return fields, name, content

    async def uploaded(self, request: web.Request, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the content of a file, or cut off the connection in its middle."""
        content = bytearray()
        while chunk := await read():
            content += chunk
            if self.cuts:
                self.cuts -= 1
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
        return bytes(content)

    # Jobs

    def create(self, job_id: str, request: Json, file: StoredFile) -> Job:
        """Start a job. Raises an error of HTTP if that is planned."""
        if self.refused:
            self.refused -= 1
            raise web.HTTPInternalServerError(text=json.dumps({"error": {"message": "refused"}}))
        if self.rejected:
            self.rejected -= 1
            raise web.HTTPBadRequest(text=json.dumps({"error": {"message": "rejected"}}))
        rows = [json.loads(line) for line in file.content.splitlines() if line.strip()]
        job = Job(job_id, request, file.id, rows, self.plan(len(self.jobs) + 1), size=len(file.content))
        self.jobs[job_id] = job
        self._check(rows)
        self.questions.update(question_of(row) for row in rows)
        if self.lost:
            self.lost -= 1
            raise web.HTTPInternalServerError(text=json.dumps({"error": {"message": "lost"}}))
        return job

    def job(self, request: web.Request) -> Job:
        """Return the job in the path of a request."""
        try:
            return self.jobs[request.match_info["id"]]
        except KeyError:
            raise web.HTTPNotFound(text=json.dumps({"error": {"message": "no such job"}})) from None

    def poll(self, job: Job) -> Job:
        """Let a job go on by one state."""
        if job.status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING):
            if job.polls >= job.plan.polls:
                self.end(job, job.plan.ending)
            else:
                last = job.polls == job.plan.polls - 1
                job.status = BatchStatus.FINALIZING if last and job.polls else BatchStatus.IN_PROGRESS
            job.polls += 1
        elif job.status is BatchStatus.CANCELLING:
            self.end(job, BatchStatus.CANCELLED)
        return job

    def cancel(self, job: Job) -> Job:
        """Somebody cancels a job, which ends with the results that it has."""
        if job.status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING):
            job.status = BatchStatus.CANCELLING
        return job

    def end(self, job: Job, ending: BatchStatus) -> None:
        """End a job, and write its results."""
        job.status = ending
        if ending is BatchStatus.FAILED:
            job.error = "the file is not valid"
            return
        outputs, errors = list[bytes](), list[bytes]()
        for row in job.rows:
            outcome = job.outcomes[row["custom_id"]] = job.plan.outcome(question_of(row))
            if outcome is Outcome.ANSWERED:
                outputs.append(json.dumps(self.answered_row(job, row)).encode())
            elif outcome is not Outcome.MISSING:
                errors.append(json.dumps(self.failed_row(job, row, outcome)).encode())
        job.output = self._results(job, "output", outputs)
        job.errors = self._results(job, "errors", errors)

    def _results(self, job: Job, name: str, lines: list[bytes]) -> StoredFile | None:
        if job.plan.doubled:
            lines = [line for line in lines for _ in range(2)]
        if job.plan.shuffled:
            random.Random(1).shuffle(lines)
        return self.store(f"{name}.jsonl", "batch_output", b"\n".join(lines) + b"\n") if lines else None

    def _check(self, rows: Iterable[Json]) -> None:
        ids = [row["custom_id"] for row in rows]
        if len(set(ids)) < len(ids) or not all(0 < len(custom_id) <= 64 for custom_id in ids):
            self.problems.append("the ids of rows are not unique, or too long")

    def require(self, is_right: bool, problem: str) -> None:
        """Note a problem unless something is right."""
        if not is_right:
            self.problems.append(problem)

    def _middleware(self) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests.append(f"{request.method} {request.path}")
            has_key = KEY in (request.headers.get("Authorization", "") + request.headers.get("api-key", ""))
            if request.path.startswith(SIGNED):
                self.require(not has_key, f"the key was sent to {request.path}")
            elif not has_key:
                return web.json_response({"error": {"message": "no key"}}, status=401)
            number = len(self.requests)
            try:
                return await handler(request)
            finally:
                if self.on_response is not None:
                    await self.on_response(number)

        return middleware


def question_of(row: Json) -> str:
    """Return the question of a row: the text of its last message."""
    body = row["body"]
    last = (body.get("messages") or body.get("input"))[-1]
    content = last["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def chat_answer(row: Json, model: str) -> Json:
    """Return the answer of chat completions to a row."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer_to(question_of(row))},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
