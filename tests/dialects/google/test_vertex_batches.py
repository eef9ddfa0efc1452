"""Vertex's batch prediction jobs, against a fake that google-genai reads."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.batch import SentJob
from asyncinfer.dialects.google.vertex_batches import info
from asyncinfer.dialects.google.vertex_rows import answer, gemini_line
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.rows.cloud_platforms import GOOGLE_VERTEX
from asyncinfer.types.batch import BatchStatus
from tests.batch.driver import Driver, check_pages_of_jobs, questions, texts, write_job
from tests.batch.fakes.jobs import START, Outcome
from tests.batch.fakes.json_values import json_values
from tests.batch.fakes.vertex import PARENT, TOKEN, FakeVertexBatches

MODEL = "google/gemini-2.5-flash"


def driver(
    api: FakeVertexBatches, model: str = MODEL, *, storage: str | None = "gs://bucket/my/prefix/", token: str = TOKEN
) -> Driver:
    environ = {"STORAGE_EMULATOR_HOST": api.root}
    return Driver(GOOGLE_VERTEX, api.url, model, api_key=token, environ=environ, storage=storage)


async def test_job_is_submitted_polled_and_read(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b"))
        assert batch_id == f"{PARENT}/batchPredictionJobs/1000"
        assert api.only_job.asked == {
            "displayName": "asyncinfer-0a1b",
            "model": "publishers/google/models/gemini-2.5-flash",
            "inputConfig": {
                "instancesFormat": "jsonl",
                "gcsSource": {"uris": ["gs://bucket/my/prefix/asyncinfer-0a1b/input.jsonl"]},
            },
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": "gs://bucket/my/prefix/asyncinfer-0a1b/output"},
            },
        }
        assert (await ours.status(batch_id)).status is BatchStatus.VALIDATING
        api.only_job.state = "JOB_STATE_RUNNING"
        assert (await ours.status("1000")).status is BatchStatus.IN_PROGRESS
        api.only_job.end("JOB_STATE_SUCCEEDED")
        api.write_results(api.only_job)
        info = await ours.status(batch_id)
        assert (info.status, info.total_requests, info.completed_requests) == (BatchStatus.COMPLETED, 2, 2)
        assert (info.created_at, info.completed_at) == (START, START)
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a", "row-1": "re: b"}


async def test_sdk_runs_the_same_job(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        await driver(api).submit(tmp_path, questions("a"))
        await to_thread.run_sync(partial(_run_by_sdk, api))


def _run_by_sdk(api: FakeVertexBatches) -> None:
    options = types.HttpOptions(base_url=api.root, api_version="v1beta1")
    mine = api.only_job
    client = genai.Client(
        vertexai=True, project="p1", location="us-central1", credentials=Credentials(token=TOKEN), http_options=options
    )
    with client:
        job = client.batches.create(
            model="gemini-2.5-flash",
            src=mine.asked["inputConfig"]["gcsSource"]["uris"][0],
            config={"display_name": mine.name, "dest": mine.asked["outputConfig"]["gcsDestination"]["outputUriPrefix"]},
        )
        assert job.state == types.JobState.JOB_STATE_PENDING
        theirs = api.jobs[job.name or ""]
        assert theirs.asked == mine.asked
        client.batches.cancel(name=job.name or "")
        assert client.batches.get(name=job.name or "").state == types.JobState.JOB_STATE_CANCELLING
        theirs.end("JOB_STATE_SUCCEEDED", Outcome(errors={0}))
        job = client.batches.get(name=job.name or "")
        assert job.output_info is not None
        assert job.output_info.gcs_output_directory == api.directory(theirs)
        assert job.completion_stats is not None
        assert job.completion_stats.failed_count == 1
        found = client.batches.list(config={"filter": f'display_name="{mine.name}"', "page_size": 1})
        assert [each.name for each in found] == [theirs.id, mine.id]


@pytest.mark.parametrize(
    ("model", "path", "fields"),
    [
        (
            "claude-sonnet-4-5@20250929",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            {"custom_id", "request"},
        ),
        ("anthropic/claude-sonnet-4-5", "publishers/anthropic/models/claude-sonnet-4-5", {"custom_id", "request"}),
        (
            "meta/llama-3.3-70b-instruct-maas",
            "publishers/meta/models/llama-3.3-70b-instruct-maas",
            {"custom_id", "method", "url", "body"},
        ),
        ("gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro", {"request"}),
        ("publishers/google/models/gemini-2.5-pro", "publishers/google/models/gemini-2.5-pro", {"request"}),
        ("projects/1/locations/us-central1/models/2", "projects/1/locations/us-central1/models/2", {"request"}),
    ],
)
async def test_models_of_each_family(tmp_path: Path, model: str, path: str, fields: set[str]) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api, model)
        batch_id = await ours.submit(tmp_path, questions("a", "b"))
        assert api.only_job.asked["model"] == path
        assert [set(row) for _, row in api.only_job.rows] == [fields] * 2
        api.only_job.end("JOB_STATE_SUCCEEDED", Outcome(errors={1}))
        api.write_results(api.only_job)
        found = await ours.completions(batch_id)
        error = found.pop("row-1")
        assert isinstance(error, RequestError)
        assert (error.status_code, error.is_retryable) == (400, False)
        assert texts(found) == {"row-0": "re: a"}


async def test_claude_gets_a_request_without_model_and_cache_control(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        await driver(api, "claude-sonnet-4-5").submit(tmp_path, questions("a"))
        [(_, row)] = api.only_job.rows
        assert set(row["request"]) == {"anthropic_version", "max_tokens", "messages", "temperature"}
        assert row["request"]["anthropic_version"] == "vertex-2023-10-16"


async def test_partial_results_of_a_cancelled_job_are_read_once_per_object(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b", "c", "d"))
        outcome = Outcome(unanswered={1}, missing={2}, twice={3}, shuffled=True, garbage=(b"{}", b"x"))
        api.only_job.end("JOB_STATE_CANCELLED", outcome)
        for name in ("predictions.jsonl", "incremental_predictions.jsonl", "errors.txt", "z/predictions.jsonl"):
            api.write_results(api.only_job, name)
        assert (await ours.status(batch_id)).status is BatchStatus.CANCELLED
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a", "row-3": "re: d"}
        assert len(await ours.answers(batch_id)) == 9


async def test_failed_job_has_no_results(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        api.only_job.end("JOB_STATE_FAILED")
        info = await ours.status(batch_id)
        assert (info.status, info.error) == (BatchStatus.FAILED, "the input is not valid")
        assert await ours.answers(batch_id) == []


async def test_cancelled_job(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        assert (await ours.run(ours.dialect.cancel(ours.context, batch_id))).status is BatchStatus.CANCELLING


async def test_job_whose_response_was_lost_is_found_by_its_name(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        await ours.submit(tmp_path, questions("a"), tag="another")
        api.lost_creations = 3
        for _ in range(3):
            with pytest.raises(RequestError):
                await ours.submit(tmp_path, questions("a"), tag="mine")
        file = write_job(ours.dialect, ours.context, GOOGLE_VERTEX.dialect, tmp_path / "j", questions("a"))
        found = await ours.run(ours.dialect.find_jobs(ours.context, SentJob("mine", file, "24h", START)))
        assert [job.id[-4:] for job in found] == ["1001", "1002", "1003"]


async def test_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        await check_pages_of_jobs(driver(api), tmp_path, jobs=3, page=2)


async def test_upload_that_is_cut_off_leaves_no_object_and_no_job(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        ours = driver(api)
        api.cut_uploads = 1
        with pytest.raises(RequestError):
            await ours.submit(tmp_path, questions("a" * 2**21))
        assert not api.objects
        assert not api.jobs


@pytest.mark.parametrize("storage", [None, "", "s3://bucket", "bucket", "gs://b", "gs://bucket/a b", "gs://BUCKET/x"])
async def test_missing_or_wrong_storage_is_an_error_before_any_request(tmp_path: Path, storage: str | None) -> None:
    async with FakeVertexBatches() as api:
        with pytest.raises(ConfigError, match="gs://my-bucket/my-prefix"):
            await driver(api, storage=storage).submit(tmp_path, questions("a"))
        assert not api.sent


async def test_errors_show_no_token(tmp_path: Path) -> None:
    async with FakeVertexBatches() as api:
        with pytest.raises(RequestError) as error:
            await driver(api, token="ya29.wrong").submit(tmp_path, questions("a"))
        assert error.value.status_code == 401
        assert "ya29" not in str(error.value)


@pytest.mark.parametrize("custom_id", ["0a1b-2", "Row_1", "x" * 64, "é", "a.b c"])
def test_any_id_survives_as_labels(custom_id: str) -> None:
    body = b'{"contents":[],"labels":{"team":"research"}}'
    for line in (gemini_line(custom_id, body), gemini_line(custom_id, b'{"contents":[]}')):
        request = json.loads(line)["request"]
        assert all(len(value) <= 63 and value == value.lower() for value in request["labels"].values())
        result = {"request": request, "response": {"candidates": []}, "status": ""}
        assert answer(json.dumps(result).encode()).custom_id == custom_id
    assert json.loads(gemini_line(custom_id, body))["request"]["labels"]["team"] == "research"


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [
        ('Error: {"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}', 429, True),
        ('Bad Request: {"error": {"code": 400, "message": "Invalid", "status": "INVALID_ARGUMENT"}}', 400, False),
        ("Internal error occurred.", None, True),
        ({"code": 13, "message": "internal"}, 500, True),
    ],
)
def test_status_of_a_row_says_why_it_has_no_answer(status: Any, code: int | None, is_retryable: bool) -> None:
    line = {"custom_id": "a", "request": {}, "response": {}, "status": status}
    ours = Driver(GOOGLE_VERTEX, "https://x/v1beta1/projects/p/locations/l/endpoints/openapi/chat/completions", MODEL)
    error = ours.completion(answer(json.dumps(line).encode()))
    assert isinstance(error, RequestError)
    assert (error.status_code, error.is_retryable) == (code, is_retryable)


@given(
    st.dictionaries(
        st.sampled_from(["custom_id", "key", "request", "response", "status", "error"]),
        json_values | st.just({"labels": {"asyncinfer-row": "a"}}) | st.just("a"),
    )
)
def test_any_line_is_an_answer_or_an_error(entry: dict[str, Any]) -> None:
    try:
        found = answer(json.dumps(entry).encode())
    except RequestError:
        return
    assert (found.response is None) != (found.error is None)


FIELDS = ["state", "error", "createTime", "endTime", "completionStats", "inputConfig", "outputConfig", "outputInfo"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_job_with_a_name_can_be_read(fields: dict[str, Any]) -> None:
    assert info({**fields, "name": "projects/p/locations/l/batchPredictionJobs/1"}).total_requests >= 0
