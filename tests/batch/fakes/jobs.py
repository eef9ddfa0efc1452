"""What the fakes of batch APIs have in common: jobs whose states a test sets, results with faults, and lost requests.

async with FakeAnthropicBatches() as api:
    ... submit a job to api.url, by any client ...
    api.only_job.finish(Outcome(errors={1}, missing={2}))
    ... read its results ...
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

START = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


@dataclass
class Outcome:
    """How a job ends. The sets have the places of requests in the file.

    Args:
        errors: Requests that the model refused.
        unanswered: Requests that the job did not get to.
        missing: Requests without a line in the results.
        twice: Requests with two lines.
        shuffled: Whether the results have another order than the requests.
        garbage: Lines that are not results.
    """

    errors: set[int] = field(default_factory=set[int])
    unanswered: set[int] = field(default_factory=set[int])
    missing: set[int] = field(default_factory=set[int])
    twice: set[int] = field(default_factory=set[int])
    shuffled: bool = False
    garbage: tuple[bytes, ...] = ()


@dataclass
class Job:
    """A job. `rows`: pairs of the id of a row and its request. `state`: the word of the API."""

    id: str
    name: str
    rows: list[tuple[str, Any]]
    state: str
    created: datetime
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    outcome: Outcome | None = None

    @property
    def has_ended(self) -> bool:
        return self.outcome is not None

    def end(self, state: str, outcome: Outcome | None = None) -> None:
        """End the job. Its results are available from now on."""
        self.state, self.outcome = state, outcome or Outcome()

    def count(self, kind: str) -> int:
        """The number of requests of this kind: `errors`, `unanswered` or `answered`."""
        if self.outcome is None:
            return 0
        failed = self.outcome.errors | self.outcome.unanswered
        return len(self.rows) - len(failed) if kind == "answered" else len(getattr(self.outcome, kind))

    def results(self, result: Callable[[str, Any, str], dict[str, Any] | None]) -> bytes:
        """The file of results. `result` makes a line from the id of a row, its request and the kind of its outcome."""
        outcome = self.outcome or Outcome()
        lines = list[bytes]()
        for place, (custom_id, request) in enumerate(self.rows):
            kind = "errors" if place in outcome.errors else "answered"
            kind = "unanswered" if place in outcome.unanswered else kind
            line = result(custom_id, request, kind)
            if line is not None and place not in outcome.missing:
                lines += [json.dumps(line).encode()] * (2 if place in outcome.twice else 1)
        if outcome.shuffled:
            random.Random(1).shuffle(lines)
        return b"".join(line + b"\n" for line in [*lines, *outcome.garbage])


class FakeJobs:
    """A server with a batch API. Subclasses have its routes.

    Attributes:
        sent: The requests that have arrived: method, path with query, headers and body.
        lost_creations: How many of the next jobs are created, but answered with 500.
        cut_uploads: How many of the next uploads are cut off in the middle.
        failing_requests: How many of the next requests are answered with 503, before they have any effect.
        on_poll: What happens to a job that has not ended when its state is asked for.
        on_created: Called when a job was created, before the response.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.sent: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lost_creations = self.cut_uploads = self.failing_requests = 0
        self.on_poll: Callable[[Job], None] = lambda job: None
        self.on_created: Callable[[], None] = lambda: None

    @property
    def root(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    @property
    def only_job(self) -> Job:
        [job] = self.jobs.values()
        return job

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    def new_job(self, id: str, name: str, rows: list[tuple[str, Any]], state: str, asked: dict[str, Any]) -> Job:
        created = START + timedelta(minutes=len(self.jobs))
        job = self.jobs[id] = Job(id, name, rows, state, created, asked)
        return job

    def created(self, body: Any) -> web.Response:
        """The answer to the creation of a job, which may be lost."""
        self.on_created()
        if self.lost_creations:
            self.lost_creations -= 1
            return web.json_response({"error": {"message": "internal error", "code": 500}}, status=500)
        return web.json_response(body)

    def polled(self, job: Job) -> Job:
        """The job, after its state was asked for."""
        if not job.has_ended:
            self.on_poll(job)
        return job

    def requests(self, method: str, part: str) -> list[tuple[str, str, dict[str, str], bytes]]:
        """The requests with this method whose path contains `part`."""
        return [sent for sent in self.sent if sent[0] == method and part in sent[1]]

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30, middlewares=[self._middleware])
        app.add_routes(self.routes())
        self._server = TestServer(app)
        await self._server.start_server(access_log=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    async def read(self, request: web.Request) -> bytes:
        """The body of an upload, which may be cut off."""
        if self.cut_uploads:
            self.cut_uploads -= 1
            await request.content.readany()
            assert request.transport is not None
            request.transport.close()
        return await request.read()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        body = b"" if request.content_length and request.content_length > 2**20 else await self._peeked(request)
        self.sent.append((request.method, request.raw_path, dict(request.headers), body))
        if self.failing_requests:
            self.failing_requests -= 1
            return web.json_response({"error": {"message": "overloaded", "code": 503}}, status=503)
        return await handler(request)

    async def _peeked(self, request: web.Request) -> bytes:
        return b"" if self.cut_uploads else await request.read()


def rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
