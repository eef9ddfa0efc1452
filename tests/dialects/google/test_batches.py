"""Gemini's batch API, against a fake that google-genai reads."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from google import genai
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.batch import FileQuery, SentJob
from asyncinfer.dialects.batch_steps import Step
from asyncinfer.dialects.google.batches import answer, info
from asyncinfer.dialects.google.files import GEMINI_FILES
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.rows.cloud_platforms import GOOGLE_GEMINI
from asyncinfer.types.batch import BatchStatus
from asyncinfer.types.http import HttpResponse
from tests.batch.driver import Driver, check_pages_of_jobs, questions, texts, write_job
from tests.batch.fakes.gemini import KEY, FakeGeminiBatches
from tests.batch.fakes.jobs import START, Outcome
from tests.batch.fakes.json_values import json_values

MODEL = "gemini-2.5-flash"
SUCCEEDED = "BATCH_STATE_SUCCEEDED"


def driver(api: FakeGeminiBatches, key: str = KEY) -> Driver:
    return Driver(GOOGLE_GEMINI, api.url, MODEL, api_key=key)


async def test_job_is_submitted_polled_and_read(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b"), seed=7)
        assert batch_id == "batches/b0"
        assert api.only_job.name == "asyncinfer-0a1b"
        assert api.only_job.rows[0][1]["generationConfig"]["seed"] == 7
        info = await ours.status(batch_id)
        assert (info.status, info.input_file_id) == (BatchStatus.VALIDATING, "files/f0")
        api.only_job.state = "BATCH_STATE_RUNNING"
        assert (await ours.status("b0")).status is BatchStatus.IN_PROGRESS
        api.only_job.end(SUCCEEDED)
        info = await ours.status(batch_id)
        assert (info.status, info.total_requests, info.completed_requests) == (BatchStatus.COMPLETED, 2, 2)
        assert (info.created_at, info.completed_at, info.output_file_id) == (START, START, "files/results-b0")
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a", "row-1": "re: b"}


async def test_creation_names_the_file_that_is_stored_by_then(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours, stored = driver(api), list[str | None]()
        send = ours.send

        async def record(step: Step) -> HttpResponse:
            stored.append(step.stored)
            return await send(step)

        ours.send = record
        await ours.submit(tmp_path, questions("a"))
        assert stored == [None, None, "files/f0"]
        assert await ours.run(GEMINI_FILES.delete(ours.context, "files/f0"))


async def test_sdk_runs_the_same_job(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        await driver(api).submit(tmp_path, questions("a", "b"))
        await to_thread.run_sync(partial(_run_by_sdk, api, tmp_path / "job.jsonl"))


def _run_by_sdk(api: FakeGeminiBatches, path: Path) -> None:
    name = "asyncinfer-0a1b"
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=api.root, api_version="v1beta")) as client:
        file = client.files.upload(file=path, config={"display_name": name, "mime_type": "application/jsonl"})
        job = client.batches.create(model=MODEL, src=file.name or "", config={"display_name": name})
        mine, theirs = api.jobs["batches/b0"], api.jobs[job.name or ""]
        theirs.asked["batch"]["inputConfig"]["fileName"] = "files/f0"
        assert mine.asked == theirs.asked
        assert mine.rows == theirs.rows
        assert [set(about) for about in api.started] == [{"size", "file"}] * 2
        assert job.state == types.JobState.JOB_STATE_PENDING
        theirs.end(SUCCEEDED, Outcome(errors={1}))
        job = client.batches.get(name=job.name or "")
        assert (job.state, job.display_name) == (types.JobState.JOB_STATE_SUCCEEDED, name)
        assert job.dest is not None
        results = client.files.download(file=job.dest.file_name or "")
        assert [set(json.loads(line)) for line in results.splitlines()] == [{"key", "response"}, {"key", "error"}]
        types.GenerateContentResponse.model_validate(json.loads(results.splitlines()[0])["response"])
        listed = [each.name for each in client.batches.list(config={"page_size": 1})]
        assert listed == ["batches/b1", "batches/b0"]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("BATCH_STATE_FAILED", BatchStatus.FAILED),
        ("BATCH_STATE_CANCELLED", BatchStatus.CANCELLED),
        ("BATCH_STATE_EXPIRED", BatchStatus.EXPIRED),
    ],
)
async def test_job_that_did_not_succeed_has_no_results(tmp_path: Path, state: str, status: BatchStatus) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        api.only_job.end(state)
        info = await ours.status(batch_id)
        assert (info.status, info.error) == (status, f"the job ended: {state}")
        assert await ours.answers(batch_id) == []


async def test_errors_and_missing_rows_do_not_cost_other_rows_their_answers(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b", "c", "d"))
        outcome = Outcome(errors={0}, missing={1}, twice={2}, shuffled=True, garbage=(b"{}", b'{"key": 1}', b"x"))
        api.only_job.end(SUCCEEDED, outcome)
        found = await ours.completions(batch_id)
        refused = found.pop("row-0")
        assert texts(found) == {"row-2": "re: c", "row-3": "re: d"}
        assert isinstance(refused, RequestError)
        assert (refused.status_code, refused.is_retryable) == (400, False)


async def test_job_whose_response_was_lost_is_found_by_its_name(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        for _ in range(3):
            await ours.submit(tmp_path, questions("a"), tag="another")
        api.lost_creations = 1
        with pytest.raises(RequestError) as lost:
            await ours.submit(tmp_path, questions("a"), tag="mine")
        assert lost.value.is_retryable
        file = write_job(ours.dialect, ours.context, GOOGLE_GEMINI.dialect, tmp_path / "j", questions("a"))
        found = await ours.run(ours.dialect.find_jobs(ours.context, SentJob("mine", file, "24h", START)))
        assert [job.id for job in found] == ["batches/b3"]
        missing = SentJob("none", file, "24h", START + timedelta(days=1))
        assert await ours.run(ours.dialect.find_jobs(ours.context, missing)) == []


async def test_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        await check_pages_of_jobs(driver(api), tmp_path, jobs=3, page=2)


async def test_cancelled_job(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        assert (await ours.run(ours.dialect.cancel(ours.context, batch_id))).status is BatchStatus.CANCELLED


async def test_upload_that_is_cut_off_leaves_no_file_and_no_job(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        api.cut_uploads = 1
        with pytest.raises(RequestError) as cut:
            await ours.submit(tmp_path, questions("a" * 2**21))
        assert cut.value.is_retryable
        assert not api.files
        assert not api.jobs


async def test_upload_goes_to_the_server_of_the_api(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        api.upload_host = "https://generativelanguage.googleapis.com"
        await driver(api).submit(tmp_path, questions("a"))
        assert api.files


async def test_key_goes_only_where_it_is_needed(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        await ours.submit(tmp_path, questions("a"))
        assert all("Authorization" not in headers for _, _, headers, _ in api.sent)
        assert all(KEY not in path for _, path, _, _ in api.sent)


async def test_errors_of_the_api_show_no_key(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        with pytest.raises(RequestError) as error:
            await driver(api, "AIza-wrong").submit(tmp_path, questions("a"))
        assert error.value.status_code == 401
        assert "AIza" not in str(error.value)


async def test_settings_of_the_compatible_endpoint_are_refused(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        with pytest.raises(ConfigError, match="batch jobs need Gemini's own API.*extra_body.reasoning_effort"):
            await driver(api).submit(tmp_path, questions("a"), extra_body={"reasoning_effort": "low"})


async def test_files_are_listed_read_and_deleted(tmp_path: Path) -> None:
    async with FakeGeminiBatches() as api:
        ours = driver(api)
        for _ in range(5):
            await ours.submit(tmp_path, questions("a"))
        files = ours.dialect.files
        assert files is not None
        first = await ours.run(files.listing(ours.context, FileQuery(limit=2)))
        rest = await ours.run(files.listing(ours.context, FileQuery(limit=5, after=first.files[-1].id)))
        assert [file.id for file in first.files + rest.files] == [f"files/f{number}" for number in range(5)]
        assert (first.has_more, rest.has_more) == (True, False)
        file = await ours.run(files.get(ours.context, "files/f1"))
        assert (file.bytes, file.created_at, file.purpose) == (len(api.files["files/f1"]), 1795780800, "uploaded")
        assert await ours.run(files.delete(ours.context, "f1"))
        assert "files/f1" not in api.files
        with pytest.raises(RequestError, match="NOT_FOUND"):
            await ours.run(files.get(ours.context, "files/f1"))


def test_inline_results_are_refused_with_a_reason() -> None:
    ours = Driver(GOOGLE_GEMINI, "https://x/v1beta/openai/chat/completions", MODEL)
    job = info({"name": "batches/b", "done": True, "response": {"inlinedResponses": {"inlinedResponses": [{}]}}})
    assert job.status is BatchStatus.COMPLETED
    with pytest.raises(RequestError, match="inline results"):
        next(ours.dialect.results(ours.context, job))


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"metadata": {"state": "JOB_STATE_SUCCEEDED"}}, BatchStatus.COMPLETED),
        ({"metadata": {"state": "BATCH_STATE_NEW"}}, BatchStatus.IN_PROGRESS),
        ({"metadata": {"state": "BATCH_STATE_NEW"}, "done": True, "error": {"code": 1}}, BatchStatus.CANCELLED),
        ({"done": True, "error": {"code": 13}}, BatchStatus.FAILED),
        ({"done": True, "response": {}}, BatchStatus.COMPLETED),
        ({}, BatchStatus.IN_PROGRESS),
    ],
)
def test_status_without_a_known_state(operation: dict[str, Any], status: BatchStatus) -> None:
    assert info({"name": "batches/b", **operation}).status is status


@pytest.mark.parametrize(
    ("error", "status", "is_retryable"),
    [
        ({"code": 3, "message": "bad"}, 400, False),
        ({"code": 8, "message": "quota"}, 429, True),
        ({"code": 13}, 500, True),
        ({"code": 14, "status": "UNAVAILABLE"}, 503, True),
        ({"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}, 400, False),
        ({"code": "x"}, 500, True),
    ],
)
def test_codes_of_errors(error: dict[str, Any], status: int, is_retryable: bool) -> None:
    ours = Driver(GOOGLE_GEMINI, "https://x/v1beta/openai/chat/completions", MODEL)
    found = ours.completion(answer(json.dumps({"key": "a", "error": error}).encode()))
    assert isinstance(found, RequestError)
    assert (found.status_code, found.is_retryable) == (status, is_retryable)


@given(st.dictionaries(st.sampled_from(["key", "response", "error", "status", "metadata"]), json_values))
def test_any_line_is_an_answer_or_an_error(entry: dict[str, Any]) -> None:
    try:
        found = answer(json.dumps(entry).encode())
    except RequestError:
        return
    assert (found.response is None) != (found.error is None)


@given(st.dictionaries(st.sampled_from(["metadata", "done", "error", "response"]), json_values), json_values)
def test_any_job_with_a_name_can_be_read(fields: dict[str, Any], stats: Any) -> None:
    metadata = {"batchStats": stats, "output": stats, "inputConfig": stats, "createTime": stats}
    assert info({"metadata": metadata, **fields, "name": "batches/b"}).total_requests >= 0
