"""Runs with batch jobs: split, submitted, polled, downloaded, and written in the order of the input."""

from __future__ import annotations

import pytest

from asyncinfer import BatchParams, ConfigError, CostPerMillion, InferenceConfig
from asyncinfer.run import duplicates
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults, Job, expired, failed
from tests.fakes import FakeEngine, answer_to, question, questions, read_jsonl, write_jsonl


async def test_rows_are_answered_by_one_job_and_written_in_input_order(job: BatchJob) -> None:
    job.write_input(10)
    summary = await job.run()
    assert (summary.completed, summary.failed, summary.usage.total_tokens) == (10, 0, 70)
    assert len(job.server.jobs) == 1
    job.check_output(10)


async def test_rows_are_split_into_jobs_of_at_most_max_rows(job: BatchJob) -> None:
    job.write_input(10)
    await job.run(max_rows=4)
    assert [len(each.custom_ids) for each in job.server.jobs.values()] == [4, 4, 2]
    job.check_output(10)


async def test_rows_are_split_into_jobs_of_at_most_max_bytes(job: BatchJob) -> None:
    job.write_input(10)
    await job.run(max_bytes=800)
    sizes = [job.server.path(each.file_id).stat().st_size for each in job.server.jobs.values()]
    assert len(sizes) > 2
    assert max(sizes) <= 800
    job.check_output(10)


async def test_row_that_is_larger_than_a_job_fails_alone(job: BatchJob) -> None:
    job.write_input(3)
    with (job.folder / "in.jsonl").open("a") as file:
        file.write(question("x" * 2000).to_json() + "\n")
    summary = await job.run(max_bytes=1000)
    assert (summary.completed, summary.failed) == (3, 1)
    assert "in a batch job, it may have 1,000" in summary.failure_samples[0][1].error_message


async def test_results_in_another_order_are_matched_by_the_key_of_the_row(job: BatchJob, faults: Faults) -> None:
    faults.order = lambda lines: lines[::-1]
    job.write_input(10)
    await job.run()
    job.check_output(10)


async def test_duplicates_are_different_rows_of_the_job_if_each_is_to_be_sent(job: BatchJob) -> None:
    write_jsonl(job.folder / "in.jsonl", [question("question 0")] * 3)
    async with job.engine() as engine:
        await engine.arun(job.config().model_copy(update={"deduplicate": False}), relax_gc=False)
    assert job.server.asked == {"question 0": 3}
    assert job.answers() == [answer_to("question 0")] * 3


async def test_duplicates_of_a_deterministic_call_are_one_row_of_the_job(job: BatchJob) -> None:
    write_jsonl(job.folder / "in.jsonl", [question("question 0")] * 3)
    summary = await job.run()
    assert job.server.asked == {"question 0": 1}
    assert job.answers() == [answer_to("question 0")] * 3
    assert summary.deduplicated == 2


