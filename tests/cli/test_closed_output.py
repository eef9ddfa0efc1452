"""Commands end quietly when nobody reads their output any more, as programs do that SIGPIPE ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from asyncinfer.cli.closed_output import OUTPUT_CLOSED, is_output_closed
from asyncinfer.types.conversation import Conversation
from tests.cli.conftest import ROOT, Job, environment
from tests.fakes import question, write_jsonl

ROWS = 5


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [question(f"question {number}") for number in range(ROWS)])
    return path


@contextmanager
def pipe_without_reader() -> Generator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def closed_terminal() -> Generator[int]:
    ours, theirs = os.openpty()
    os.close(ours)
    yield theirs
    os.close(theirs)


NOBODY_READS = pytest.mark.parametrize("closed", [pipe_without_reader, closed_terminal])


def run(
    args: list[str], variables: Mapping[str, str], stdout: int | IO[str], stderr: int = subprocess.PIPE
) -> tuple[int, str]:
    """Run `asyncinfer *args`. Return the exit code, and what was written to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.scripted", *args],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@NOBODY_READS
@pytest.mark.parametrize("is_buffered", [True, False], ids=["buffered", "unbuffered"])
def test_command_that_prints_ends_quietly(closed: Any, is_buffered: bool, rows: Path) -> None:
    """A short text is written to stdout only at the end of the process."""
    variables = {**environment(), "PYTHONUNBUFFERED": "" if is_buffered else "1"}
    with closed() as stdout:
        assert run(["show", str(rows)], variables, stdout=stdout) == (OUTPUT_CLOSED, "")


@NOBODY_READS
@pytest.mark.parametrize("args", [["engines"], ["infer", "--help"], ["infer", "--list"], ["--version"]])
def test_text_of_other_libraries_ends_quietly_too(closed: Any, args: list[str]) -> None:
    with closed() as stdout:
        assert run(args, environment(), stdout=stdout) == (OUTPUT_CLOSED, "")


def test_first_rows_of_a_long_file_are_enough(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [question(f"question {number}") for number in range(5_000)])
    command = f"{sys.executable} -m asyncinfer show {tmp_path / 'rows.jsonl'} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == str(OUTPUT_CLOSED)
    assert done.stderr == ""


@NOBODY_READS
def test_answers_of_a_run_end_quietly(closed: Any, job: Job) -> None:
    job.configure(output=False)
    with closed() as stdout:
        assert run(["infer", "-c", str(job.folder / "config.yaml")], job.environment(), stdout=stdout) == (
            OUTPUT_CLOSED,
            "",
        )


@NOBODY_READS
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_answer_to_a_question_ends_quietly(closed: Any, stream: str) -> None:
    args = ["ask", "-m", "m", "--api-url", "http://localhost:1", stream, "hello"]
    with closed() as stdout:
        assert run(args, {**environment(), "SCRIPT": "{}"}, stdout=stdout) == (OUTPUT_CLOSED, "")


@NOBODY_READS
@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1"}], ids=["plain", "forced colours"])
def test_run_that_writes_a_file_needs_no_reader_of_its_messages(
    closed: Any, colours: Mapping[str, str], job: Job
) -> None:
    args = ["infer", "-c", str(job.folder / "config.yaml")]
    with closed() as stream:
        code, _ = run(args, {**job.environment(), **colours}, stdout=stream, stderr=stream)
    assert code == 0
    assert len([Conversation.from_json(line) for line in job.output.read_bytes().splitlines()]) == job.rows


@pytest.mark.parametrize("args", [["engines"], ["--version"], ["engines", "--help"]])
@pytest.mark.parametrize("is_buffered", [True, False], ids=["buffered", "unbuffered"])
def test_full_disk_is_one_message(args: list[str], is_buffered: bool) -> None:
    with Path("/dev/full").open("w") as full:
        code, err = run(args, {**environment(), "PYTHONUNBUFFERED": "" if is_buffered else "1"}, stdout=full)
    assert (code, err.count("No space left on device")) == (3, 1), err
    assert "Traceback" not in err


def test_error_of_a_disk_is_no_closed_output(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not is_output_closed(OSError(errno.EIO, "I/O error"), file)
        assert not is_output_closed(OSError(errno.EPIPE, "Broken pipe"), file)
    with pipe_without_reader() as writer, os.fdopen(os.dup(writer), "w") as pipe:
        assert is_output_closed(OSError(errno.EPIPE, "Broken pipe"), pipe)
        assert not is_output_closed(OSError(errno.ENOSPC, "No space left on device"), pipe)
