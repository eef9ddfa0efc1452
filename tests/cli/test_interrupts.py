"""Ctrl-C, SIGTERM and SIGKILL: what is saved stays saved, and the same command goes on from there."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Job
from tests.fakes import read_jsonl


def durable(scratch: Path) -> set[str]:
    """The questions whose answers stand in whole lines of the scratch file."""
    lines = scratch.read_bytes().split(b"\n")[:-1] if scratch.exists() else []
    return {json.loads(line)["conversation"]["messages"][0]["content"] for line in lines}


def saved_lines(scratch: Path) -> int:
    return scratch.read_bytes().count(b"\n") if scratch.exists() else 0


def wait_for(process: subprocess.Popen[str], scratch: Path, lines: int) -> bool:
    """Wait until so many rows are saved; False if the process ended before."""
    while process.poll() is None:
        if saved_lines(scratch) >= lines:
            return True
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_running_rows_finish(job: Job, number: signal.Signals) -> None:
    job.configure(seconds=0.3, workers=2)
    with job.start() as process:
        assert wait_for(process, job.scratch, 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert len(durable(job.scratch)) == len(job.asked()), "what was asked was also finished"
    assert f"{len(durable(job.scratch))} of 10 rows are saved" in err
    assert f"infer -c {job.folder / 'config.yaml'}" in err, "how to go on"
    assert not job.output.exists()
    job.configure()
    assert job.run().code == 0
    assert Counter(job.asked()) == Counter(f"question {i}" for i in range(10)), "each row was asked once"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_without_an_output_path(job: Job, number: signal.Signals) -> None:
    job.configure(output=False, seconds=0.3, workers=2)
    with job.start() as process:
        while len(job.asked()) < 3:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same again to go on" in err


def test_how_to_go_on_tells_no_secret(job: Job) -> None:
    job.configure(workers=2, seconds=0.2)
    with job.start("--remote_params.api_key", "sk-1", "--remote_params.api_key=sk-2") as process:
        assert wait_for(process, job.scratch, 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "--remote_params.api_key '<hidden>' '--remote_params.api_key=<hidden>'" in err
    assert "sk-" not in err


def test_two_signals_stop_at_once(job: Job) -> None:
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
    kept, before = durable(job.scratch), len(job.asked())
    assert len(kept) >= 2
    assert job.run().code == 0
    assert not kept & set(job.asked()[before:])


def test_a_second_run_of_one_job_is_refused(tmp_path: Path) -> None:
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
def test_twenty_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, rows=420)
    job.configure(seconds=0.01, workers=8)
    asked_before, kills = 0, 0
    for kill in range(20):
        with job.start() as process:
            assert wait_for(process, job.scratch, (kill + 1) * 420 // 21), process.communicate()
            process.kill()
            process.communicate()
        kills += process.returncode == -signal.SIGKILL
        asked_before = check_none_repeated(job, asked_before)
        job.kept = durable(job.scratch)
    assert kills == 20
    ran = job.run()
    assert ran.code == 0, ran.err
    check_none_repeated(job, asked_before)
    rows = read_jsonl(job.output)
    assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(420)]
    assert not job.scratch.exists()


def check_none_repeated(job: Job, since: int) -> int:
    """No row that was durable when the last run began was asked by it; how many were asked by now."""
    asked = job.asked()
    assert not job.kept & set(asked[since:]), "a durable row was asked again"
    return len(asked)
