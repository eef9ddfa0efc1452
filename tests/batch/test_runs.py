"""Runs with batch jobs: split, submitted, polled, downloaded, and written in the order of the input."""

from __future__ import annotations

from tests.batch.conftest import BatchJob


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
