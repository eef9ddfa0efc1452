"""The SDKs of the providers run the same jobs at the fakes. They check the shapes of the fakes, and our reading of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fireworks import AsyncFireworks
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.types.chat import ChatCompletion
from together import AsyncTogether

from asyncinfer import BatchInfo, BatchStatus
from asyncinfer.dialects.batch import FileQuery
from tests.batch.fakes.apis import MODEL, Api, Engine, running
from tests.batch.fakes.base import KEY, Json, Outcome, Plan
from tests.batch.fakes.fireworks import ACCOUNT
from tests.batch.fakes.openai import AzureBatchServer

_PLAN = Plan(outcome=lambda question: Outcome.FAILED if question == "bad" else Outcome.ANSWERED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "asyncinfer-1.jsonl"


async def _ours(api: Api, path: Path) -> BatchInfo:
    """Submit a job with our dialect, let it end, and return it."""
    api.server.plan = lambda number: _PLAN
    return await api.status(await api.submit(path, "Hello?", "bad"))


def _check_lines(content: bytes) -> None:
    """Check the lines of answers with OpenAI's types."""
    for line in content.splitlines():
        row: Json = json.loads(line)
        ChatCompletion.model_validate(row["response"].get("body", row["response"]))


def _check(info: BatchInfo, theirs: Any, output: str | None, errors: str | None) -> None:
    """Check that we read what the SDK reads."""
    assert (info.id, info.output_file_id, info.error_file_id) == (theirs.id, output, errors)
    assert info.status is BatchStatus.COMPLETED


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.PARASAIL])
async def test_openai_sdk_runs_same_job(engine: Engine, path: Path) -> None:
    async with (
        running(engine) as api,
        AsyncOpenAI(base_url=api.server.url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client,
    ):
        await _run_with_openai_sdk(api, client, path)


@pytest.mark.parametrize("version", [None, "2024-10-21"])
async def test_azure_sdk_runs_same_job(path: Path, version: str | None) -> None:
    server = AzureBatchServer(version)
    chats = "/deployments/d/chat/completions" if version else "/chat/completions"
    async with running(
        Engine.AZURE_OPENAI, chats, query=f"api-version={version}" if version else "", server=server
    ) as api:
        if version:
            client = AsyncAzureOpenAI(
                azure_endpoint=server.host,
                azure_deployment="d",
                api_version=version,
                api_key=KEY,
                max_retries=0,
                _strict_response_validation=True,
            )
        else:
            client = AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0, _strict_response_validation=True)
        async with client:
            await _run_with_openai_sdk(api, client, path)
        if version:
            assert {row["body"]["model"] for job in server.jobs.values() for row in job.rows} == {"d"}


async def _run_with_openai_sdk(api: Api, client: AsyncOpenAI, path: Path) -> None:
    info = await _ours(api, path)

    theirs = await client.batches.retrieve(info.id)
    _check(info, theirs, theirs.output_file_id, theirs.error_file_id)
    assert theirs.request_counts is not None
    assert (info.total_requests, info.completed_requests, info.failed_requests) == (2, 1, 1)
    assert theirs.request_counts.total == 2
    assert info.created_at is not None
    assert info.created_at.timestamp() == theirs.created_at
    assert theirs.output_file_id is not None
    _check_lines((await client.files.content(theirs.output_file_id)).content)
    file = await client.files.create(file=(path.name, path.read_bytes()), purpose="batch")
    job = await client.batches.create(input_file_id=file.id, endpoint=theirs.endpoint, completion_window="24h")  # pyright: ignore[reportArgumentType]
    assert (await client.batches.cancel(job.id)).status == "cancelling"
    assert [one.id async for one in client.batches.list(limit=1)] == [job.id, info.id]
    listed = await api.do(_files(api).listing(api.context, FileQuery(purpose="batch")))
    assert [one.id async for one in client.files.list(purpose="batch")] == [one.id for one in listed.files]
    assert (await client.files.delete(file.id)).deleted


async def test_groq_sdk_runs_same_job(path: Path) -> None:
    groq = pytest.importorskip("groq", reason="groq is not installed (extra dev)")
    async with (
        running(Engine.GROQ) as api,
        groq.AsyncGroq(
            base_url=api.server.host, api_key=KEY, max_retries=0, _strict_response_validation=True
        ) as client,
    ):
        info = await _ours(api, path)

        theirs = await client.batches.retrieve(info.id)
        _check(info, theirs, theirs.output_file_id, theirs.error_file_id)
        _check_lines(await (await client.files.content(theirs.output_file_id)).read())
        file = await client.files.create(file=(path.name, path.read_bytes()), purpose="batch")
        job = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await client.batches.cancel(job.id)).status == "cancelling"
        assert [one.id for one in (await client.batches.list()).data] == [job.id, info.id]
        assert (await client.files.info(file.id)).filename == path.name
        assert len((await client.files.list()).data) == len(api.server.files)
        assert (await client.files.delete(file.id)).deleted


