"""What is left at the provider: jobs of a run that was stopped, and files of requests."""

from __future__ import annotations

import anyio
import pytest
from aiohttp import web

from asyncinfer import RequestError, RunInterruptedError, Stop
from asyncinfer.batch import clean_up
from asyncinfer.scratch.file import scratch_path
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults
from tests.fakes import answer_to, questions

REFUSAL = (400, {"error": {"message": "the file is too large"}})


async def stopped_with_two_jobs(job: BatchJob) -> None:
    """Stop a run that cancels its jobs, after two jobs were submitted."""
    stop = Stop(grace=5)
    job.write_input(6)

    def watch(_method: str, _path: str) -> None:
        if job.server.polls and len(job.server.jobs) == 2:
            stop.request()

    job.server.on_request = watch
    with pytest.raises(RunInterruptedError):
        await job.run(stop, max_rows=3, cancel_on_exit=True)
    job.server.on_request = lambda _method, _path: None


class TestCancellation:
    async def test_message_names_the_jobs_that_were_cancelled(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults.slow_polls = 1000
        await stopped_with_two_jobs(job)
        assert "Cancelled the batch jobs: batch_2 (cancelled), batch_4 (cancelled)" in caplog.text
        assert "go on at the provider" not in caplog.text

    @pytest.mark.parametrize("status", [400, 500])
    async def test_job_that_could_not_be_cancelled_is_said_to_go_on(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture, status: int
    ) -> None:
        faults.slow_polls, faults.cancel_statuses = 1000, [status]
        await stopped_with_two_jobs(job)
        [left] = [each for each in job.server.jobs.values() if each.status != "cancelled"]
        [cancelled] = [each for each in job.server.jobs.values() if each is not left]
        assert f"The batch job {left.id} could not be cancelled: HTTP {status}" in caplog.text
        assert f"Cancelled the batch jobs: {cancelled.id} (cancelled)." in caplog.text
        assert f"These batch jobs go on at the provider: {left.id}. Run the same again to get" in caplog.text
        faults.slow_polls = 1
        await job.run(max_rows=3)
        job.check_output(6)

    async def test_message_does_not_say_that_jobs_were_cancelled_if_none_was(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults.slow_polls, faults.cancel_statuses = 1000, [500, 500]
        await stopped_with_two_jobs(job)
        assert "Cancelled the batch jobs" not in caplog.text
        assert "These batch jobs go on at the provider: batch_2, batch_4." in caplog.text

    async def test_provider_that_does_not_respond_delays_the_end_by_a_bounded_time(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clean_up, "_CANCEL_SECONDS", 0.05)
        faults.slow_polls = 1000
        job.server.hangs_at = "/cancel"
        with anyio.fail_after(10):
            await stopped_with_two_jobs(job)
        assert "These batch jobs go on at the provider: batch_2, batch_4." in caplog.text


class TestFilesOfRequests:
    async def test_file_is_deleted_once_the_answers_are_saved(self, job: BatchJob) -> None:
        saved: list[str] = []

        def watch(method: str, path: str) -> None:
            if method == "DELETE":
                saved.append(scratch_path(job.output).read_text())

        job.server.on_request = watch
        job.write_input(4)
        await job.run()
        assert job.server.files == {}
        [text] = saved
        assert all(answer_to(f"question {number}") in text for number in range(4))
        job.check_output(4)

    @pytest.mark.parametrize("outcome", ["expired", "cancelled", "failed"])
    async def test_file_of_a_job_that_did_not_complete_is_deleted(
        self, job: BatchJob, faults: Faults, outcome: str
    ) -> None:
        faults.outcome = lambda of: outcome if of.id == "batch_2" else "completed"
        job.write_input(4)
        await job.run(max_poll_interval=60)
        assert job.server.files == {}

    async def test_file_of_a_job_that_goes_on_is_kept(self, job: BatchJob, faults: Faults) -> None:
        faults.slow_polls = 1000
        stop = Stop(grace=5)
        job.server.on_request = lambda _method, _path: stop.request() if job.server.polls else None
        job.write_input(4)
        with pytest.raises(RunInterruptedError):
            await job.run(stop)
        assert len(job.server.files) == 1

    async def test_file_of_a_job_that_the_api_refuses_is_deleted(self, job: BatchJob, faults: Faults) -> None:
        faults.refuse = REFUSAL
        job.write_input(4)
        summary = await job.run()
        assert "the file is too large" in summary.failure_samples[0][1].error_message
        assert job.server.files == {}

    async def test_file_of_a_single_job_that_the_api_refuses_is_deleted(self, job: BatchJob, faults: Faults) -> None:
        faults.refuse = REFUSAL
        async with job.engine() as engine:
            with pytest.raises(RequestError, match="the file is too large"):
                await engine.ainfer_batch(questions(2))
        assert job.server.files == {}

    async def test_refusal_is_reported_also_if_the_file_cannot_be_deleted(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults.refuse, faults.delete_status = REFUSAL, 500
        async with job.engine() as engine:
            with pytest.raises(RequestError, match="the file is too large"):
                await engine.ainfer_batch(questions(2))
        assert "The file file-1 with the requests of the batch job asyncinfer-" in caplog.text
        assert "stays at the provider" in caplog.text

    async def test_files_of_all_attempts_to_submit_a_job_are_deleted(self, job: BatchJob, faults: Faults) -> None:
        def refuse_twice(method: str, path: str) -> None:
            if (method, path) == ("POST", "/v1/batches") and len(job.server.files) < 3:
                raise web.HTTPServiceUnavailable

        job.server.on_request = refuse_twice
        job.write_input(4)
        await job.run()
        assert job.server.requests.count(("POST", "/v1/files")) == 3
        assert job.server.files == {}
        job.check_output(4)

    @pytest.mark.parametrize(
        "step", [("POST", "/v1/batches"), ("DELETE", "/v1/files/file-1")], ids=["creation", "deletion"]
    )
    async def test_next_run_deletes_what_a_run_has_left_that_ended_before_the(
        self, step: tuple[str, str], job: BatchJob
    ) -> None:
        def end_run(*request: str) -> None:
            if request == step:
                scope.cancel()
                raise web.HTTPServiceUnavailable

        job.server.on_request = end_run
        job.write_input(4)
        with anyio.CancelScope() as scope:
            await job.run()
        assert scope.cancelled_caught
        assert list(job.server.files) == ["file-1"]
        job.server.on_request = lambda _method, _path: None
        await job.run()
        assert job.server.files == {}
        assert set(job.server.asked.values()) == {1}
        job.check_output(4)

    async def test_file_that_is_not_there_is_not_named(
        self, job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults.delete_status = 404
        job.write_input(4)
        await job.run()
        assert "stays at the provider" not in caplog.text
        job.check_output(4)

    @pytest.mark.parametrize("status", [403, 500])
    async def test_file_that_cannot_be_deleted_is_named_and_the_run_succeeds(
        self, job: BatchJob, faults: Faults, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults.delete_status = status
        job.write_input(4)
        summary = await job.run()
        assert (summary.completed, summary.failed) == (4, 0)
        assert "The file file-1 with the requests of the batch job batch_2 stays at the provider" in caplog.text
        assert f"HTTP {status}" in caplog.text
        job.check_output(4)

    async def test_deletion_without_a_response_delays_the_run_by_a_bounded_time(
        self, job: BatchJob, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clean_up, "_DELETE_SECONDS", 0.05)
        job.server.hangs_at = "/files/file-1"
        job.write_input(4)
        with anyio.fail_after(10):
            await job.run()
        assert "no response in 0.05 s" in caplog.text
        job.check_output(4)
