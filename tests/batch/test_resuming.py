"""Runs that end early and are started again: they go on with the jobs that they had sent."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import aclosing, nullcontext
from typing import Any

import anyio
import pytest

from asyncinfer import BatchParams, GenerationParams, InferenceConfig, RunInterruptedError, SpendingLimitError, Stop
from asyncinfer.batch.job_state import batch_folder
from asyncinfer.errors import ScratchError
from asyncinfer.scratch.file import scratch_path
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults
from tests.fakes import answer_to, question, questions, write_jsonl


async def stopped_after(job: BatchJob, polls: int, *, jobs: int = 1, **batch: object) -> None:
    """Stop a run after this many polls and jobs."""
    stop = Stop(grace=5)

    def watch(_method: str, _path: str) -> None:
        if job.server.polls >= polls and len(job.server.jobs) >= jobs:
            stop.request()

    job.server.on_request = watch
    with pytest.raises(RunInterruptedError):
        await job.run(stop, **batch)
    job.server.on_request = lambda _method, _path: None


async def test_stopped_run_leaves_its_jobs_and_the_next_run_gets_their_results(
    job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.slow_polls = 1000
    job.write_input(6)
    await stopped_after(job, 2, jobs=2, max_rows=3)
    faults.slow_polls = 4
    assert "go on at the provider: batch_2, batch_4. Run the same again to get their results" in caplog.text
    await job.run(max_rows=3)
    assert set(job.server.asked.values()) == {1}
    job.check_output(6)


async def test_cancel_on_exit_cancels_the_jobs_and_the_next_run_sends_the_rest(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 4
    faults.result = lambda text, line, of: None if text > "question 1" and of.status == "cancelled" else line
    job.write_input(4)
    await stopped_after(job, 2, cancel_on_exit=True)
    assert [each.status for each in job.server.jobs.values()] == ["cancelled"]
    await job.run()
    assert job.server.asked == {"question 0": 1, "question 1": 1, "question 2": 2, "question 3": 2}
    job.check_output(4)


async def test_cancelled_run_is_resumed(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    with anyio.CancelScope() as scope:
        job.server.on_request = lambda _method, _path: scope.cancel() if job.server.polls >= 2 else None
        await job.run()
    assert scope.cancelled_caught
    job.server.on_request = lambda _method, _path: None
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


async def test_rows_that_are_new_are_sent_in_a_further_job(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    job.write_input(6)
    await job.run()
    assert [len(each.custom_ids) for each in job.server.jobs.values()] == [4, 2]
    job.check_output(6)


async def test_job_of_other_input_is_left_alone(
    job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    write_jsonl(job.folder / "in.jsonl", [question("other")])
    await job.run()
    assert "batch_2 has 4 rows that belong to other input or settings" in caplog.text
    assert job.answers() == [answer_to("other")]
    job.write_input(4)
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


async def test_job_that_the_api_does_not_know_is_not_sent_again(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    known = dict(job.server.jobs)
    job.server.jobs.clear()
    summary = await job.run()
    assert summary.failed == 4
    assert "does not know a batch job of this run" in summary.failure_samples[0][1].error_message
    job.server.jobs.update(known)
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


async def test_list_that_cannot_be_read_means_that_nothing_is_sent(job: BatchJob, faults: Faults) -> None:
    """After an error of a creation, a job is sent again only if the list of jobs shows that it does not exist."""
    faults.create_statuses = [500]
    job.write_input(4)
    job.server.list_status = 500
    summary = await job.run()
    assert summary.failed == 4
    assert "it is not known whether the batch job" in summary.failure_samples[0][1].error_message
    job.server.list_status = None
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        {"number": None},
        {"rows": "x"},
        {"batch_id": 5},
        {"created": "x"},
        {"tag": "../x"},
        {"new": 1},
    ],
)
async def test_state_of_a_job_that_cannot_be_read_stops_the_run(
    job: BatchJob, faults: Faults, damaged: str | dict[str, Any]
) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    [state] = batch_folder(scratch_path(job.output)).glob("*.json")
    good = state.read_text()
    state.write_text(damaged if isinstance(damaged, str) else json.dumps(json.loads(good) | damaged))
    with pytest.raises(ScratchError, match="is not the state of a batch job"):
        await job.run()
    assert len(job.server.jobs) == 1
    state.write_text(good)
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


@pytest.mark.parametrize("size", [0, 48, 50])
async def test_ids_of_rows_that_are_cut_stop_the_run(job: BatchJob, faults: Faults, size: int) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    [ids] = batch_folder(scratch_path(job.output)).glob("*.ids")
    good = ids.read_bytes()
    ids.write_bytes(good[:size])
    with pytest.raises(ScratchError, match="it should have 4 rows"):
        await job.run()
    ids.write_bytes(good)
    await job.run()
    assert set(job.server.asked.values()) == {1}


@pytest.mark.parametrize("number", range(1, 9))
async def test_full_disk_is_an_error_that_names_the_folder(
    job: BatchJob, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The n-th write fails. The first ones are those of the rows and requests of a job."""
    job.write_input(4)
    writes = itertools.count(1)

    def full(write: Callable[..., int]) -> Callable[..., int]:
        def attempt(*args: object) -> int:
            if next(writes) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(*args)

        return attempt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full(os.pwrite))
        patch.setattr(os, "write", full(os.write))
        with pytest.raises(ScratchError, match="No space left on device"):
            await job.run()
    await job.run()
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


