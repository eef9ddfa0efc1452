"""The engine's methods for single batch jobs, and for files."""

from __future__ import annotations

import pytest

from asyncinfer import (
    BatchError,
    BatchStatus,
    ConfigError,
    Conversation,
    GenerationParams,
    InferenceConfig,
    InputError,
    RequestError,
)
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults, Job, failed
from tests.fakes import FakeEngine, answer_to, question, questions


def texts(conversations: list[Conversation]) -> list[str]:
    return [str(conversation.messages[-1].content) for conversation in conversations]


async def test_job_is_submitted_and_its_results_come_in_the_order_of_the_input(job: BatchJob, faults: Faults) -> None:
    faults.order = lambda lines: lines[::-1]
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(3))
        info = await engine.aget_batch_status(batch_id)
        assert (info.status, info.is_terminal, info.completion_percentage) == (BatchStatus.COMPLETED, True, 100.0)
        assert info.batch_completion_window == "24h"
        results = await engine.aget_batch_results(batch_id, questions(3))
    assert texts(results) == [answer_to(f"question {i}") for i in range(3)]


async def test_results_are_matched_by_key_and_not_by_place(job: BatchJob) -> None:
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(3))
        await engine.aget_batch_status(batch_id)
        results = await engine.aget_batch_results(batch_id, questions(3)[::-1])
    assert texts(results) == [answer_to(f"question {i}") for i in (2, 1, 0)]


async def test_settings_of_the_job_are_not_part_of_the_keys(job: BatchJob) -> None:
    config = InferenceConfig(generation=GenerationParams(temperature=0.5))
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(3), config)
        await engine.aget_batch_status(batch_id)
        result = await engine.aget_batch_results_partial(batch_id, questions(3))
    assert not result.has_failures
    [each] = job.server.jobs.values()
    assert {line["body"]["temperature"] for line in job.server.lines_of(each)} == {0.5}


async def test_completion_window_of_the_settings_is_sent(job: BatchJob) -> None:
    async with job.engine(batch_completion_window="48h") as engine:
        await engine.ainfer_batch(questions(1))
    assert [each.window for each in job.server.jobs.values()] == ["48h"]


async def test_rows_that_failed_in_the_job_are_sent_as_single_requests(job: BatchJob, faults: Faults) -> None:
    faults.result = lambda text, line, _: failed(line, 400) if text == "question 1" else line
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(3))
        await engine.aget_batch_status(batch_id)
        results = await engine.aget_batch_results(batch_id, questions(3))
    assert texts(results)[1] == f"single {answer_to('question 1')}"
    assert job.server.single == {"question 1": 1}


async def test_partial_results_name_each_failed_row(job: BatchJob, faults: Faults) -> None:
    def result(text: str, line: dict[str, object], _: Job) -> dict[str, object] | None:
        return failed(line, 400, "too long") if text == "question 1" else None if text == "question 2" else line

    faults.result = result
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(4))
        await engine.aget_batch_status(batch_id)
        partial = await engine.aget_batch_results_partial(batch_id, questions(4))
    assert [index for index, _ in partial.successful] == [0, 3]
    assert texts(partial.conversations) == [answer_to("question 0"), answer_to("question 3")]
    assert partial.failed_indices == [failure.index for failure in partial.failures] == [1, 2]
    assert "too long" in partial.error_messages[1]
    assert partial.error_messages[2] == "the results of the job do not have this row"


async def test_results_of_a_job_that_goes_on_are_an_error(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 10
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(1))
        with pytest.raises(BatchError) as caught:
            await engine.aget_batch_results(batch_id, questions(1))
        assert str(caught.value) == (
            f"the batch job {batch_id} has not ended: it is in_progress (0 of 1 requests are done). Get its results "
            f"once `asyncinfer batch status {batch_id}`, or get_batch_status in Python, shows that it is "
            "completed, failed, expired or cancelled"
        )
        with pytest.raises(RuntimeError):  # The class of the error in Oumi.
            await engine.aget_batch_results_partial(batch_id, questions(1))


