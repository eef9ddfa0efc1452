"""`asyncinfer infer`: its output, exit codes, messages and options."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asyncinfer import Conversation
from asyncinfer.cli.examples import config_path
from tests.cli.conftest import ROOT, Job
from tests.cli.terminal import all_shown
from tests.fakes import question, questions, read_jsonl, write_jsonl


def answers(path: Path) -> list[object]:
    return [row["messages"][-1]["content"] for row in read_jsonl(path)]


class TestOutputFile:
    def test_every_answer_is_written_and_a_summary_is_printed(self, job: Job) -> None:
        done = job.run()
        assert done.code == 0, done.err
        assert answers(job.output) == [f"answer to question {i}" for i in range(10)]
        summary = dict(line.split(None, 1) for line in done.err.splitlines())
        assert summary["rows"].strip() == "10 of 10 finished"
        assert summary["failures"].strip() == "0"
        assert summary["tokens"].strip() == "30 in, 40 out"
        assert summary.keys() >= {"tokens/s", "time", "output"}

    def test_nothing_is_printed_to_stdout(self, job: Job) -> None:
        assert job.run().out == ""

    def test_output_to_a_pipe_has_no_colours(self, job: Job) -> None:
        job.configure(output=False, fails="question 3")
        done = job.run("--log-level", "debug")
        assert "\x1b" not in done.out + done.err

    def test_failed_rows_are_reported_and_retried_by_the_next_run(self, job: Job) -> None:
        job.configure(fails="question 3")
        done = job.run()
        assert done.code == 1
        assert "row 3 failed: the server says no" in done.err
        assert "again" in done.err
        assert len(answers(job.output)) == 9
        job.configure()
        assert job.run().code == 0
        assert len(answers(job.output)) == 10
        assert job.requests().count("question 3") == 2
        assert len(job.requests()) == 11

    def test_rows_of_a_finished_job_are_sent_again_only_without_reuse(self, job: Job) -> None:
        assert job.run().code == 0
        again = job.run("--reuse")
        assert again.code == 0, again.err
        assert "(10 resumed)" in again.err
        assert len(job.requests()) == 10
        again = job.run()
        assert "already holds answers to 10 of these 10 rows" in again.err
        assert "--reuse" in again.err
        assert len(job.requests()) == 20

    def test_dead_engine_ends_the_run_and_keeps_the_answers(self, job: Job) -> None:
        job.configure(dies="question 3", workers=1)
        done = job.run()
        assert done.code == 1
        assert "the server room is on fire" in done.err
        assert len(answers(job.output)) == 3

    def test_options_override_the_configuration_file(self, job: Job, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "other.jsonl", [question("a"), question("b")])
        job.configure(fails="b")
        done = job.run(
            "--input_path", str(tmp_path / "other.jsonl"), "--output-path", str(tmp_path / "b.jsonl"),
            "--generation.max_new_tokens", "7", "--remote_params.num_workers=1",
        )  # fmt: skip
        assert done.code == 1, done.err
        assert answers(tmp_path / "b.jsonl") == ["answer to a"]

    def test_terminal_shows_a_progress_bar(self, job: Job) -> None:
        job.configure(seconds=0.05, workers=1)
        assert "━" in on_a_terminal(job)

    def test_narrow_terminal_shows_the_bar_and_all_counts(self, job: Job) -> None:
        job.configure(seconds=0.05, workers=1, cut="question 2", busy="question 4")
        shown = on_a_terminal(job, columns=60)
        assert "━━━" in shown
        assert "1 cut by length" in shown
        assert "1 refused" in shown


class TestSummary:
    def test_failed_rows_are_in_a_file_that_the_summary_names(self, job: Job) -> None:
        job.configure(fails="question 3")
        done = job.run()
        file = job.folder / "out.jsonl.failures.jsonl"
        assert str(file) in done.err
        [row] = read_jsonl(file)
        assert (row["conversation_id"], row["metadata"]["failure"]["status_code"]) == ("q3", 400)

    def test_rows_that_fail_again_are_not_to_be_run_again_unchanged(self, job: Job) -> None:
        job.configure(fails="question 3")
        assert "fail again until you correct them" in job.run().err

    def test_rows_that_may_succeed_are_to_be_run_again(self, job: Job) -> None:
        job.configure(fails="question 3", again=True)
        done = job.run("--remote_params.max_retries", "0")
        assert "Run the same command again to retry" in done.err

    def test_cut_refused_retried_and_resumed_rows_are_counted(self, job: Job) -> None:
        job.configure(cut="question 2", busy="question 4", fails="question 3")
        first = job.run()
        assert "cut by length  1 answer(s); see generation.max_new_tokens" in first.err
        assert "requests       11, of which 1 refused, 1 retried" in first.err
        job.configure()
        assert "(9 resumed)" in job.run().err

    def test_commonest_reason_of_failures_is_named(self, job: Job) -> None:
        job.configure(dies="question 0", workers=1)
        assert "10 of them: the server room is on fire" in job.run().err

    def test_output_that_will_be_replaced_is_named_before_the_run(self, job: Job) -> None:
        job.output.write_text("my notes\n")
        job.configure(seconds=0.5)
        with job.start() as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert not job.output.read_text().startswith("{")
            process.communicate(timeout=60)
        assert f"{job.output} holds content that is not from a run. That is lost when the file is replaced" in first

    def test_answers_on_stdout_come_with_the_same_counts(self, job: Job) -> None:
        job.configure(output=False, cut="question 2")
        assert "10 rows finished, 40 tokens, " in (err := job.run().err)
        assert "1 cut by length" in err


class TestLogs:
    def test_each_record_in_a_file_is_one_line_with_time_and_level(self, job: Job) -> None:
        job.output.write_text("my notes\n")
        with (job.folder / "log").open("w") as log, job.start(stderr=log) as process:
            process.wait(60)
        line = (job.folder / "log").read_text().splitlines()[0]
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d WARNING /", line)
        assert line.endswith("or choose another output_path.")

    def test_json_format_makes_every_line_an_object(self, job: Job) -> None:
        job.output.write_text("my notes\n")
        job.configure(fails="question 3")
        done = job.run("--log-format", "json", "--verbose")
        lines = [json.loads(line) for line in done.err.splitlines()]
        assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
        assert lines[0]["level"] == "WARNING"
        [summary] = [line["summary"] for line in lines if "summary" in line]
        assert (summary["completed"], summary["failed"]) == (9, 1)

    def test_json_format_applies_to_errors(self, job: Job) -> None:
        done = job.run("--log-format", "json", "--input_path", "nowhere.jsonl")
        [line] = [json.loads(line) for line in done.err.splitlines()]
        assert (line["level"], done.code) == ("ERROR", 2)
        assert line["message"].startswith("nowhere.jsonl: cannot be read")

    def test_json_format_applies_to_interrupted_runs(self, job: Job) -> None:
        job.configure(seconds=0.3, workers=1)
        with job.start("--log-format", "json") as process:
            while not job.requests():
                time.sleep(0.01)
            process.terminate()
            _, err = process.communicate(timeout=60)
        lines = [json.loads(line) for line in err.splitlines()]
        assert [line["level"] for line in lines] == ["INFO", "ERROR"]
        assert (lines[-1]["error"], lines[-1]["exit_code"]) == ("RunInterruptedError", 130)
        assert lines[-1]["summary"]["total"] == 10

    def test_unknown_log_format_is_an_error(self, job: Job) -> None:
        done = job.run("--log-format", "xml")
        assert done.code == 2
        assert "should be text or json" in done.err


class TestWithoutOutputFile:
    def test_answers_are_printed_as_json_lines(self, job: Job) -> None:
        job.configure(output=False)
        done = job.run()
        assert done.code == 0
        rows = [json.loads(line) for line in done.out.splitlines()]
        assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(10)]
        assert rows[0]["metadata"] == {
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "finish_reason": "stop",
            "row_key": rows[0]["metadata"]["row_key"],
        }

    def test_output_path_null_prints_the_answers(self, job: Job) -> None:
        assert len(job.run("--output_path", "null").out.splitlines()) == 10

    def test_terminal_shows_answers_as_text(self, job: Job) -> None:
        job.configure(output=False)
        shown = on_a_terminal(job)
        assert "answer to question 9" in shown
        assert "conversation_id" not in shown

    def test_answers_on_a_terminal_have_no_control_characters(self, job: Job) -> None:
        job.configure(output=False, text="a\x1b]0;owned\x07b")
        shown = on_a_terminal(job)
        assert "a]0;ownedb" in shown
        assert "\x1b]0;owned" not in shown

    def test_closed_pipe_prints_no_error(self, job: Job) -> None:
        job.configure(output=False)
        command = f"{sys.executable} -m tests.cli.scripted infer -c {job.folder / 'config.yaml'} | head -c 1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, env=job.environment())
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


class TestErrors:
    @pytest.mark.parametrize("output", [True, False])
    def test_row_with_an_unreadable_image_is_one_failed_row(self, job: Job, output: bool) -> None:
        job.configure(output=output)
        item = {"type": "image_path", "content": str(job.folder / "none.png")}
        bad = Conversation.from_dict({"messages": [{"role": "user", "content": [item]}]})
        write_jsonl(job.folder / "in.jsonl", [*questions(2), bad])
        done = job.run()
        assert (done.code, len(job.requests())) == (1, 2)
        assert "none.png" in done.err + done.out
        assert len(job.output.read_text().splitlines() if output else done.out.splitlines()) == 2

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--generation.max_new_token", "3"], "did you mean 'max_new_tokens'?"),
            (["--generation.temperature", "hot"], "generation.temperature"),
            (["--generation.temperature", "-1"], "generation.temperature"),
            (["--engine", "LAMACPP"], "LLAMACPP"),
            (["--input_path", "nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file"),
            (["stray"], "stray"),
        ],
    )
    def test_wrong_option_is_named(self, job: Job, args: list[str], message: str) -> None:
        done = job.run(*args)
        assert done.code == 2, done.err
        assert message in done.err
        assert "Traceback" not in done.err
        assert job.requests() == []

    def test_error_in_the_configuration_names_the_file(self, job: Job) -> None:
        path = job.folder / "config.yaml"
        path.write_text("generation: {max_new_token: 3}")
        done = job.run()
        assert (done.code, done.out) == (2, "")
        assert f"{path}: generation.max_new_token: unknown key; did you mean 'max_new_tokens'?" in done.err

    def test_error_of_broken_yaml_names_the_line(self, job: Job) -> None:
        (job.folder / "config.yaml").write_text("model: {model_name: [")
        done = job.run()
        assert done.code == 2
        assert f"{job.folder / 'config.yaml'}:1" in done.err or "line 1" in done.err

    def test_missing_configuration_file_is_named(self, job: Job) -> None:
        (job.folder / "config.yaml").unlink()
        done = job.run()
        assert done.code == 2
        assert str(job.folder / "config.yaml") in done.err

    def test_bad_rows_are_listed_and_no_request_is_sent(self, job: Job) -> None:
        with (job.folder / "in.jsonl").open("a") as file:
            file.write('{"messages": []}\nnot json\n')
        done = job.run()
        assert done.code == 2
        assert "line 11: " in done.err
        assert "line 12: " in done.err
        assert job.requests() == []

    def test_output_path_that_cannot_be_written_is_an_error(self, job: Job) -> None:
        done = job.run("--output_path", str(job.folder / "in.jsonl" / "out.jsonl"))
        assert done.code == 2
        assert "output_path" in done.err
        assert job.requests() == []

    @pytest.mark.parametrize(("output", "code"), [(True, 2), (False, 1)])
    def test_wrong_key_is_named_once(self, job: Job, output: bool, code: int) -> None:
        job.configure(output=output, wrong_key=True)
        done = job.run()
        assert (done.code, done.err.count("the key is wrong")) == (code, 1), done.err

    def test_verbose_shows_the_traceback(self, job: Job) -> None:
        assert "Traceback" in job.run("--input_path", "nowhere.jsonl", "--verbose").err

    def test_run_without_input_says_what_to_pass(self, job: Job) -> None:
        done = job.run("--input_path", "null")
        assert (done.code, done.err) == (
            2,
            "asyncinfer: there is nothing to run: give --input_path FILE, or -i to chat\n",
        )


class TestConfiguration:
    def test_examples_are_listed_and_accepted_by_name(self, job: Job) -> None:
        listed = job.run("--list")
        assert listed.code == 0
        names = [line.split()[0] for line in listed.out.splitlines()]
        assert names == [path.stem for path in sorted((ROOT / "examples").glob("*.yaml"))]
        assert config_path("quickstart") == config_path("QuickStart") == str(ROOT / "examples" / "quickstart.yaml")

    def test_file_takes_precedence_over_an_example(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "quickstart").touch()
        assert config_path("quickstart") == "quickstart"
        assert config_path("no-such-name") == "no-such-name"

    def test_settings_need_no_file(self, job: Job) -> None:
        done = chat_without_file(job, "--engine", "REMOTE", "--model.model_name", "m")
        assert (done.returncode, done.stdout) == (0, "answer to hello\n"), done.stderr

    @pytest.mark.parametrize("system", ["--system", "--system-prompt", "--system_prompt"])
    def test_options_have_the_names_that_ask_has(self, job: Job, system: str) -> None:
        images = ["--image", "https://example.com/a.png", "--image", "https://example.com/b.png"]
        done = chat_without_file(job, "-e", "remote", "-m", "7", *images, system, "Arr")
        assert (done.returncode, done.stdout) == (0, "Arr: answer to hello\n"), done.stderr

    def test_chat_without_file_and_settings_is_an_error(self, job: Job) -> None:
        done = chat_without_file(job)
        assert (done.returncode, done.stderr) == (
            2,
            "asyncinfer: there is no configuration: give -c FILE, or settings such as --engine VLLM\n",
        )


class TestChat:
    def test_each_piped_line_is_answered(self, job: Job) -> None:
        done = job.run("-i", input="hello\n\nand you?\n")
        assert (done.code, done.out) == (0, "answer to hello\nanswer to and you?\n"), done.err

    def test_file_on_the_command_line_is_answered_instead(self, job: Job) -> None:
        done = job.run("-i", "--input_path", str(job.folder / "in.jsonl"), input="hello\n")
        assert done.code == 0, done.err
        assert "--interactive has no effect with --input_path" in done.err
        assert (len(answers(job.output)), done.out) == (10, "")

    def test_system_prompt_and_image_are_sent(self, job: Job) -> None:
        done = job.run("-i", "--system-prompt", "Arr", "--image", "https://example.com/a.png", input="hello\n")
        assert done.out == "Arr: answer to hello\n", done.err

    def test_help_in_a_pipe_describes_no_keys(self, job: Job) -> None:
        done = job.run("-i", input="/help\n/quit\nhello\n")
        assert (done.code, done.out) == (0, "")
        for command in ("/reset", "/exit", "/quit", "/help"):
            assert command in done.err
        assert "Alt-Enter" not in done.err

    def test_error_of_one_turn_does_not_end_the_chat(self, job: Job) -> None:
        job.configure(fails="no")
        done = job.run("-i", input="no\nyes\n")
        assert "the server says no" in done.err
        assert done.out.strip() == "answer to yes"

    def test_piped_question_without_an_answer_is_in_the_exit_code(self, job: Job) -> None:
        job.configure(fails="no")
        assert job.run("-i", input="no\nyes\n").code == 1
        assert job.run("-i", input="yes\n").code == 0

    def test_bytes_that_are_no_utf8_do_not_end_the_chat(self, job: Job, tmp_path: Path) -> None:
        (tmp_path / "questions").write_bytes(b"\xef\xbb\xbfh\xe9llo\nyou?\n")
        with (tmp_path / "questions").open() as lines, job.start("-i", stdin=lines) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "answer to h\ufffdllo\nanswer to you?\n"), err

    def test_answer_that_was_cut_is_named_on_stderr_only(self, job: Job) -> None:
        job.configure(cut="long")
        done = job.run("-i", input="long\n")
        assert (done.code, done.out) == (0, "answer to long\n")
        assert "generation.max_new_tokens" in done.err


def chat_without_file(job: Job, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `asyncinfer infer -i *args` with one message."""
    command = [sys.executable, "-m", "tests.cli.scripted", "infer", "-i", *args]
    return subprocess.run(
        command, cwd=ROOT, env=job.environment(), input="hello\n", capture_output=True, text=True, timeout=60
    )


def on_a_terminal(job: Job, *args: str, columns: int = 200) -> str:
    """Run a job on a pseudo-terminal, and return what it shows."""
    ours, theirs = pty.openpty()
    environment = {**job.environment(), "COLUMNS": str(columns)}
    with job.start(*args, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = all_shown(ours)
        assert process.wait(60) == 0, shown
    os.close(ours)
    return shown