async def test_clock_that_was_set_back_delays_the_search_for_a_job_by_one_interval(
    job: BatchJob, faults: Faults
) -> None:
    faults.create_statuses = [500]
    job.write_input(4)
    job.server.list_status = 500
    await job.run()
    [state] = batch_folder(scratch_path(job.output)).glob("*.json")
    saved = json.loads(state.read_text())
    state.write_text(json.dumps(saved | {name: saved[name] + 864_000 for name in ("created", "tried")}))
    job.server.list_status = None
    job.clock.waits.clear()
    await job.run()
    assert max(job.clock.waits) <= 60
    assert set(job.server.asked.values()) == {1}
    job.check_output(4)


async def test_saved_state_has_no_key_and_is_private(job: BatchJob, faults: Faults) -> None:
    faults.slow_polls = 4
    job.write_input(4)
    await stopped_after(job, 2)
    folder = batch_folder(scratch_path(job.output))
    assert folder.stat().st_mode & 0o077 == 0
    assert not [path for path in folder.iterdir() if path.suffix == ".jsonl"]


async def test_job_that_exists_twice_is_used_once(
    job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one is used. The API must have created it late."""
    faults.create_statuses = [500]
    job.write_input(4)

    def copy(method: str, path: str) -> None:
        if method == "GET" and len(job.server.jobs) == 1:
            [first] = job.server.jobs.values()
            job.server.add_copy(first)

    job.server.on_request = copy
    caplog.set_level(logging.WARNING)
    await job.run()
    assert "exists twice; batch_3 is cancelled" in caplog.text
    assert ("POST", "/v1/batches/batch_3/cancel") in job.server.requests
    job.check_output(4)


async def test_jobs_of_a_run_whose_further_rows_are_refused_keep_their_answers(job: BatchJob, faults: Faults) -> None:
    """The run ends before it has read the rows of the earlier job."""
    faults.slow_polls = 4
    job.write_input(3)
    await stopped_after(job, 2)
    write_jsonl(job.folder / "in.jsonl", [question(f"new {i}") for i in range(600)] + questions(3))
    faults.refuse = (401, {"error": {"message": "no credit", "code": "insufficient_quota"}})
    summary = await job.run(max_rows=100)
    assert summary.failed == 600
    faults.refuse = None
    await job.run(max_rows=1000)
    assert set(job.server.asked.values()) == {1}


async def test_jobs_of_a_run_that_cannot_look_for_another_job_keep_their_answers(job: BatchJob, faults: Faults) -> None:
    """The second job may exist, and the list of jobs cannot be read: the first one is read all the same."""
    job.write_input(6)
    faults.slow_polls = 3
    job.server.list_status = 500

    def lose(step: str) -> None:
        if step == "created" and len(job.server.jobs) == 2:
            faults.create_statuses = [500]

    job.server.on_step = lose
    with anyio.CancelScope() as scope:
        job.server.on_request = lambda method, path: (
            scope.cancel() if (method, path) == ("GET", "/v1/batches") else None
        )
        await job.run(max_rows=3)
    assert scope.cancelled_caught
    job.server.on_request = lambda _method, _path: None
    assert (await job.run(max_rows=3)).failed == 3
    job.server.list_status = None
    await job.run(max_rows=3)
    assert set(job.server.asked.values()) == {1}
    job.check_output(6)


async def test_job_whose_rows_are_above_the_limit_on_cost_is_kept(job: BatchJob, faults: Faults) -> None:
    prices = {"input": 1, "output": 2}
    config = job.config().model_copy(update={"generation": GenerationParams(max_new_tokens=10)})
    faults.slow_polls = 4
    job.write_input(6)
    async with job.engine() as engine:
        with anyio.CancelScope() as scope:
            job.server.on_request = lambda _method, _path: scope.cancel() if job.server.polls >= 2 else None
            await engine.arun(config, relax_gc=False)
        assert scope.cancelled_caught
        job.server.on_request = lambda _method, _path: None
        for limit in (1e-9, 1e-4, 100.0):
            limits = {"max_cost": limit, "cost_per_million": prices}
            limited = InferenceConfig.model_validate(config.model_dump(exclude_unset=True) | limits)
            with nullcontext() if limit == 100 else pytest.raises(SpendingLimitError):
                await engine.arun(limited, relax_gc=False)
    assert set(job.server.asked.values()) == {1}
    job.check_output(6)


async def test_iterator_that_is_left_keeps_no_folder_and_does_not_promise_results(
    job: BatchJob, faults: Faults, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(job.folder))
    faults.slow_polls = 1000
    async with job.engine() as engine:
        with anyio.CancelScope() as scope:
            job.server.on_request = lambda _method, _path: scope.cancel() if job.server.polls >= 2 else None
            async with aclosing(engine.ainfer_iter(questions(2), InferenceConfig(batch=BatchParams()))) as rows:
                async for _ in rows:
                    pass
        assert scope.cancelled_caught
    assert "no other run can use their results" in caplog.text
    assert not [*job.folder.iterdir()]
