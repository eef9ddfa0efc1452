"""The settings `input` and `output`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceConfig, InputParams, OutputParams
from asyncinfer.config.overrides import mask_arguments


def test_paths_of_the_groups_are_those_of_the_run() -> None:
    config = InferenceConfig.from_str("{input: {path: a.csv}, output: {path: b.parquet}}")
    assert (config.input_path, config.output_path) == ("a.csv", "b.parquet")
    assert InferenceConfig(input=InputParams(path=Path("a.csv"))).input_path == "a.csv"


def test_a_path_may_be_given_in_both_places() -> None:
    config = InferenceConfig.from_str("{input_path: a.csv, input: {path: a.csv}}")
    assert config.input_path == "a.csv"


def test_two_paths_are_an_error() -> None:
    with pytest.raises(ConfigError, match="input.path and input_path name different files"):
        InferenceConfig.from_str("{input_path: a.csv, input: {path: b.csv}}")


@pytest.mark.parametrize(
    ("yaml", "override"),
    [
        ("{input: {path: a.csv, prompt: x}}", "input_path=b.csv"),
        ("{input_path: a.csv, input: {prompt: x}}", "input.path=b.csv"),
        ("{input_path: a.csv}", "input={path: b.csv, prompt: x}"),
        ("{input: {path: a.csv, prompt: x}}", "input.path=b.csv"),
    ],
)
def test_override_of_a_path_replaces_it_under_both_names(yaml: str, override: str) -> None:
    config = InferenceConfig.from_str(yaml, [override])
    assert config.input_path == "b.csv"
    assert config.input is not None
    assert config.input.prompt == "x"


def test_override_can_take_a_path_away() -> None:
    assert InferenceConfig.from_str("{output: {path: a.csv}}", ["output_path=null"]).output_path is None


def test_settings_survive_yaml() -> None:
    config = InferenceConfig(
        input=InputParams(path="a.csv", prompt="Say: {{ text }}\n", keep=["id"]), output=OutputParams(path="b.parquet")
    )
    text = io.StringIO()
    config.to_yaml(text)
    assert InferenceConfig.from_str(text.getvalue()) == config


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("input: {promt: a}", r"input.promt: unknown key; did you mean 'prompt'\?"),
        ("input: {prompt: '{{ a }'}", "input.prompt: not a valid Jinja template: line 1"),
        ('input: {prompt: "a\\n{{ b", path: a.csv}', "input.prompt: not a valid Jinja template: line 2"),
        ("input: {format: xls}", "input.format: should be 'jsonl', 'csv', .*found 'xls'"),
        ("input: {system: a}", "input: system needs a prompt"),
        ("input: {images: a}", "input: images needs a prompt"),
        ("input: {generation: {temprature: a}}", "input.generation: temprature is no .*; did you mean 'temperature'"),
        ("input: {delimiter: '||'}", "input.delimiter: "),
        ("output: {format: csv, rows: false}", "output: rows: a csv file cannot hold conversations"),
    ],
)
def test_wrong_setting_is_named_with_file_and_key(tmp_path: Path, yaml: str, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml)
    with pytest.raises(ConfigError, match=f"job.yaml: {message}"):
        InferenceConfig.from_yaml(path)


@pytest.mark.parametrize(
    "prompt",
    [
        "Summarise: {{ text }}",
        "{{ text }}",
        "{% if a %}b{% endif %}",
        '"{{ a }}" and "{{ b }}"',
        "- {{ a }}: # b",
        "123",
        "[{{ a }}]",
        "yes",
    ],
)
def test_prompt_in_an_override_is_text_and_not_yaml(prompt: str) -> None:
    config = InferenceConfig.from_str("{}", [f"input.prompt={prompt}"])
    assert config.input is not None
    assert config.input.prompt == prompt


def test_quoted_prompt_in_an_override_is_read_as_in_yaml() -> None:
    config = InferenceConfig.from_str("{}", ['input.prompt="a\\n{{ b }}"'])
    assert config.input is not None
    assert config.input.prompt == "a\n{{ b }}"


@pytest.mark.parametrize("arguments", [["--input.prompt", "{{ text }}"], ["--input.prompt={{ text }}"]])
def test_command_that_resumes_shows_the_prompt(arguments: list[str]) -> None:
    assert mask_arguments(arguments) == arguments


def test_environment_variables_do_not_touch_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("text", raising=False)
    config = InferenceConfig.from_str('input: {prompt: "${text} costs {{ price }} $"}')
    assert config.input is not None
    assert config.input.prompt == "${text} costs {{ price }} $"


def test_a_column_to_keep_is_named_once() -> None:
    with pytest.raises(ConfigError, match=r"input\.keep: the column 'id' occurs twice; name each column once"):
        InferenceConfig.from_str("{}", ["input.keep=[id, a, id]"])
    with pytest.raises(ConfigError, match="the column 'id' occurs twice"):
        InputParams(keep=["id", "id"])
