"""Ctrl-C, SIGTERM and SIGKILL: saved rows stay saved, and the same command resumes the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Job
from tests.fakes import read_jsonl


def durable(scratch: Path) -> set[str]:
    """Return the questions whose answers are in complete lines of the scratch file."""
    lines = scratch.read_bytes().split(b"\n")[:-1] if scratch.exists() else []
    return {json.loads(line)["conversation"]["messages"][0]["content"] for line in lines}


def saved_lines(scratch: Path) -> int:
    return scratch.read_bytes().count(b"\n") if scratch.exists() else 0


def wait_for(process: subprocess.Popen[str], scratch: Path, lines: int) -> bool:
    """Wait until `lines` rows are saved. Return False if the process ended earlier."""
    while process.poll() is None:
        if saved_lines(scratch) >= lines:
            return True
        time.sleep(0.001)
    return False


def test_interrupt_while_the_commands_are_imported_ends_the_program_without_a_traceback() -> None:
    code = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "asyncinfer.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from asyncinfer.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_entry_point_imports_nothing_that_takes_long() -> None:
    code = "import sys, asyncinfer.cli.main; print({'pydantic', 'typer', 'anyio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_lets_running_rows_finish(job: Job, number: signal.Signals) -> None:
    job.configure(seconds=0.3, workers=2)
    with job.start() as process:
        assert wait_for(process, job.scratch, 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert len(durable(job.scratch)) == len(job.requests()), "every row that was sent is saved"
    assert f"{len(durable(job.scratch))} of 10 rows are saved" in err
    assert f"infer -c {job.folder / 'config.yaml'}" in err, "the command that resumes"
    assert not job.output.exists()
    job.configure()
    assert job.run().code == 0
    assert Counter(job.requests()) == Counter(f"question {i}" for i in range(10)), "each row was sent once"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_signal_is_in_the_progress_file(job: Job, number: signal.Signals) -> None:
    job.configure(seconds=0.2, workers=2)
    progress = job.folder / "progress.json"
    with job.start("--progress_path", str(progress)) as process:
        assert wait_for(process, job.scratch, 2)
        assert json.loads(progress.read_text())["state"] == "running"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert json.loads(progress.read_text())["state"] == "interrupted"
    assert ("Ctrl-C" in err) is (number == signal.SIGINT)
    assert ("SIGTERM" in err) is (number == signal.SIGTERM)
    assert ("SIGHUP" in err) is (number == signal.SIGHUP)


def test_closed_terminal_interrupts_the_run(job: Job) -> None:
    """What is written to the terminal after that fails. The run saves its rows all the same."""
    job.configure(seconds=0.2, workers=2)
    progress = job.folder / "progress.json"
    ours, theirs = os.openpty()
    with job.start("--progress_path", str(progress), stderr=theirs) as process:
        os.close(theirs)
        assert wait_for(process, job.scratch, 2)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(progress.read_text())["state"] == "interrupted"
    assert len(durable(job.scratch)) == len(job.requests())


def test_run_under_nohup_goes_on_after_its_terminal_was_closed(job: Job) -> None:
    job.configure(seconds=0.05, workers=2)
    with job.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        assert wait_for(process, job.scratch, 2)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(read_jsonl(job.output)) == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_without_an_output_path_keeps_the_answers(job: Job, number: signal.Signals) -> None:
    job.configure(output=False, seconds=0.3, workers=2)
    with job.start() as process:
        while len(job.requests()) < 3:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same again to go on" in err


def test_command_that_resumes_shows_no_secret(job: Job) -> None:
    job.configure(workers=2, seconds=0.2)
    with job.start("--remote_params.api_key", "sk-1", "--remote_params.api_key=sk-2") as process:
        assert wait_for(process, job.scratch, 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "--remote_params.api_key '<hidden>' '--remote_params.api_key=<hidden>'" in err
    assert "sk-" not in err


@pytest.mark.slow
def test_second_signal_stops_at_once(job: Job) -> None:
    job.configure(workers=2, seconds=0.2)
    with job.start() as process:
        assert wait_for(process, job.scratch, 2)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "again" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    kept, before = durable(job.scratch), len(job.requests())
    assert len(kept) >= 2
    assert job.run().code == 0
    assert not kept & set(job.requests()[before:])


@pytest.mark.slow
def test_second_run_of_the_same_job_is_refused(tmp_path: Path) -> None:
    job = Job(tmp_path, rows=400)  # more than are answered until the second run has started
    job.configure(seconds=0.5, workers=1)
    with job.start() as process:
        assert wait_for(process, job.scratch, 1)
        second = job.run()
        process.terminate()
        process.communicate(timeout=30)
    assert second.code == 3
    assert f"Another run is saving to {job.scratch}" in second.err


@pytest.mark.slow
def test_twenty_kills_lose_no_row_and_repeat_no_durable_row(tmp_path: Path) -> None:
    job = Job(tmp_path, rows=420)
    job.configure(seconds=0.01, workers=8)
    requests_before, kills = 0, 0
    for kill in range(20):
        with job.start() as process:
            assert wait_for(process, job.scratch, (kill + 1) * 420 // 21), process.communicate()
            process.kill()
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
        requests_before = check_no_durable_row_is_repeated(job, requests_before)
        job.durable = durable(job.scratch)
    assert kills == 20
    done = job.run()
    assert done.code == 0, done.err
    check_no_durable_row_is_repeated(job, requests_before)
    rows = read_jsonl(job.output)
    assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(420)]
    assert not job.scratch.exists()


def check_no_durable_row_is_repeated(job: Job, since: int) -> int:
    """Check that the last run sent no row that was durable when it began. Return the number of requests so far."""
    requests = job.requests()
    assert not job.durable & set(requests[since:]), "a durable row was sent again"
    return len(requests)
