"""`asyncinfer infer` with tables: its options and its messages."""

from __future__ import annotations

import gzip
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Completed, Job
from tests.fakes import read_jsonl


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(tmp_path)
    (tmp_path / "data.csv").write_text('id,question\n1,"one, ""two"""\n2,three\n')
    return made


def run(job: Job, name: str, output: str, *more: str) -> Completed:
    paths = ("--input_path", str(job.folder / name), "--output_path", str(job.folder / output))
    return job.run(*paths, *more)


def test_csv_file_with_a_prompt_becomes_parquet(job: Job) -> None:
    done = run(job, "data.csv", "out.parquet", "--input.prompt", "Answer: {{ question }}")
    assert done.code == 0, done.err
    assert "2 of 2 finished" in done.err
    rows = pq.read_table(job.folder / "out.parquet").to_pylist()
    assert [(row["id"], row["answer"]) for row in rows] == [
        ("1", 'answer to Answer: one, "two"'),
        ("2", "answer to Answer: three"),
    ]


def test_answers_of_a_table_are_printed_as_conversations(job: Job) -> None:
    job.configure(output=False)
    done = job.run("--input_path", str(job.folder / "data.csv"), "--input.prompt={{ question }}", "--input.id", "id")
    assert done.code == 0, done.err
    (job.folder / "printed.jsonl").write_text(done.out)
    assert [line["conversation_id"] for line in read_jsonl(job.folder / "printed.jsonl")] == ["1", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--input.prompt", "{{ text }}"),
            "data.csv: input.prompt: there is no column 'text'; the columns are id, question",
        ),
        (("--input.prompt", "{{ text"), "override input.prompt: not a valid Jinja template: line 1"),
        (("--input.promt", "a"), "override input.promt: unknown key; did you mean 'prompt'?"),
        (("--input.prompt", "a", "--output.rows", "false", "--output.format", "csv"), "a csv file cannot hold"),
        ((), "data.csv: input.prompt: there is no column 'messages'; the columns are id, question"),
    ],
)
def test_mistake_is_one_message_and_nothing_is_sent(job: Job, arguments: tuple[str, ...], message: str) -> None:
    done = run(job, "data.csv", "out.parquet", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert job.requests() == []


def test_broken_files_are_named_with_the_place(job: Job) -> None:
    """One test for all, because each starts a process."""
    long = "".join(f"{n},question number {n}\n" for n in range(5000))
    broken = {
        "quote.csv": (b'question\na\n"b\n', "quote.csv: line 3: not valid CSV: a quoted value is not closed"),
        "short.csv": (b"id,question\n1\n", "short.csv: 1 bad row(s); nothing was run:\n  line 2: has 1 values"),
        "cut.csv.gz": (gzip.compress(f"id,question\n{long}".encode())[:-500], "cut.csv.gz: after line "),
        "cut.parquet": (b"PAR1" + bytes(100), "cut.parquet: is not a Parquet file, or it is truncated"),
    }
    for name, (data, message) in broken.items():
        (job.folder / name).write_bytes(data)
        done = run(job, name, "out.csv", "--input.prompt", "{{ question }}")
        assert (done.code, message in done.err) == (2, True), done.err
    assert job.requests() == []


def test_interrupted_job_over_a_table_goes_on(job: Job) -> None:
    job.configure(slow="three", workers=1)
    arguments = ("--input_path", str(job.folder / "data.csv"), "--output_path", str(job.folder / "out.parquet"))
    with job.start(*arguments, "--input.prompt", "{{ question }}") as process:
        while len(job.requests()) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "again" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    job.configure()
    done = run(job, "data.csv", "out.parquet", "--input.prompt", "{{ question }}")
    assert "2 of 2 finished (1 resumed)" in done.err
