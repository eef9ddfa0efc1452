"""Runs with batch jobs against the fake of each provider's API, with the faults of real ones."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from asyncinfer import (
    BatchParams,
    BatchStatus,
    Conversation,
    InferenceConfig,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    RunSummary,
)
from asyncinfer.engines.registry import engine_class
from tests.batch.conftest import QuickClock
from tests.batch.fakes.apis import MODEL, SERVERS, Engine
from tests.batch.fakes.base import KEY, FakeBatchServer, Outcome, Plan
from tests.batch.fakes.fireworks import ACCOUNT
from tests.batch.pictures import PDF, PNG, rows_with_files
from tests.conftest import BlockWatch
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl

_ROWS = 25


class ProviderRun(NamedTuple):
    """A run against the fake of a provider."""

    engine_type: str
    server: FakeBatchServer
    folder: Path

    def engine(self) -> RemoteInferenceEngine:
        remote = RemoteParams(api_url=f"{self.server.url}/chat/completions", api_key=KEY)
        kind = engine_class(self.engine_type)
        assert kind is not None
        assert issubclass(kind, RemoteInferenceEngine)
        return kind(ModelParams(model_name=MODEL), remote_params=remote, clock=QuickClock())

    async def run(self, rows: Sequence[Conversation] | None = None, **batch: object) -> RunSummary:
        """Answer the rows in jobs of ten."""
        write_jsonl(self.folder / "in.jsonl", rows or questions(_ROWS))
        config = InferenceConfig(
            input_path=str(self.folder / "in.jsonl"),
            output_path=str(self.folder / "out.jsonl"),
            batch=BatchParams.model_validate({"max_rows": 10, **batch}),
        )
        async with self.engine() as engine:
            return await engine.arun(config, relax_gc=False)

    def check(self, summary: RunSummary, *, twice: int = 0) -> None:
        """Check that all rows have their answers, and that all but some were submitted once."""
        assert (summary.completed, summary.failed) == (_ROWS, 0)
        answers = [row["messages"][-1]["content"] for row in read_jsonl(self.folder / "out.jsonl")]
        assert answers == [answer_to(f"question {number}") for number in range(_ROWS)]
        assert sum(self.server.questions.values()) == _ROWS + twice
        assert sorted(path.name for path in self.folder.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.fixture(params=list(SERVERS))
async def provider(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_watch: BlockWatch
) -> AsyncIterator[ProviderRun]:
    """A run at each provider in turn. The fake accepts all that is sent."""
    block_watch.off()  # The server and the client share a loop.
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", ACCOUNT)
    async with SERVERS[request.param]() as server:
        yield ProviderRun(request.param, server, tmp_path)
        assert server.problems == []


async def test_rows_are_answered_in_several_jobs(provider: ProviderRun) -> None:
    provider.server.plan = lambda number: Plan(polls=number)

    summary = await provider.run()

    provider.check(summary)
    assert sorted(len(job.rows) for job in provider.server.jobs.values()) == [5, 10, 10]
    uploaded = {job.input_file for job in provider.server.jobs.values()}
    assert not uploaded & provider.server.files.keys(), "the files of requests are deleted at the end"
    assert summary.usage.total_tokens == 7 * _ROWS


async def test_job_is_adopted_after_lost_response(provider: ProviderRun) -> None:
    provider.server.lost = 1

    provider.check(await provider.run())

    assert len(provider.server.jobs) == 3


async def test_refused_job_and_upload_that_was_cut_off_are_repeated(provider: ProviderRun) -> None:
    provider.server.refused = provider.server.cuts = 1

    provider.check(await provider.run())

    assert provider.server.requests_files == []


async def test_file_of_a_job_that_the_api_rejects_is_deleted(provider: ProviderRun) -> None:
    provider.server.rejected = 3

    summary = await provider.run()

    assert summary.failed == _ROWS
    assert "rejected" in summary.failure_samples[0][1].error_message
    assert provider.server.requests_files == []


async def test_results_in_other_order_and_twice_are_matched(provider: ProviderRun) -> None:
    provider.server.plan = lambda number: Plan(shuffled=True, doubled=True)

    provider.check(await provider.run())


async def test_missing_and_expired_rows_are_sent_in_further_job(provider: ProviderRun) -> None:
    lost = {"question 3": Outcome.MISSING, "question 14": Outcome.UNREACHED}

    def outcome(question: str) -> Outcome:
        is_first = provider.server.questions[question] == 1
        return lost.get(question, Outcome.ANSWERED) if is_first else Outcome.ANSWERED

    provider.server.plan = lambda number: Plan(ending=BatchStatus.EXPIRED, outcome=outcome)

    provider.check(await provider.run(), twice=2)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7, 10])
async def test_run_that_was_cancelled_at_any_response_submits_no_row_twice(provider: ProviderRun, number: int) -> None:
    """The server has done what the request asks for, and the run ends before it gets the response."""
    provider.server.plan = lambda number: Plan(polls=1)

    async def cancel(response: int) -> None:
        if response == number:
            scope.cancel()
            await anyio.sleep(0.05)  # The client closes the connection first.

    provider.server.on_response = cancel
    with anyio.CancelScope() as scope:
        await provider.run()
    provider.server.on_response = None
    assert scope.cancelled_caught

    provider.check(await provider.run())


async def test_row_that_the_api_refuses_fails_alone(provider: ProviderRun) -> None:
    provider.server.plan = lambda number: Plan(
        outcome=lambda question: Outcome.FAILED if question == "question 7" else Outcome.ANSWERED
    )

    [(_, detail)] = (await provider.run()).failure_samples

    assert detail.status_code == 400
    assert provider.server.questions["question 7"] == 1
    assert sum(provider.server.questions.values()) == _ROWS


async def test_job_that_somebody_else_cancelled_keeps_its_answers(provider: ProviderRun) -> None:
    def cancelled(question: str) -> Outcome:
        return Outcome.ANSWERED if question != "question 2" else Outcome.MISSING

    provider.server.plan = lambda number: Plan(
        ending=BatchStatus.CANCELLED if number == 1 else BatchStatus.COMPLETED, outcome=cancelled
    )

    [(_, detail)] = (await provider.run()).failure_samples

    assert "was cancelled before this row was answered" in detail.error_message
    provider.server.plan = lambda number: Plan()
    provider.check(await provider.run(), twice=1)


async def test_jobs_have_the_files_of_rows_within_the_bytes_of_one_job(provider: ProviderRun) -> None:
    has_pdf = provider.engine_type in (Engine.OPENAI, Engine.MISTRAL)
    rows = rows_with_files(provider.folder, 6, has_pdf=has_pdf, size=3000)

    summary = await provider.run(rows, max_bytes=10_000)

    assert (summary.completed, summary.failed) == (6, 0)
    jobs = provider.server.jobs.values()
    assert len(jobs) == 3
    assert max(job.size for job in jobs) <= 10_000
    sent = json.dumps([row for job in jobs for row in job.rows])
    assert sent.count(base64.b64encode(PNG + bytes(3000)).decode()) == 6
    assert sent.count(base64.b64encode(PDF).decode()) == (6 if has_pdf else 0)


async def test_row_whose_files_are_larger_than_a_job_fails_alone(provider: ProviderRun) -> None:
    large, [small] = rows_with_files(provider.folder, 1, has_pdf=False, size=9000), questions(1)

    summary = await provider.run([*large, small], max_bytes=10_000)

    assert (summary.completed, summary.failed) == (1, 1)
    [(index, detail)] = summary.failure_samples
    assert index == 0
    assert "in a batch job, it may have 10,000" in detail.error_message


async def test_row_whose_file_is_missing_fails_alone(provider: ProviderRun) -> None:
    rows = [*rows_with_files(provider.folder, 1, has_pdf=False), *questions(2)]
    (provider.folder / "image.png").unlink()

    summary = await provider.run(rows)

    [(index, detail)] = summary.failure_samples
    assert (summary.completed, index) == (2, 0)
    assert "image.png" in detail.error_message


async def test_single_operations_of_the_engine(provider: ProviderRun) -> None:
    conversations = questions(3)
    async with provider.engine() as engine:
        job = await engine.ainfer_batch(conversations)
        info = await engine.aget_batch_status(job)
        answered = await engine.aget_batch_results(job, conversations)
        listed = await engine.alist_batches(limit=5)
        cancelled = await engine.acancel_batch(job)

    assert (info.id, info.status, info.is_terminal) == (job, BatchStatus.COMPLETED, True)
    assert [one.messages[-1].content for one in answered] == [answer_to(f"question {number}") for number in range(3)]
    assert [batch.id for batch in listed.batches] == [job]
    assert cancelled.status is BatchStatus.COMPLETED
    assert provider.server.questions.total() == 3


async def test_files_of_the_engine(provider: ProviderRun) -> None:
    async with provider.engine() as engine:
        await engine.ainfer_batch(questions(1))
        [file] = (await engine.alist_files()).files
        content = await engine.aget_file_content(file.id)

        assert (await engine.aget_file(file.id)).filename == file.filename
        assert "question 0" in content
        assert await engine.adelete_file(file.id)
        assert (await engine.alist_files()).files == []


async def test_failed_operation_shows_no_key(provider: ProviderRun) -> None:
    async with provider.engine() as engine:
        with pytest.raises(RequestError) as failure:
            await engine.aget_batch_status("unknown")

    assert KEY not in str(failure.value)
    assert failure.value.status_code == 404
