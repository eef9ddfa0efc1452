"""`asyncinfer show`: the rows of a run, finished or not."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from typer.testing import CliRunner, Result

from asyncinfer import Conversation
from asyncinfer.cli.app import app
from asyncinfer.cli.show import row_text
from asyncinfer.data.layout import output_layout
from asyncinfer.data.row_writer import RowWriter, row_writer
from asyncinfer.scratch.file import lock_path
from asyncinfer.scratch.format import encode
from tests.cli.conftest import ROOT, Job, environment
from tests.fakes import question, write_jsonl


def show(*args: object) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, args)])


def answered(number: int) -> Conversation:
    messages = [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"answer {number}"}]
    metadata = {"finish_reason": "stop", "usage": {"completion_tokens": 4}}
    return Conversation.from_dict({"conversation_id": f"q{number}", "messages": messages, "metadata": metadata})


def saved(number: int) -> bytes:
    """A line of a scratch file."""
    return encode(bytes(15) + bytes([number]), 0, 1, answered(number).to_json_bytes())


@contextmanager
def row_file(path: Path, columns: list[str]) -> Generator[RowWriter]:
    """A file of rows, in the format of its extension."""
    kinds = {"text": pyarrow.string()}
    fields = [pyarrow.field(name, kinds.get(name, pyarrow.int64())) for name in columns]
    layout = output_layout(str(path), None)._replace(has_rows=True)
    with path.open("wb") as file, row_writer(file, layout, columns, fields) as writer:
        yield writer


def scratch_of(output: Path) -> Path:
    path = output.parent / "scratch" / output.name
    path.parent.mkdir(exist_ok=True)
    return path


def test_rows_of_an_output_are_shown(tmp_path: Path) -> None:
    output = write_jsonl(tmp_path / "out.jsonl", [answered(0), answered(1)])
    done = show(output)
    assert done.exit_code == 0
    assert done.stdout == (
        "--- q0, stop, 4 tokens\nuser: question 0\nassistant: answer 0\n\n"
        "--- q1, stop, 4 tokens\nuser: question 1\nassistant: answer 1\n\n"
    )


def test_saved_rows_are_shown_while_there_is_no_output(tmp_path: Path) -> None:
    scratch_of(tmp_path / "out.jsonl").write_bytes(saved(0) + saved(1) + saved(2)[:50])
    for path in (tmp_path / "out.jsonl", tmp_path / "scratch" / "out.jsonl"):
        assert show(path).stdout.count("---") == 2


def test_failures_are_those_of_the_file_beside_the_output(tmp_path: Path) -> None:
    output = write_jsonl(tmp_path / "out.jsonl", [answered(0)])
    failed = question("question 1", metadata={"failure": {"row": 1, "error_message": "the server says no"}})
    write_jsonl(tmp_path / "out.jsonl.failures.jsonl", [failed])
    expected = "--- row 1, failed\nuser: question 1\nfailure: the server says no\n\n"
    assert show(output, "--failures").stdout == expected
    assert show(tmp_path / "out.jsonl.failures.jsonl").stdout == expected


def test_output_without_failures_says_so(tmp_path: Path) -> None:
    done = show(write_jsonl(tmp_path / "out.jsonl", [answered(0)]), "--failures")
    assert done.stdout == ""
    assert "out.jsonl: no failed rows" in done.stderr


def test_limit_and_json(tmp_path: Path) -> None:
    output = write_jsonl(tmp_path / "out.jsonl", [answered(number) for number in range(5)])
    rows = [json.loads(line) for line in show(output, "-n", 2, "--json").stdout.splitlines()]
    assert [row["conversation_id"] for row in rows] == ["q0", "q1"]


def test_following_shows_rows_as_they_are_saved_until_the_run_ends(tmp_path: Path) -> None:
    scratch = scratch_of(tmp_path / "out.jsonl")
    scratch.write_bytes(saved(0) + saved(1)[:40])
    lock_path(scratch).touch()
    write_jsonl(tmp_path / "out.jsonl", [answered(7)])  # Of an earlier run.
    command = [sys.executable, "-m", "asyncinfer", "show", "--follow", str(tmp_path / "out.jsonl")]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment() | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        guard = threading.Timer(60, process.kill)
        guard.start()
        shown = [process.stdout.readline() for _ in range(4)]
        with scratch.open("ab") as file:
            file.write(saved(1)[40:])
        shown += [process.stdout.readline() for _ in range(4)]
        with scratch.open("ab") as file:
            file.write(saved(2))
        scratch.unlink()
        shown += process.stdout.readlines()
        guard.cancel()
    assert process.returncode == 0
    assert [line for line in shown if line.startswith("assistant")] == [f"assistant: answer {n}\n" for n in range(3)]


def test_following_a_finished_output_ends_at_once(tmp_path: Path) -> None:
    output = write_jsonl(tmp_path / "out.jsonl", [answered(0)])
    scratch_of(output).write_bytes(saved(0))  # It stays if rows have failed.
    assert show(output, "--follow").stdout.count("---") == 1


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    assert show(tmp_path / "none.jsonl").exit_code == 2


def test_lines_that_are_no_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_bytes(b"[1]\nnot json\n" + answered(0).to_json_bytes() + b"\n")
    done = show(tmp_path / "out.jsonl")
    assert done.stdout.count("---") == 1
    assert "2 line(s) that are no rows" in done.stderr


COLUMNS = "--- row 0\nid: 7\ntext: good\nstars: 5\n\n--- row 1\nid: 8\ntext: \nstars: 1\n\n"


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.csv.gz", "out.parquet"])
def test_rows_of_columns_are_shown_in_every_format(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [{"id": 7, "text": "good", "stars": 5}, {"id": 8, "text": None, "stars": 1}]
    with row_file(tmp_path / name, ["id", "text", "stars"]) as writer:
        for row in rows:
            writer.write(row)
    assert show(tmp_path / name).stdout == COLUMNS
    assert show(tmp_path / name, "--follow").stdout == COLUMNS
    assert json.loads(show(tmp_path / name, "--json", "-n", 1).stdout)["text"] == "good"


def test_compressed_conversations_are_shown_as_plain_ones(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.gz").write_bytes(gzip.compress(answered(0).to_json_bytes() + b"\n"))
    assert show(tmp_path / "out.jsonl.gz").stdout == "--- q0, stop, 4 tokens\nuser: question 0\nassistant: answer 0\n\n"


def test_following_ends_when_the_run_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncinfer.cli.show._INTERVAL", 0)
    scratch = scratch_of(tmp_path / "out.jsonl")
    scratch.write_bytes(saved(0))
    lock_path(scratch).touch()  # A killed process leaves it, and nobody holds it.
    done = show(tmp_path / "out.jsonl", "--follow")
    assert done.stdout.count("---") == 1
    assert "was killed. To go on, run its command again" in done.stderr


def test_following_waits_for_a_run_that_has_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(_: float) -> None:
        write_jsonl(tmp_path / "out.jsonl", [answered(0)])

    monkeypatch.setattr("asyncinfer.cli.show.time.sleep", begin)
    done = show(tmp_path / "out.jsonl", "--follow")
    assert done.stdout.count("---") == 1
    assert done.stderr.count("Waiting for one") == 1


def test_control_characters_of_an_answer_are_removed() -> None:
    text = row_text(Conversation.from_dict({"messages": [{"role": "assistant", "content": "a\x1b[2Jb"}]}))
    assert text == "--- \nassistant: a[2Jb\n"


@pytest.mark.slow
def test_limit_runs_the_first_rows(job: Job) -> None:
    done = job.run("--limit", "3")
    assert done.code == 0, done.err
    assert sorted(job.requests()) == ["question 0", "question 1", "question 2"]
    assert len(job.output.read_text().splitlines()) == 3
