"""Results that cannot be read, or lack lines, are read again: their rows are not sent a second time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from asyncinfer import RequestError
from tests.batch.conftest import BatchJob, QuickClock
from tests.batch.server import BatchServer
from tests.conftest import BlockWatch
from tests.fakes import questions

PAGE = "<html>\n<body>\nPlease log in.\n</body>\n</html>\n"


class OddServer(BatchServer):
    """Changes the next files of results that it sends, each by one of `changes`."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[str] = []

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = b"".join([piece async for piece in self._pieces(request.match_info["id"])])
        if not content or not self.changes:
            return web.Response(body=content)
        match self.changes.pop(0):
            case "page":
                return web.Response(text=PAGE, content_type="text/html")
            case "cut":
                return web.Response(body=content[: len(content) // 2])
            case _:
                return web.Response(body=b"")


@pytest.fixture
async def odd_server(block_watch: BlockWatch) -> AsyncIterator[OddServer]:
    block_watch.off()  # The server reads files on the loop of the test.
    async with OddServer() as server:
        yield server


@pytest.fixture
def odd_job(tmp_path: Path, odd_server: OddServer) -> BatchJob:
    return BatchJob(tmp_path, odd_server, QuickClock())


@pytest.mark.parametrize("change", ["page", "cut", "empty"])
async def test_results_without_some_lines_are_read_again(odd_job: BatchJob, odd_server: OddServer, change: str) -> None:
    odd_job.write_input(6)
    odd_server.changes = [change]
    await odd_job.run()
    assert set(odd_server.asked.values()) == {1}
    odd_job.check_output(6)


@pytest.mark.parametrize("change", ["page", "empty"])
async def test_results_that_stay_unreadable_end_the_run_and_the_next_run_reads_them(
    odd_job: BatchJob, odd_server: OddServer, change: str
) -> None:
    odd_job.write_input(6)
    odd_server.changes = [change] * 100
    summary = await odd_job.run()
    assert summary.failed == 6
    assert "Run the same again to read them" in summary.failure_samples[0][1].error_message
    odd_server.changes = []
    await odd_job.run()
    assert set(odd_server.asked.values()) == {1}
    odd_job.check_output(6)


@pytest.mark.parametrize("change", ["page", "empty"])
async def test_rows_of_unreadable_results_are_not_sent_as_single_requests(
    odd_job: BatchJob, odd_server: OddServer, change: str
) -> None:
    async with odd_job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(3))
        odd_server.jobs[batch_id].status = "completed"
        odd_server.changes = [change]
        with pytest.raises(RequestError, match="the response"):
            await engine.aget_batch_results(batch_id, questions(3))
    assert not odd_server.single
