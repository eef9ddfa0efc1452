"""What runs with batch jobs cost: jobs have prices of their own, and single requests have theirs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import (
    BatchStatus,
    ConfigError,
    CostPerMillion,
    GenerationParams,
    InferenceConfig,
    RunSummary,
    SpendingLimitError,
)
from asyncinfer.run.pricing import PriceKey, Pricing
from asyncinfer.types.costs import TokenPrice
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults, Job, Line
from tests.fakes import question, questions, read_jsonl, write_jsonl

# Each answer has 7 tokens. In a batch job, they cost half as much as in a single request.
PRICES = CostPerMillion(input=1, output=1, batch_discount=0.5)
SINGLE, BATCH = 7e-6, 3.5e-6


class Number(BaseModel):
    n: int


async def run(job: BatchJob, config: InferenceConfig | None = None, **more: Any) -> RunSummary:
    config = (config or job.config()).model_copy(update={"cost_per_million": PRICES, **more})
    async with job.engine() as engine:
        return await engine.arun(config, relax_gc=False)


def usd(summary: RunSummary) -> float:
    assert summary.cost is not None
    return summary.cost.usd


async def test_row_with_its_own_settings_has_the_price_of_a_single_request(job: BatchJob) -> None:
    write_jsonl(job.folder / "in.jsonl", [question("a"), question("b", model_name="other")])
    summary = await run(job)
    assert job.server.single == {"b": 1}
    assert usd(summary) == pytest.approx(BATCH + SINGLE)
    assert [row["metadata"]["cost"] for row in read_jsonl(job.output)] == [pytest.approx(BATCH), pytest.approx(SINGLE)]


async def test_limit_needs_the_price_of_the_model_in_batch_jobs(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = Pricing._look_up

    def without_batches(self: Pricing, key: PriceKey) -> TokenPrice | None:
        return None if key.is_batch else look_up(self, key)

    monkeypatch.setattr(Pricing, "_look_up", without_batches)
    job.write_input(2)
    with pytest.raises(
        ConfigError, match="^max_cost: the price of 'm' in batch jobs is unknown; set cost_per_million$"
    ):
        await run(job, max_cost=1)
    assert not job.server.requests


async def test_row_that_is_sent_online_after_a_failure_has_the_price_of_a_single_request(
    job: BatchJob, faults: Faults
) -> None:
    faults.result = lambda text, line, _: None if text == "question 1" else line
    job.write_input(3)
    summary = await run(job, job.config(retry="online"))
    assert job.server.single == {"question 1": 1}
    assert usd(summary) == pytest.approx(2 * BATCH + SINGLE)


async def test_result_without_an_answer_that_reports_its_tokens_is_counted(job: BatchJob, faults: Faults) -> None:
    def result(text: str, line: Line, of: Job) -> Line:
        if text == "question 1" and of.id == "batch_2":
            line["response"]["body"]["choices"] = []
        return line

    faults.result = result
    job.write_input(3)
    summary = await run(job)
    assert job.server.asked["question 1"] == 2
    assert usd(summary) == pytest.approx(4 * BATCH)
    assert summary.usage.total_tokens == 28
    assert read_jsonl(job.output)[1]["metadata"]["cost"] == pytest.approx(2 * BATCH)


async def test_rejected_answer_of_a_job_is_counted_with_the_single_requests_that_follow(
    job: BatchJob, faults: Faults
) -> None:
    def single(body: dict[str, Any]) -> str:
        return '{"n": 4}' if len(body["messages"]) > 1 else "no JSON"

    faults.single = single
    write_jsonl(job.folder / "in.jsonl", [question("a")])
    config = job.config()
    config.generation = GenerationParams(response_model=Number)
    summary = await run(job, config)
    assert (job.server.single["a"], job.server.single.total()) == (1, 2)
    assert usd(summary) == pytest.approx(BATCH + 2 * SINGLE)
    [row] = read_jsonl(job.output)
    assert row["metadata"]["usage"]["total_tokens"] == 21
    assert row["metadata"]["cost"] == pytest.approx(BATCH + 2 * SINGLE)


async def test_row_that_may_be_sent_alone_reserves_the_price_of_a_single_request(job: BatchJob) -> None:
    """The bound of a row is its prompt in bytes and tokens for the template, and `max_new_tokens`: 342 tokens."""
    job.write_input(2)
    config = job.config(retry="online")
    config.generation = GenerationParams(max_new_tokens=10)
    with pytest.raises(SpendingLimitError):
        await run(job, config, max_cost=1.5 * 340e-6)
    assert job.server.asked.total() == 1
    config = job.config()
    config.generation = GenerationParams(max_new_tokens=10)
    await run(job, config, max_cost=1.5 * 340e-6)


async def test_results_of_a_job_have_their_cost(job: BatchJob) -> None:
    config = InferenceConfig(cost_per_million=PRICES)
    rows = questions(2)
    async with job.engine() as engine:
        id = await engine.ainfer_batch(rows, config)
        while (await engine.aget_batch_status(id)).status is not BatchStatus.COMPLETED:
            pass
        answers = await engine.aget_batch_results(id, rows, config)
    assert [answer.metadata["cost"] for answer in answers] == [pytest.approx(BATCH)] * 2