async def test_more_duplicates_than_may_wait_are_sent_because_no_job_would_be_complete(
    job: BatchJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_BYTES", 5_000)
    write_jsonl(job.folder / "in.jsonl", [question("question 0")] * 100)
    summary = await job.run(max_rows=8)
    assert job.answers() == [answer_to("question 0")] * 100
    assert 1 < job.server.asked["question 0"] < 100
    assert summary.deduplicated + job.server.asked["question 0"] == 100


async def test_rows_of_jobs_have_the_price_of_batches(job: BatchJob) -> None:
    job.write_input(3)
    prices = CostPerMillion(input=1, output=1, batch_discount=0.5)
    async with job.engine() as engine:
        config = job.config().model_copy(update={"cost_per_million": prices})
        summary = await engine.arun(config, relax_gc=False)
    assert summary.cost is not None
    assert summary.usage.total_tokens > 0
    assert summary.cost.usd == pytest.approx(summary.usage.total_tokens * 0.5e-6)


async def test_second_result_of_a_row_is_ignored(job: BatchJob, faults: Faults) -> None:
    faults.order = lambda lines: [line for line in lines for _ in range(2)]
    job.write_input(10)
    summary = await job.run()
    assert summary.completed == 10
    job.check_output(10)


async def test_answer_takes_precedence_over_an_error_of_the_same_row(job: BatchJob, faults: Faults) -> None:
    faults.order = lambda lines: [*map(failed, lines[:1]), *lines]
    job.write_input(3)
    await job.run()
    assert len(job.server.jobs) == 1
    job.check_output(3)


async def test_answers_say_that_they_are_those_of_a_batch_job(job: BatchJob) -> None:
    job.write_input(1)
    await job.run()
    [row] = read_jsonl(job.output)
    assert row["metadata"]["service_tier"] == "batch"


@pytest.mark.parametrize("retry", ["batch", "online"])
async def test_failed_row_is_sent_again(job: BatchJob, faults: Faults, retry: str) -> None:
    """In a further job, or as a single request. Rows that are answered are not sent again."""
    faults.result = lambda text, line, of: failed(line) if text == "question 2" and of.id == "batch_2" else line
    job.write_input(4)
    summary = await job.run(retry=retry)
    assert (summary.completed, summary.failed) == (4, 0)
    assert job.server.asked["question 1"] == 1
    expected = answer_to("question 2") if retry == "batch" else f"single {answer_to('question 2')}"
    assert job.answers()[2] == expected
    assert job.server.asked["question 2"] + job.server.single["question 2"] == 2


async def test_row_that_is_rejected_fails_at_once(job: BatchJob, faults: Faults) -> None:
    faults.result = lambda text, line, _: failed(line, 400, "too long") if text == "question 2" else line
    job.write_input(4)
    summary = await job.run()
    assert (summary.completed, summary.failed) == (3, 1)
    assert "too long" in summary.failure_samples[0][1].error_message
    assert job.server.asked["question 2"] == 1


async def test_row_that_fails_in_every_job_fails_after_the_retries(job: BatchJob, faults: Faults) -> None:
    faults.result = lambda text, line, _: failed(line) if text == "question 2" else line
    job.write_input(4)
    summary = await job.run(max_retries=2)
    assert (summary.completed, summary.failed) == (3, 1)
    assert job.server.asked["question 2"] == 3


async def test_missing_rows_are_sent_again(job: BatchJob, faults: Faults) -> None:
    faults.result = lambda text, line, of: None if text == "question 2" and of.id == "batch_2" else line
    job.write_input(4)
    await job.run()
    assert job.server.asked["question 2"] == 2
    job.check_output(4)


async def test_rest_of_an_expired_job_is_sent_again(job: BatchJob, faults: Faults) -> None:
    faults.outcome = lambda of: "expired" if of.id == "batch_2" else "completed"
    faults.result = lambda text, line, of: expired(line) if text > "question 1" and of.id == "batch_2" else line
    job.write_input(4)
    await job.run()
    assert job.server.asked == {"question 0": 1, "question 1": 1, "question 2": 2, "question 3": 2}
    job.check_output(4)


async def test_rest_of_a_job_that_somebody_cancelled_fails(job: BatchJob, faults: Faults) -> None:
    faults.outcome = lambda _: "cancelled"
    faults.result = lambda text, line, _: None if text > "question 1" else line
    job.write_input(4)
    summary = await job.run()
    assert (summary.completed, summary.failed) == (2, 2)
    assert "was cancelled before this row was answered" in summary.failure_samples[0][1].error_message
    faults.outcome, faults.result = Faults().outcome, Faults().result
    assert (await job.run()).completed == 4  # The user runs it again.
    assert job.server.asked["question 0"] == 1
    job.check_output(4)


@pytest.mark.parametrize("message", ["This line is not parseable", "This model cannot generate text"])
async def test_job_that_is_not_valid_fails_with_its_reason(job: BatchJob, faults: Faults, message: str) -> None:
    def fail(of: Job) -> str:
        of.errors = [{"code": "invalid_json_line", "line": 2, "message": message}]
        return "failed"

    faults.outcome = fail
    job.write_input(4)
    summary = await job.run()
    assert summary.failed == 4
    assert f"failed: line 2: {message}" in summary.failure_samples[0][1].error_message
    assert len(job.server.jobs) == 1


@pytest.mark.parametrize("code", ["token_limit_exceeded", "rate_limit_exceeded"])
async def test_job_that_failed_for_a_limit_is_sent_again_later(job: BatchJob, faults: Faults, code: str) -> None:
    def fail_once(of: Job) -> str:
        of.errors = [{"code": code, "message": f"{code}: try with fewer rows"}]
        return "failed" if of.id == "batch_2" else "completed"

    faults.outcome = fail_once
    job.write_input(4)
    await job.run(max_poll_interval=500)
    assert 500 in [round(wait) for wait in job.clock.waits]
    job.check_output(4)


async def test_results_that_break_off_are_read_again(job: BatchJob, faults: Faults) -> None:
    faults.cut_results = 2
    job.write_input(2000)
    summary = await job.run()
    assert summary.completed == 2000
    job.check_output(2000)
    assert set(job.server.asked.values()) == {1}


async def test_upload_that_breaks_off_is_repeated(job: BatchJob, faults: Faults) -> None:
    faults.cut_uploads = 2
    job.write_input(2000)
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(2000)


async def test_error_of_a_creation_that_succeeded_makes_no_second_job(job: BatchJob, faults: Faults) -> None:
    faults.create_statuses = [500]
    job.write_input(4)
    await job.run()
    assert len(job.server.jobs) == 1
    job.check_output(4)


async def test_refused_key_ends_the_run(job: BatchJob, faults: Faults) -> None:
    faults.refuse = (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
    job.write_input(4)
    summary = await job.run()
    assert summary.failed == 4
    assert "does not accept batch jobs: HTTP 401" in summary.failure_samples[0][1].error_message
    faults.refuse = None
    assert (await job.run()).completed == 4
    job.check_output(4)


async def test_errors_of_polls_are_waited_out(job: BatchJob, faults: Faults) -> None:
    faults.poll_statuses = [500, 503]
    job.write_input(4)
    await job.run()
    job.check_output(4)


async def test_slow_job_is_asked_for_at_most_once_a_minute(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 30
    job.write_input(4)
    await job.run()
    assert job.server.polls == 30
    waits = [wait for wait in job.clock.waits if wait > 1]
    assert min(waits) >= 59
    assert max(waits) <= 300


async def test_one_request_a_minute_is_enough_for_many_jobs(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 5
    job.write_input(40)
    began = job.clock.now()
    await job.run(max_rows=1)
    assert len(job.server.jobs) == 40
    assert job.server.polls <= (job.clock.now() - began) / 60
    job.check_output(40)


async def test_run_without_an_output_path_uses_batch_jobs_too(job: BatchJob) -> None:
    async with job.engine() as engine:
        answered = await engine.ainfer(questions(3), InferenceConfig(batch=BatchParams()))
        [one] = await engine.ainfer(["question 0"], InferenceConfig(batch=BatchParams()))
    assert [str(each.messages[-1].content) for each in answered] == [answer_to(f"question {i}") for i in range(3)]
    assert one.messages[-1].content == answer_to("question 0")
    assert len(job.server.jobs) == 2


async def test_iterator_yields_the_rows_of_jobs(job: BatchJob) -> None:
    async with job.engine() as engine:
        config = InferenceConfig(batch=BatchParams(max_rows=2))
        found = {index: outcome async for index, outcome in engine.ainfer_iter(questions(5), config)}
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert len(job.server.jobs) == 3


async def test_disabled_batch_sends_single_requests(job: BatchJob) -> None:
    job.write_input(3)
    await job.run(enabled=False)
    assert not job.server.jobs
    assert job.server.single.total() == 3


async def test_engine_without_a_batch_api_says_what_to_use(job: BatchJob) -> None:
    job.write_input(3)
    with pytest.raises(ConfigError, match="has no batch API. Use `infer` or `run` without `batch`"):
        await FakeEngine().arun(job.config())
