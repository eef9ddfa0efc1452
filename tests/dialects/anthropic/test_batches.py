"""Anthropic's Message Batches, against a fake whose shapes anthropic-python judges."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.anthropic.batches import ANTHROPIC_BATCHES, answer, info
from asyncinfer.dialects.batch import SentJob
from asyncinfer.errors import RequestError
from asyncinfer.providers.rows.model_makers import ANTHROPIC
from asyncinfer.types.answer import Completion
from asyncinfer.types.batch import BatchStatus
from tests.batch.driver import Driver, check_pages_of_jobs, questions, texts, write_job
from tests.batch.fakes.anthropic import KEY, FakeAnthropicBatches, finish
from tests.batch.fakes.jobs import START, Outcome
from tests.batch.fakes.json_values import json_values

MODEL = "claude-sonnet-4-6"


def driver(api: FakeAnthropicBatches) -> Driver:
    return Driver(ANTHROPIC, api.url, MODEL, api_key=KEY)


async def test_job_is_submitted_polled_and_read(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b", "c"))
        assert (await ours.status(batch_id)).status is BatchStatus.IN_PROGRESS
        finish(api.only_job)
        info = await ours.status(batch_id)
        assert info.status is BatchStatus.COMPLETED
        assert (info.total_requests, info.completed_requests, info.failed_requests) == (3, 3, 0)
        assert info.created_at == START
        assert info.expires_at == START + timedelta(hours=24)
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a", "row-1": "re: b", "row-2": "re: c"}


async def test_sdk_reads_the_fake_and_sends_what_we_send(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        await ours.submit(tmp_path, questions("a", "b"))
        client = AsyncAnthropic(api_key=KEY, base_url=api.root, max_retries=0)
        mine = api.only_job.asked
        batch = await client.messages.batches.create(requests=mine["requests"])
        theirs = api.jobs[batch.id]
        assert theirs.asked == mine
        [(_, path, headers, _), (_, sdk_path, sdk_headers, _)] = api.requests("POST", "/batches")
        assert path == sdk_path
        assert headers["Content-Type"] == sdk_headers["Content-Type"]
        assert (await client.messages.batches.cancel(batch.id)).processing_status == "canceling"
        finish(theirs, Outcome(errors={1}))
        assert (await client.messages.batches.retrieve(batch.id)).request_counts.errored == 1
        results = [entry async for entry in await client.messages.batches.results(batch.id)]
        assert [entry.result.type for entry in results] == ["succeeded", "errored"]
        assert [job.id async for job in client.messages.batches.list(limit=1)] == ["msgbatch_001", "msgbatch_000"]
        await client.close()


async def test_errors_and_missing_rows_do_not_cost_other_rows_their_answers(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b", "c", "d", "e"))
        finish(api.only_job, Outcome({0}, {1}, {2}, {3}, shuffled=True, garbage=(b"[1]", b"{", b'{"result": {}}', b"")))
        found = await ours.completions(batch_id)
        refused, expired = found.pop("row-0"), found.pop("row-1")
        assert texts(found) == {"row-3": "re: d", "row-4": "re: e"}
        assert isinstance(refused, RequestError)
        assert (refused.status_code, refused.is_retryable) == (400, False)
        assert "prompt is too long" in str(refused)
        assert isinstance(expired, RequestError)
        assert expired.is_retryable
        assert "expired before" in str(expired)


@pytest.mark.parametrize(
    ("outcome", "canceled", "status", "failed"),
    [
        (Outcome(), False, BatchStatus.COMPLETED, 0),
        (Outcome(errors={0, 1}), False, BatchStatus.COMPLETED, 2),
        (Outcome(unanswered={0}), False, BatchStatus.EXPIRED, 1),
        (Outcome(unanswered={0}), True, BatchStatus.CANCELLED, 1),
        (Outcome(), True, BatchStatus.COMPLETED, 0),
    ],
)
async def test_status_of_an_ended_job(
    tmp_path: Path, outcome: Outcome, canceled: bool, status: BatchStatus, failed: int
) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b"))
        finish(api.only_job, outcome, canceled=canceled)
        info = await ours.status(batch_id)
        assert (info.status, info.failed_requests, info.is_terminal) == (status, failed, True)
        assert len(await ours.answers(batch_id)) == 2


async def test_cancelled_job_goes_on_until_it_has_ended(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        info = await ours.run(ours.dialect.cancel(ours.context, batch_id))
        assert info.status is BatchStatus.CANCELLING
        assert not info.is_terminal


async def test_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        await check_pages_of_jobs(driver(api), tmp_path, jobs=5, page=3)


async def test_job_whose_response_was_lost_is_among_those_that_may_be_it(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        older = await ours.submit(tmp_path, questions("a", "b"))
        other_size = await ours.submit(tmp_path, questions("a"))
        api.lost_creations = 1
        with pytest.raises(RequestError) as lost:
            await ours.submit(tmp_path, questions("a", "b"))
        assert lost.value.is_retryable
        same_size = await ours.submit(tmp_path, questions("x", "y"))
        api.jobs[older].created -= timedelta(hours=1)
        api.jobs[other_size].created += timedelta(minutes=1)
        found = await ours.run(ours.dialect.find_jobs(ours.context, sent_job(ours, tmp_path)))
        assert [job.id for job in found] == ["msgbatch_002", same_size]
        assert not any("asyncinfer_job" in (job.metadata or {}) for job in found)


async def test_search_for_a_lost_job_ends_at_older_jobs(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        for number in range(3):
            await ours.submit(tmp_path, questions("a", "b"))
            api.jobs[f"msgbatch_{number:03}"].created -= timedelta(days=1)
        assert await ours.run(ours.dialect.find_jobs(ours.context, sent_job(ours, tmp_path))) == []
        assert len(api.requests("GET", "/batches?")) == 1


def sent_job(ours: Driver, tmp_path: Path) -> SentJob:
    file = write_job(ours.dialect, ours.context, ANTHROPIC.dialect, tmp_path / "j", questions("a", "b"))
    return SentJob("tag", file, "24h", START)


async def test_upload_that_is_cut_off_creates_no_job(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        api.cut_uploads = 1
        with pytest.raises(RequestError) as cut:
            await ours.submit(tmp_path, questions("a" * 2**21))
        assert cut.value.is_retryable
        assert not api.jobs


async def test_results_of_archived_job_say_so(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        await ours.submit(tmp_path, questions("a"))
        finish(api.only_job)
        archived = info({**api.shown(api.only_job), "archived_at": "2026-12-26T00:00:00Z", "results_url": None})
        with pytest.raises(RequestError, match="were deleted on 2026-12-26"):
            await ours.run(ours.dialect.results(ours.context, archived))


@pytest.mark.parametrize("url", ["https://evil.example/v1/messages/batches/b/results", "http://[", "not a url"])
async def test_key_is_not_sent_to_another_server(tmp_path: Path, url: str) -> None:
    async with FakeAnthropicBatches() as api:
        ours = driver(api)
        await ours.submit(tmp_path, questions("a"))
        finish(api.only_job)
        elsewhere = info({**api.shown(api.only_job), "results_url": url})
        [exchange] = await ours.run(ours.dialect.results(ours.context, elsewhere))
        assert exchange.request.url == f"{api.root}/v1/messages/batches/msgbatch_000/results"


async def test_errors_of_the_api_show_no_key(tmp_path: Path) -> None:
    async with FakeAnthropicBatches() as api:
        wrong = Driver(ANTHROPIC, api.url, MODEL, api_key="sk-ant-wrong")
        with pytest.raises(RequestError) as error:
            await wrong.submit(tmp_path, questions("a"))
        assert error.value.status_code == 401
        assert "sk-ant" not in str(error.value)


def test_id_of_a_job_is_one_segment_of_the_path() -> None:
    ours = Driver(ANTHROPIC, "https://api.anthropic.com/v1/messages", MODEL)
    step = next(ours.dialect.status(ours.context, "../models?x"))
    assert step.request.url == "https://api.anthropic.com/v1/messages/batches/..%2Fmodels%3Fx"


@pytest.mark.parametrize(
    "result",
    [
        {"type": "errored", "error": {"type": "overloaded_error", "message": "busy"}},
        {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}},
        {"type": "error", "error": {"error": {"type": "overloaded_error", "message": "busy"}}},
    ],
)
def test_overload_of_one_row_can_be_retried(result: dict[str, Any]) -> None:
    error = answer(json.dumps({"custom_id": "a", "result": result}).encode()).error
    assert error is not None
    assert (error.status_code, error.is_retryable) == (529, True)
    assert "busy" in str(error)


def test_message_is_read_without_its_type() -> None:
    line = {"custom_id": "a", "result": {"message": {"content": "Hello.", "stop_reason": "end_turn"}}}
    response = answer(json.dumps(line).encode()).response
    assert response is not None
    completion = ANTHROPIC.dialect.decode(response)
    assert isinstance(completion, Completion)
    assert completion.message.content == "Hello."


@given(st.dictionaries(st.sampled_from(["custom_id", "result", "error", "type"]), json_values))
def test_any_line_is_an_answer_or_an_error(entry: dict[str, Any]) -> None:
    try:
        found = answer(json.dumps(entry).encode())
    except RequestError:
        return
    assert (found.response is None) != (found.error is None)


FIELDS = ["processing_status", "request_counts", "created_at", "ended_at", "results_url", "archived_at", "expires_at"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_job_with_an_id_can_be_read(fields: dict[str, Any]) -> None:
    found = info({**fields, "id": "b"})
    assert found.total_requests >= 0
    assert repr(found)


def test_dialect_can_be_pickled_and_is_documented() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(ANTHROPIC_BATCHES)) == ANTHROPIC_BATCHES
    assert ANTHROPIC_BATCHES.docs.startswith("https://")
