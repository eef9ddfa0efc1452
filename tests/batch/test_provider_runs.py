"""Runs of batch jobs of Anthropic, Gemini, Vertex and Bedrock: every row is answered once and paid once."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from anyio import CancelScope

from asyncinfer import (
    AnthropicInferenceEngine,
    BaseInferenceEngine,
    BatchParams,
    BedrockInferenceEngine,
    Conversation,
    GoogleGeminiInferenceEngine,
    GoogleVertexInferenceEngine,
    InferenceConfig,
    ModelParams,
    RemoteParams,
    RunSummary,
)
from asyncinfer.types.batch import BatchStatus
from tests.batch.conftest import QuickClock
from tests.batch.fakes import anthropic as fake_anthropic
from tests.batch.fakes import gemini as fake_gemini
from tests.batch.fakes import vertex as fake_vertex
from tests.batch.fakes.anthropic import FakeAnthropicBatches
from tests.batch.fakes.bedrock import ENVIRONMENT, ROLE, FakeBedrockBatches
from tests.batch.fakes.gemini import FakeGeminiBatches
from tests.batch.fakes.jobs import FakeJobs, Job, Outcome
from tests.batch.fakes.vertex import FakeVertexBatches
from tests.batch.pictures import PDF, PNG, rows_with_files
from tests.fakes import questions, read_jsonl, write_jsonl


class Case(NamedTuple):
    """A provider.

    Args:
        settings: The fields of `batch` that the provider needs.
        end: Ends a job that succeeded in part.
        cancel: Ends a job that somebody cancelled.
        expire: Ends a job whose time was not enough.
    """

    fake: type[FakeJobs]
    engine: type[BaseInferenceEngine]
    model: str
    key: str | None
    settings: dict[str, Any]
    end: Callable[[Any, Job, Outcome], None]
    cancel: Callable[[Any, Job, Outcome], None]
    expire: Callable[[Any, Job, Outcome], None]


def _end_with_file(state: str) -> Callable[[Any, Job, Outcome], None]:
    def end(api: Any, job: Job, outcome: Outcome) -> None:
        job.end(state, outcome)
        api.write_results(job)

    return end


CASES = {
    "anthropic": Case(
        FakeAnthropicBatches,
        AnthropicInferenceEngine,
        "claude-sonnet-4-6",
        fake_anthropic.KEY,
        {},
        lambda _, job, outcome: fake_anthropic.finish(job, outcome),
        lambda _, job, outcome: fake_anthropic.finish(job, outcome, canceled=True),
        lambda _, job, outcome: fake_anthropic.finish(job, outcome),
    ),
    "gemini": Case(
        FakeGeminiBatches,
        GoogleGeminiInferenceEngine,
        "gemini-2.5-flash",
        fake_gemini.KEY,
        {},
        lambda _, job, outcome: job.end("BATCH_STATE_SUCCEEDED", outcome),
        lambda _, job, outcome: job.end("BATCH_STATE_CANCELLED", outcome),
        lambda _, job, outcome: job.end("BATCH_STATE_EXPIRED", outcome),
    ),
    "vertex": Case(
        FakeVertexBatches,
        GoogleVertexInferenceEngine,
        "google/gemini-2.5-flash",
        fake_vertex.TOKEN,
        {"storage": "gs://bucket/prefix"},
        _end_with_file("JOB_STATE_SUCCEEDED"),
        _end_with_file("JOB_STATE_CANCELLED"),
        _end_with_file("JOB_STATE_EXPIRED"),
    ),
    "vertex-claude": Case(
        FakeVertexBatches,
        GoogleVertexInferenceEngine,
        "anthropic/claude-sonnet-4-5",
        fake_vertex.TOKEN,
        {"storage": "gs://bucket"},
        _end_with_file("JOB_STATE_SUCCEEDED"),
        _end_with_file("JOB_STATE_CANCELLED"),
        _end_with_file("JOB_STATE_EXPIRED"),
    ),
    "vertex-llama": Case(
        FakeVertexBatches,
        GoogleVertexInferenceEngine,
        "meta/llama-3.3-70b-instruct-maas",
        fake_vertex.TOKEN,
        {"storage": "gs://bucket"},
        _end_with_file("JOB_STATE_SUCCEEDED"),
        _end_with_file("JOB_STATE_CANCELLED"),
        _end_with_file("JOB_STATE_EXPIRED"),
    ),
    "bedrock-claude": Case(
        FakeBedrockBatches,
        BedrockInferenceEngine,
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        None,
        {"storage": "s3://bucket", "role": ROLE},
        _end_with_file("Completed"),
        _end_with_file("Stopped"),
        _end_with_file("Expired"),
    ),
    "bedrock": Case(
        FakeBedrockBatches,
        BedrockInferenceEngine,
        "amazon.nova-lite-v1:0",
        None,
        {"storage": "s3://bucket/prefix", "role": ROLE},
        _end_with_file("Completed"),
        _end_with_file("Stopped"),
        _end_with_file("Expired"),
    ),
}


class ProviderRun:
    """A run in a folder."""

    def __init__(self, folder: Path, case: Case, api: Any) -> None:
        self.folder, self.case, self.api = folder, case, api
        self.clock = QuickClock()
        self.polls: Counter[str] = Counter()
        self.end_after(2, lambda _: Outcome())

    def end_after(self, polls: int, outcome: Callable[[int], Outcome]) -> None:
        """End each job at a poll. `outcome` makes its outcome from the number of the job."""

        def on_poll(job: Job) -> None:
            self.polls[job.id] += 1
            if self.polls[job.id] >= polls:
                self.case.end(self.api, job, outcome([*self.api.jobs].index(job.id)))

        self.api.on_poll = on_poll

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    def engine(self) -> BaseInferenceEngine:
        remote = RemoteParams(api_url=self.api.url, api_key=self.case.key)
        return self.case.engine(ModelParams(model_name=self.case.model), remote_params=remote, clock=self.clock)

    async def run(self, rows: int | Sequence[Conversation], **batch: Any) -> RunSummary:
        write_jsonl(self.folder / "in.jsonl", questions(rows) if isinstance(rows, int) else rows)
        config = InferenceConfig(
            input_path=str(self.folder / "in.jsonl"),
            output_path=str(self.output),
            batch=BatchParams(**self.case.settings, **batch),
        )
        async with self.engine() as engine:
            return await engine.arun(config, relax_gc=False)

    def answers(self) -> list[str]:
        return [row["messages"][-1]["content"] for row in read_jsonl(self.output)]

    def sent(self) -> Counter[str]:
        """How often each question was sent, in a job or alone."""
        asked = Counter(_question(request) for job in self.api.jobs.values() for _, request in job.rows)
        return asked + Counter(getattr(self.api, "single", ()))


def _question(request: Any) -> str:
    body = request.get("request", request.get("body", request))
    if "contents" in body:
        return body["contents"][-1]["parts"][-1]["text"]
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


@pytest.fixture(params=CASES)
async def provider(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ProviderRun]:
    async with _running(CASES[request.param], tmp_path, monkeypatch) as run:
        yield run


@pytest.fixture
async def anthropic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderRun]:
    async with _running(CASES["anthropic"], tmp_path, monkeypatch) as run:
        yield run


@asynccontextmanager
async def _running(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ProviderRun]:
    async with case.fake() as api:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"{api.root}/s3")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", api.root)
        yield ProviderRun(tmp_path, case, api)


def expected(rows: int) -> list[str]:
    return [f"re: question {number}" for number in range(rows)]


async def test_rows_are_split_into_jobs_and_answered_in_input_order(provider: ProviderRun) -> None:
    provider.end_after(2, lambda _: Outcome(twice={1}, shuffled=True, garbage=(b"{}", b"x", b"[]")))
    summary = await provider.run(250, max_rows=110)
    assert provider.answers() == expected(250)
    assert (summary.completed, summary.failed) == (250, 0)
    assert set(provider.sent().values()) == {1}
    sizes = [len(job.rows) for job in provider.api.jobs.values()]
    assert sizes == ([110, 110] if provider.case.engine is BedrockInferenceEngine else [110, 110, 30])


async def test_rows_without_a_result_are_sent_again(provider: ProviderRun) -> None:
    outcomes = [Outcome(missing=set(range(100)), errors={100})]
    provider.end_after(1, lambda number: outcomes[number] if number < len(outcomes) else Outcome())
    summary = await provider.run(120)
    assert (summary.completed, summary.failed) == (119, 1)
    sent = provider.sent()
    assert {question for question, times in sent.items() if times == 2} == {f"question {n}" for n in range(100)}
    assert max(sent.values()) == 2


async def test_job_whose_response_was_lost_is_not_sent_twice(provider: ProviderRun) -> None:
    provider.api.lost_creations = 1
    await provider.run(100)
    assert provider.answers() == expected(100)
    assert set(provider.sent().values()) == {1}
    assert len(provider.api.jobs) == 1


async def test_upload_that_is_cut_off_is_sent_again(provider: ProviderRun) -> None:
    provider.api.cut_uploads = 1
    await provider.run(100)
    assert provider.answers() == expected(100)
    assert len(provider.api.jobs) == 1


async def test_polls_that_fail_do_not_end_the_run(provider: ProviderRun) -> None:
    def fail_once(job: Job) -> None:
        provider.api.failing_requests = 2
        provider.end_after(2, lambda _: Outcome())

    provider.api.on_poll = fail_once
    await provider.run(100)
    assert provider.answers() == expected(100)


async def test_rest_of_a_job_that_expired_is_sent_again(provider: ProviderRun) -> None:
    """Gemini has no results of such a job, so that all of its rows are sent again."""

    def end(job: Job) -> None:
        is_first = len(provider.api.jobs) == 1
        outcome = Outcome(unanswered=set(range(100))) if is_first else Outcome()
        (provider.case.expire if is_first else provider.case.end)(provider.api, job, outcome)

    provider.api.on_poll = end
    summary = await provider.run(120)
    assert (summary.completed, summary.failed) == (120, 0)
    assert provider.answers() == expected(120)
    sent = provider.sent()
    kept = 0 if provider.case.engine is GoogleGeminiInferenceEngine else 20
    assert sorted(sent.values()) == [1] * kept + [2] * (120 - kept)


async def test_rows_of_jobs_that_expire_again_and_again_fail(provider: ProviderRun) -> None:
    provider.api.on_poll = lambda job: provider.case.expire(provider.api, job, Outcome(unanswered=set(range(100))))
    summary = await provider.run(120, max_retries=1)
    kept = 0 if provider.case.engine is GoogleGeminiInferenceEngine else 20
    assert (summary.completed, summary.failed) == (kept, 120 - kept)
    assert max(provider.sent().values()) == 2
    assert "expired" in summary.failure_samples[0][1].error_message


async def test_files_of_requests_that_the_provider_stores_are_deleted(provider: ProviderRun) -> None:
    """Gemini stores them. Those in a bucket of the user stay, and Anthropic has none."""
    await provider.run(100)
    deleted = provider.api.requests("DELETE", "")
    assert [path for _, path, *_ in deleted] == (["/v1beta/files/f0"] if "gemini" in str(provider.case.fake) else [])


async def test_job_that_somebody_cancelled_fails_its_rows_until_the_next_run(provider: ProviderRun) -> None:
    outcome = Outcome(unanswered=set(range(50, 100)))
    provider.api.on_poll = lambda job: provider.case.cancel(provider.api, job, outcome)
    summary = await provider.run(100)
    assert summary.failed == (100 if provider.case.engine is GoogleGeminiInferenceEngine else 50)
    provider.end_after(1, lambda _: Outcome())
    await provider.run(100)
    assert provider.answers() == expected(100)
    assert max(provider.sent().values()) == 2


async def test_run_that_is_ended_while_it_waits_goes_on_with_its_jobs(provider: ProviderRun) -> None:
    with CancelScope() as scope:
        provider.api.on_poll = lambda _: scope.cancel()
        await provider.run(200, max_rows=100)
    assert scope.cancelled_caught
    provider.end_after(1, lambda _: Outcome())
    await provider.run(200, max_rows=100)
    assert provider.answers() == expected(200)
    assert set(provider.sent().values()) == {1}


async def test_run_that_is_ended_after_a_lost_response_finds_its_job(provider: ProviderRun) -> None:
    provider.api.lost_creations = 1
    with CancelScope() as scope:
        provider.api.on_created = scope.cancel
        await provider.run(100)
    assert scope.cancelled_caught
    await provider.run(100)
    assert provider.answers() == expected(100)
    assert len(provider.api.jobs) == 1


async def test_job_of_somebody_else_is_neither_used_nor_cancelled(anthropic: ProviderRun) -> None:
    api = anthropic.api
    other = [("other-1", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})] * 100
    api.new_job("msgbatch_other", "", other, "in_progress", {})
    anthropic.end_after(3, lambda _: Outcome())
    api.lost_creations = 1
    await anthropic.run(100)
    assert anthropic.answers() == expected(100)
    assert len(api.jobs) == 2
    assert not api.requests("POST", "/cancel")


async def test_lost_job_that_was_not_created_is_sent_after_another_one_has_ended(anthropic: ProviderRun) -> None:
    api = anthropic.api
    other = [("other-1", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})] * 100
    api.new_job("msgbatch_other", "", other, "in_progress", {})
    anthropic.end_after(3, lambda _: Outcome())
    api.failing_requests = 1
    await anthropic.run(100)
    assert anthropic.answers() == expected(100)
    assert len(api.jobs) == 2


async def test_jobs_have_the_files_of_rows(provider: ProviderRun) -> None:
    has_pdf = "llama" not in provider.case.model
    summary = await provider.run(rows_with_files(provider.folder, 100, has_pdf=has_pdf))
    assert (summary.completed, summary.failed) == (100, 0)
    assert provider.answers() == expected(100)
    sent = json.dumps([request for job in provider.api.jobs.values() for _, request in job.rows])
    assert sent.count(base64.b64encode(PNG).decode()) == 200
    assert sent.count(base64.b64encode(PDF).decode()) == (100 if has_pdf else 0)


async def test_calls_of_one_job(provider: ProviderRun) -> None:
    rows = questions(100)
    config = InferenceConfig(batch=BatchParams(**provider.case.settings))
    async with provider.engine() as engine:
        batch_id = await engine.ainfer_batch(rows, config)
        assert (await engine.aget_batch_status(batch_id)).total_requests in (0, 100)
        assert [each.id for each in (await engine.alist_batches(limit=5)).batches] == [batch_id]
        info = await engine.aget_batch_status(batch_id)
        assert (info.status, info.completed_requests) == (BatchStatus.COMPLETED, 100)
        answered = await engine.aget_batch_results(batch_id, rows)
        assert [conversation.messages[-1].content for conversation in answered] == expected(100)