async def test_cancelled_job_has_partial_results(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 10
    faults.result = lambda text, line, _: None if text == "question 1" else line
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(2))
        assert (await engine.acancel_batch(batch_id)).status is BatchStatus.CANCELLED
        with pytest.raises(BatchError, match="`get_batch_results_partial` returns the answers that it has"):
            await engine.aget_batch_results(batch_id, questions(2))
        partial = await engine.aget_batch_results_partial(batch_id, questions(2))
    assert partial.failed_indices == [1]


async def test_failed_job_says_why(job: BatchJob, faults: Faults) -> None:
    def fail(of: Job) -> str:
        of.errors = [{"message": "Enqueued token limit reached"}]
        return "failed"

    faults.outcome = fail
    async with job.engine() as engine:
        batch_id = await engine.ainfer_batch(questions(1))
        with pytest.raises(BatchError, match="failed: Enqueued token limit reached"):
            await engine.aget_batch_results_partial(batch_id, questions(1))


async def test_jobs_are_listed_in_pages(job: BatchJob) -> None:
    async with job.engine() as engine:
        ids = [await engine.ainfer_batch(questions(1)) for _ in range(3)]
        first = await engine.alist_batches(limit=2)
        assert ([batch.id for batch in first.batches], first.has_more) == (ids[:0:-1], True)
        second = await engine.alist_batches(after=first.last_id, limit=2)
        assert ([batch.id for batch in second.batches], second.has_more) == (ids[:1], False)


async def test_files_are_listed_read_and_deleted(job: BatchJob) -> None:
    async with job.engine() as engine:
        await engine.ainfer_batch(questions(2))
        [file] = (await engine.alist_files(purpose="batch")).files
        assert await engine.aget_file(file.id) == file
        content = await engine.aget_file_content(file.id)
        assert len(content) == file.bytes
        assert content.count('"custom_id"') == 2
        assert await engine.adelete_file(file.id)
        with pytest.raises(RequestError, match="No such File object"):
            await engine.aget_file(file.id)


async def test_conversation_that_cannot_be_sent_is_named(job: BatchJob) -> None:
    async with job.engine() as engine:
        with pytest.raises(InputError, match="row 1"):
            await engine.ainfer_batch([question("a"), question("\ud800")])
    assert not job.server.jobs


async def test_no_conversations_are_an_error(job: BatchJob) -> None:
    async with job.engine() as engine:
        with pytest.raises(
            InputError,
            match="`asyncinfer batch run`, or arun with `batch` in Python, splits any number of rows into jobs",
        ):
            await engine.ainfer_batch([])


async def test_engine_without_a_batch_api_raises_an_error_that_says_what_to_use() -> None:
    engine = FakeEngine()
    with pytest.raises(ConfigError, match="FakeEngine has no batch API"):
        await engine.ainfer_batch(questions(1))
    with pytest.raises(ConfigError, match="FakeEngine has no batch API"):
        await engine.alist_files()


async def test_results_of_a_job_of_a_run_are_not_taken_for_missing_rows(job: BatchJob, faults: Faults) -> None:
    """Otherwise all rows would be sent again, as single requests."""
    job.write_input(3)
    await job.run()
    [batch_id] = job.server.jobs
    async with job.engine() as engine:
        with pytest.raises(BatchError, match="have none of these conversations"):
            await engine.aget_batch_results(batch_id, questions(3))
    assert not job.server.single


async def test_job_whose_response_was_lost_is_found_and_not_submitted_twice(job: BatchJob, faults: Faults) -> None:
    faults.create_statuses = [500]
    async with job.engine() as engine:
        assert await engine.ainfer_batch(questions(3)) in job.server.jobs
    assert len(job.server.jobs) == 1


async def test_job_that_may_exist_is_named_in_the_error(job: BatchJob, faults: Faults) -> None:
    faults.create_statuses = [500]
    job.server.list_status = 500
    async with job.engine() as engine:
        with pytest.raises(RequestError, match="not known whether the batch job was created") as raised:
            await engine.ainfer_batch(questions(3))
    [created] = job.server.jobs.values()
    assert created.metadata["asyncinfer_job"] in str(raised.value)
