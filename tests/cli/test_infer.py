"""`asyncinfer infer`, as a person or a script at the terminal meets it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Job
from tests.fakes import question, read_jsonl, write_jsonl


def answers(path: Path) -> list[object]:
    return [row["messages"][-1]["content"] for row in read_jsonl(path)]


class TestToAFile:
    def test_writes_every_answer_and_says_so(self, job: Job) -> None:
        ran = job.run()
        assert ran.code == 0, ran.err
        assert answers(job.output) == [f"answer to question {i}" for i in range(10)]
        told = dict(line.split(None, 1) for line in ran.err.splitlines())
        assert told["rows"].strip() == "10 of 10 finished"
        assert told["failures"].strip() == "0"
        assert told["tokens"].strip() == "30 in, 40 out"
        assert told.keys() >= {"tokens/s", "time", "output"}

    def test_stdout_is_for_data(self, job: Job) -> None:
        assert job.run().out == ""

    def test_colours_stay_out_of_pipes(self, job: Job) -> None:
        job.configure(output=False, fails="question 3")
        ran = job.run("--log-level", "debug")
        assert "\x1b" not in ran.out + ran.err

    def test_failed_rows_are_told_and_tried_again(self, job: Job) -> None:
        job.configure(fails="question 3")
        ran = job.run()
        assert ran.code == 1
        assert "row 3 failed: the server says no" in ran.err
        assert "again" in ran.err
        assert len(answers(job.output)) == 9
        job.configure()
        assert job.run().code == 0
        assert len(answers(job.output)) == 10
        assert job.asked().count("question 3") == 2
        assert len(job.asked()) == 11

    def test_rows_of_a_finished_job_are_sent_again_only_without_reuse(self, job: Job) -> None:
        assert job.run().code == 0
        again = job.run("--reuse")
        assert again.code == 0, again.err
        assert "(10 resumed)" in again.err
        assert len(job.asked()) == 10
        again = job.run()
        assert "already holds answers to 10 of these 10 rows" in again.err
        assert "--reuse" in again.err
        assert len(job.asked()) == 20

    def test_a_dead_engine(self, job: Job) -> None:
        job.configure(dies="question 3", workers=1)
        ran = job.run()
        assert ran.code == 1
        assert "the server room is on fire" in ran.err
        assert len(answers(job.output)) == 3

    def test_options_override_the_file(self, job: Job, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "other.jsonl", [question("a"), question("b")])
        job.configure(fails="b")
        ran = job.run(
            "--input_path", str(tmp_path / "other.jsonl"), "--output-path", str(tmp_path / "b.jsonl"),
            "--generation.max_new_tokens", "7", "--remote_params.num_workers=1",
        )  # fmt: skip
        assert ran.code == 1, ran.err
        assert answers(tmp_path / "b.jsonl") == ["answer to a"]

    def test_a_terminal_gets_a_live_display(self, job: Job) -> None:
        job.configure(seconds=0.05, workers=1)
        assert "━" in on_a_terminal(job)


class TestToTheTerminal:
    def test_answers_are_shown(self, job: Job) -> None:
        job.configure(output=False)
        ran = job.run()
        assert ran.code == 0
        rows = [json.loads(line) for line in ran.out.splitlines()]
        assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(10)]
        assert rows[0]["metadata"] == {
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "finish_reason": "stop",
            "row_key": rows[0]["metadata"]["row_key"],
        }

    def test_null_overrides_the_path(self, job: Job) -> None:
        assert len(job.run("--output_path", "null").out.splitlines()) == 10

    def test_people_see_text(self, job: Job) -> None:
        job.configure(output=False)
        shown = on_a_terminal(job)
        assert "answer to question 9" in shown
        assert "conversation_id" not in shown

    def test_a_reader_that_leaves_early_is_no_error_worth_a_word(self, job: Job) -> None:
        job.configure(output=False)
        command = f"{sys.executable} -m tests.cli.scripted infer -c {job.folder / 'config.yaml'} | head -c 1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, env=job.environment())
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


class TestMistakes:
    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["--generation.max_new_token", "3"], "did you mean 'max_new_tokens'?"),
            (["--generation.temperature", "hot"], "generation.temperature"),
            (["--generation.temperature", "-1"], "generation.temperature"),
            (["--engine", "LAMACPP"], "LLAMACPP"),
            (["--input_path", "nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file"),
            (["stray"], "stray"),
        ],
    )
    def test_are_named(self, job: Job, args: list[str], told: str) -> None:
        ran = job.run(*args)
        assert ran.code == 2, ran.err
        assert told in ran.err
        assert "Traceback" not in ran.err
        assert job.asked() == []

    def test_in_the_file_come_with_its_name(self, job: Job) -> None:
        path = job.folder / "config.yaml"
        path.write_text("generation: {max_new_token: 3}")
        ran = job.run()
        assert (ran.code, ran.out) == (2, "")
        assert f"{path}: generation.max_new_token: unknown key; did you mean 'max_new_tokens'?" in ran.err

    def test_bad_yaml(self, job: Job) -> None:
        (job.folder / "config.yaml").write_text("model: {model_name: [")
        ran = job.run()
        assert ran.code == 2
        assert f"{job.folder / 'config.yaml'}:1" in ran.err or "line 1" in ran.err

    def test_no_file(self, job: Job) -> None:
        (job.folder / "config.yaml").unlink()
        ran = job.run()
        assert ran.code == 2
        assert str(job.folder / "config.yaml") in ran.err

    def test_bad_rows_are_listed_and_nothing_is_run(self, job: Job) -> None:
        with (job.folder / "in.jsonl").open("a") as file:
            file.write('{"messages": []}\nnot json\n')
        ran = job.run()
        assert ran.code == 2
        assert "line 11: " in ran.err
        assert "line 12: " in ran.err
        assert job.asked() == []

    def test_an_output_that_cannot_be_written(self, job: Job) -> None:
        ran = job.run("--output_path", str(job.folder / "in.jsonl" / "out.jsonl"))
        assert ran.code == 2
        assert "output_path" in ran.err
        assert job.asked() == []

    def test_tracebacks_are_for_who_asks(self, job: Job) -> None:
        assert "Traceback" in job.run("--input_path", "nowhere.jsonl", "--verbose").err

    def test_nothing_to_run(self, job: Job) -> None:
        ran = job.run("--input_path", "null")
        assert (ran.code, ran.err) == (
            2,
            "asyncinfer: there is nothing to run: give --input_path FILE, or -i to chat\n",
        )


class TestChat:
    def test_answers_what_is_piped_in(self, job: Job) -> None:
        ran = job.run("-i", input="hello\n\nand you?\n")
        assert (ran.code, ran.out) == (0, "answer to hello\nanswer to and you?\n"), ran.err

    def test_takes_a_system_prompt_and_an_image(self, job: Job) -> None:
        ran = job.run("-i", "--system-prompt", "Arr", "--image", "https://example.com/a.png", input="hello\n")
        assert ran.out == "Arr: answer to hello\n", ran.err

    def test_an_error_ends_the_turn_and_not_the_chat(self, job: Job) -> None:
        job.configure(fails="no")
        ran = job.run("-i", input="no\nyes\n")
        assert "the server says no" in ran.err
        assert ran.out.strip() == "answer to yes"


def on_a_terminal(job: Job, *args: str) -> str:
    """What a run shows on a terminal."""
    ours, theirs = pty.openpty()
    with job.start(*args, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # Linux says so when the other side has closed.
            pass
        assert process.wait(60) == 0, shown.decode()
    os.close(ours)
    return shown.decode()
