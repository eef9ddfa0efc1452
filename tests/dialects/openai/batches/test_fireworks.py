"""What only Fireworks' batch API does: datasets, an account in URLs, and ids of the client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from asyncinfer import BatchStatus, RequestError
from asyncinfer.dialects.openai.batches.fireworks import FIREWORKS_BATCHES, job_info
from asyncinfer.errors import ConfigError
from tests.batch.fakes.apis import Engine, running, texts
from tests.batch.fakes.base import Plan
from tests.batch.fakes.fireworks import FireworksBatchServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.jsonl"


async def test_missing_account_says_which_variable_to_set() -> None:
    async with running(Engine.FIREWORKS) as api:
        context = replace(api.context, variables={})

        with pytest.raises(ConfigError, match="set the environment variable FIREWORKS_ACCOUNT_ID"):
            await api.do(api.dialect.status(context, "b"))

        assert FIREWORKS_BATCHES.variables == ("FIREWORKS_ACCOUNT_ID",)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.fireworks.ai/inference/v1", "https://api.fireworks.ai/v1/accounts/acme/batchInferenceJobs/b"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1/accounts/acme/batchInferenceJobs/b"),
        ("https://gateway/fireworks", "https://gateway/fireworks/v1/accounts/acme/batchInferenceJobs/b"),
    ],
)
async def test_jobs_are_beside_the_chats(base_url: str, url: str) -> None:
    async with running(Engine.FIREWORKS) as api:
        context = replace(api.context, base_url=base_url)

        assert next(api.dialect.status(context, "accounts/acme/batchInferenceJobs/b")).request.url == url


async def test_job_that_exists_is_not_created_again(path: Path) -> None:
    async with running(Engine.FIREWORKS) as api:
        first = await api.submit(path, "Hello?")
        again = await api.submit(path, "Hello?")

        assert again == first
        assert api.server.questions == {"Hello?": 1}


async def test_dataset_whose_upload_was_cut_off_is_uploaded_again(path: Path) -> None:
    async with running(Engine.FIREWORKS) as api:
        api.server.cuts = 1
        with pytest.raises(RequestError):
            await api.submit(path, "Hello?")

        info = await api.status(await api.submit(path, "Hello?"))

        assert texts(await api.answers(info)) == {"row-0": "answer to Hello?"}


@pytest.mark.parametrize("tag", ["asyncinfer-0a", "Run_1.part", "x" * 80])
async def test_tag_becomes_id_of_resource(path: Path, tag: str) -> None:
    async with running(Engine.FIREWORKS) as api:
        job = await api.submit(path, "Hello?", tag=tag)

        assert (await api.status(job)).id == job


async def test_job_is_deleted_where_it_cannot_be_cancelled(path: Path) -> None:
    server = FireworksBatchServer()
    server.cancels = False
    server.plan = lambda number: Plan(polls=5)
    async with running(Engine.FIREWORKS, server=server) as api:
        job = await api.submit(path, "Hello?")

        info = await api.do(api.dialect.cancel(api.context, job))

        assert (info.id, info.status) == (job, BatchStatus.CANCELLED)
        assert server.jobs == {}


@pytest.mark.parametrize("orders", [True, False])
async def test_newest_jobs_come_first_where_the_server_can_sort(path: Path, orders: bool) -> None:
    server = FireworksBatchServer()
    server.orders = orders
    async with running(Engine.FIREWORKS, server=server) as api:
        jobs = [await api.submit(path, "Hello?", tag=f"asyncinfer-{number}") for number in range(3)]

        page = await api.do(api.dialect.listing(api.context, None, 2))
        rest = await api.do(api.dialect.listing(api.context, page.last_id, 2))

        seen = [batch.id for batch in (*page.batches, *rest.batches)]
        assert seen == (jobs[::-1] if orders else jobs)


def test_processed_requests_count_if_the_dataset_declared_fewer() -> None:
    progress = {"totalInputRequests": 1, "totalProcessedRequests": 3, "successfullyProcessedRequests": 3}

    info = job_info({"name": "accounts/a/batchInferenceJobs/j", "jobProgress": progress})

    assert (info.id, info.total_requests, info.completed_requests) == ("j", 3, 3)
