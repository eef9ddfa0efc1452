"""`asyncinfer infer --retry-failures`, in a process of its own."""

from __future__ import annotations

import csv

from tests.cli.conftest import Job
from tests.fakes import read_jsonl


def test_failed_row_is_retried_and_merged(job: Job) -> None:
    job.configure(fails="question 3")
    assert job.run().code == 1
    still = job.run("--retry-failures")
    assert still.code == 1
    assert f"failed rows  {job.output}.failures.jsonl" in still.err
    assert "row 3 failed: " in still.err
    job.configure()
    done = job.run("--retry-failures")
    assert done.code == 0, done.err
    assert "rows      1 of 1 finished" in done.err
    assert len(job.requests()) == 12
    assert [row["conversation_id"] for row in read_jsonl(job.output)] == [f"q{i}" for i in range(10)]
    again = job.run("--retry-failures")
    assert again.code == 2
    assert f"there is no file {job.output}.failures.jsonl with failed rows" in again.err


def test_without_an_output_path_the_message_names_the_setting(job: Job) -> None:
    job.configure(output=False)
    done = job.run("--retry-failures")
    assert done.code == 2
    assert "retry_failures: set output_path" in done.err
    assert job.requests() == []


def test_failed_row_of_an_output_of_rows_is_retried_and_merged(job: Job) -> None:
    table = job.folder / "out.csv"
    job.configure(fails="question 3")
    assert job.run("--output_path", str(table)).code == 1
    job.configure()
    done = job.run("--output_path", str(table), "--retry-failures")
    assert done.code == 0, done.err
    assert len(job.requests()) == 11
    ids = [row["conversation_id"] for row in csv.DictReader(table.read_text().splitlines())]
    assert ids == [f"q{i}" for i in range(10)]
