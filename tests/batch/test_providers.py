"""Runs with batch jobs against the fake of each provider's API, with the faults of real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from asyncinfer import (
    BatchParams,
    BatchStatus,
    InferenceConfig,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RunSummary,
)
from asyncinfer.engines.registry import engine_class
from tests.batch.conftest import QuickClock
from tests.batch.fakes.apis import MODEL, SERVERS
from tests.batch.fakes.base import KEY, FakeBatchServer, Outcome, Plan
from tests.batch.fakes.fireworks import ACCOUNT
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

    async def run(self, **batch: object) -> RunSummary:
        """Answer the rows in jobs of ten."""
        write_jsonl(self.folder / "in.jsonl", questions(_ROWS))
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
    assert summary.usage.total_tokens == 7 * _ROWS


async def test_job_is_adopted_after_lost_response(provider: ProviderRun) -> None:
    provider.server.lost = 1

    provider.check(await provider.run())

    assert len(provider.server.jobs) == 3


async def test_refused_job_and_upload_that_was_cut_off_are_repeated(provider: ProviderRun) -> None:
    provider.server.refused = provider.server.cuts = 1

    provider.check(await provider.run())


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