async def test_together_sdk_runs_same_job(path: Path) -> None:
    async with (
        running(Engine.TOGETHER) as api,
        AsyncTogether(base_url=api.server.host, api_key=KEY, max_retries=0, _strict_response_validation=True) as client,
    ):
        info = await _ours(api, path)

        theirs = await client.batches.retrieve(info.id)
        _check(info, theirs, theirs.output_file_id, theirs.error_file_id)
        assert info.created_at == theirs.created_at
        assert info.expires_at == theirs.job_deadline
        assert theirs.output_file_id is not None
        _check_lines(await (await client.files.content(theirs.output_file_id)).read())
        file = await client.files.upload(path, purpose="batch-api", check=False)
        created = await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
        assert created.job is not None
        assert created.job.status == "VALIDATING"
        assert [one.id for one in await client.batches.list()] == [created.job.id, info.id]
        assert (await client.files.retrieve(file.id)).filename == path.name
        assert len((await client.files.list()).data) == len(api.server.files)
        assert (await client.files.delete(file.id)).deleted


async def test_mistral_sdk_runs_same_job(path: Path) -> None:
    mistral = pytest.importorskip("mistralai.client", reason="mistralai is not installed (extra dev)")
    async with running(Engine.MISTRAL) as api, mistral.Mistral(server_url=api.server.host, api_key=KEY) as client:
        info = await _ours(api, path)

        theirs = await client.batch.jobs.get_async(job_id=info.id)
        _check(info, theirs, theirs.output_file, theirs.error_file)
        assert (theirs.total_requests, theirs.succeeded_requests, theirs.failed_requests) == (2, 1, 1)
        assert (info.total_requests, info.completed_requests, info.failed_requests) == (2, 1, 1)
        content = await client.files.download_async(file_id=theirs.output_file)
        _check_lines(await content.aread())
        upload = {"file_name": path.name, "content": path.read_bytes()}
        file = await client.files.upload_async(file=upload, purpose="batch")
        job = await client.batch.jobs.create_async(
            input_files=[file.id], model=MODEL, endpoint="/v1/chat/completions", metadata={"a": "b"}
        )
        assert (await client.batch.jobs.cancel_async(job_id=job.id)).status == "CANCELLATION_REQUESTED"
        assert [one.id for one in (await client.batch.jobs.list_async()).data] == [job.id, info.id]
        assert (await client.files.retrieve_async(file_id=file.id)).filename == path.name
        assert (await client.files.list_async()).total == len(api.server.files)
        assert (await client.files.delete_async(file_id=file.id)).deleted


async def test_fireworks_sdk_runs_same_job(path: Path) -> None:
    async with (
        running(Engine.FIREWORKS) as api,
        AsyncFireworks(
            base_url=api.server.host, api_key=KEY, account_id=ACCOUNT, max_retries=0, _strict_response_validation=True
        ) as client,
    ):
        info = await _ours(api, path)

        theirs = await client.batch_inference_jobs.get(info.id)
        assert (theirs.name, theirs.state) == (
            f"accounts/{ACCOUNT}/batchInferenceJobs/{info.id}",
            "JOB_STATE_COMPLETED",
        )
        assert info.created_at == theirs.create_time
        assert theirs.job_progress is not None
        assert (info.total_requests, info.completed_requests, info.failed_requests) == (
            theirs.job_progress.total_input_requests,
            theirs.job_progress.successfully_processed_requests,
            theirs.job_progress.failed_requests,
        )
        await client.datasets.create(dataset_id="d", dataset={"example_count": "2", "user_uploaded": {}})
        await client.datasets.upload("d", file=(path.name, path.read_bytes()))
        assert (await client.datasets.get("d")).state == "READY"
        assert len([one async for one in client.datasets.list(page_size=1)]) == len(api.server.files)
        job = await client.batch_inference_jobs.create(
            batch_inference_job_id="j", model=MODEL, input_dataset_id=f"accounts/{ACCOUNT}/datasets/d"
        )
        assert job.state == "JOB_STATE_VALIDATING"
        assert len([one async for one in client.batch_inference_jobs.list(page_size=1)]) == 2
        urls = await client.datasets.get_download_endpoint(f"{info.output_file_id}")
        assert urls.filename_to_signed_urls is not None
        assert len(urls.filename_to_signed_urls) == 2


def _files(api: Api) -> Any:
    assert api.dialect.files is not None
    return api.dialect.files
