"""Settings from overrides, from the command line, and from environment variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import ConfigError, InferenceConfig
from asyncinfer.config import parse_cli_overrides
from asyncinfer.config.overrides import override
from asyncinfer.config.variables import escaped, fill_in


class TestOverrides:
    def test_override_sets_the_value_at_its_path(self) -> None:
        config = InferenceConfig.from_str(
            "generation: {stop_strings: [x, y], logit_bias: {5: 1}}",
            [
                "generation.max_new_tokens=64",
                "generation.stop_strings.0=end",
                "generation.stop_strings[1]=stop",
                "generation.stop_token_ids=[1, 2]",
                "generation.logit_bias.5=2",
                "generation.top_p=null",
                "generation.temperature=1e-3",
                "model.model_kwargs.n_ctx=2048",
                "engine=LLAMACPP",
            ],
        )
        assert config.generation.max_new_tokens == 64
        assert config.generation.stop_strings == ["end", "stop"]
        assert config.generation.stop_token_ids == [1, 2]
        assert config.generation.logit_bias == {5: 2}
        assert config.generation.temperature == 0.001
        assert config.model.model_kwargs == {"n_ctx": 2048}

    @pytest.mark.parametrize(
        "name", ["input.path", "input_path", "output.path", "output_path", "cache_path", "report_path"]
    )
    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("*.parquet", "*.parquet"),
            ("data: new/a.jsonl", "data: new/a.jsonl"),
            ("{a,b}.csv", "{a,b}.csv"),
            ("@x #1", "@x #1"),
            ("2026", "2026"),
            ("'*.csv'", "*.csv"),
            ("null", None),
            ("", None),
        ],
    )
    def test_path_is_text(self, name: str, text: str, path: str | None) -> None:
        values: Any = override({}, [f"{name}={text}"])
        for part in name.split("."):
            values = values[part]
        assert values == path

    def test_option_for_a_path_without_its_value_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match="output.path"):
            InferenceConfig.from_str("", parse_cli_overrides(["--output.path"]))

    def test_overrides_are_applied_in_order(self) -> None:
        assert override({}, ["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}

    @given(
        st.lists(st.text("abc_", min_size=1), min_size=1, max_size=4),
        st.recursive(
            st.integers() | st.text("ab:#=é'\" ") | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=2)
        ),
    )
    def test_override_does_not_change_the_original_data(self, path: list[str], value: Any) -> None:
        data: dict[str, Any] = {"z": {"y": 1}}
        changed: Any = override(data, [f"{'.'.join(path)}={json.dumps(value, ensure_ascii=False)}"])
        for part in path:
            changed = changed[part]
        assert changed == value
        assert data == {"z": {"y": 1}}

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("engine", "override engine: write it as dotted.path=value"),
            ("=3", "write it as dotted.path=value"),
            ("a.0.x=1", "override a.0.x: the value above 'x' is a single value"),
            ("a.5=b", "override a.5: the list has no element '5' (its length is 1)"),
            ("a=[", "override a, line 1, column 2: not valid YAML"),
            ("a=@b", "text with special characters goes in quotes"),
        ],
    )
    def test_malformed_override_is_an_error(self, assignment: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            override({"a": ["x"]}, [assignment])
        assert message in str(caught.value)


class TestCommandLine:
    def test_arguments_become_overrides(self) -> None:
        args = ["--generation.seed", "-3", "--engine=VLLM", "--generation.use_sampling", "--model.model_name", "a=b"]
        assert parse_cli_overrides(args) == [
            "generation.seed=-3",
            "engine=VLLM",
            "generation.use_sampling=true",
            "model.model_name=a=b",
        ]

    @pytest.mark.parametrize(
        "value", ["- item {{ x }}", "-", "-1", "-item {{ x }}", "--- {{ x }}", "--as it is", "-- "]
    )
    @pytest.mark.parametrize("is_one_argument", [False, True])
    def test_value_may_begin_with_a_dash(self, value: str, is_one_argument: bool) -> None:
        args = [f"--input.prompt={value}"] if is_one_argument else ["--input.prompt", value]
        assert override({}, parse_cli_overrides([*args, "--engine", "VLLM"]))["input"]["prompt"] == value

    @pytest.mark.parametrize("name", ["input.prompt", "remote_params.api_key", "output.path"])
    @pytest.mark.parametrize("rest", [[], ["--engine", "VLLM"], ["--engine=VLLM"]])
    def test_text_without_its_value_is_an_error_that_says_how_to_write_a_dash(self, name: str, rest: list[str]) -> None:
        with pytest.raises(ConfigError, match=f"--{name} has no value.*write --{name}=VALUE"):
            parse_cli_overrides([f"--{name}", *rest])

    def test_value_that_looks_like_a_setting_needs_an_equals_sign(self) -> None:
        assert parse_cli_overrides(["--input.prompt=--verbose"]) == ["input.prompt=--verbose"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["stray"], "unexpected argument 'stray'; settings"),
            (["--engine", "VLLM", "stray"], "unexpected argument 'stray' after --engine;"),
            (["--remote_params.api_key", "a", "b-sekret"], "unexpected argument after --remote_params.api_key;"),
            (["-x", "1"], "'-x'"),
            (["--"], "'--'"),
        ],
    )
    def test_argument_that_belongs_to_no_option_is_an_error(self, args: list[str], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_cli_overrides(args)
        assert message in str(caught.value)

    def test_option_without_its_value_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match="override generation.max_new_tokens: should be a number"):
            InferenceConfig.from_str("", parse_cli_overrides(["--generation.max_new_tokens"]))


class TestVariables:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("${A}", "1"),
            ("x-${A}-${A}", "x-1-1"),
            ("${oc.env:A}", "1"),
            ("${oc.env:B,2}", "2"),
            ("${B:-2}", "2"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-2}", "2"),
            (r"\${A}", "${A}"),
            ("$A $", "$A $"),
            ("{{ ${x.y} }}", "{{ ${x.y} }}"),
            ("Call me ${name}.", "Call me ${name}."),
            ("${A} and ${name}", "1 and ${name}"),
            ("`${a,b}` ${f(x)} ${} ${1}", "`${a,b}` ${f(x)} ${} ${1}"),
            ("${oc.env:A} ${name:-Ann}", "1 Ann"),
        ],
    )
    def test_variable_is_filled_in(self, written: str, read: str) -> None:
        environ = {"A": "1", "EMPTY": ""}
        assert fill_in({"k": [written, 3]}, environ) == ({"k": [read, 3]}, {})

    def test_variable_in_an_override_is_filled_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENS", "64")
        config = InferenceConfig.from_str("", ["generation.max_new_tokens=${TOKENS}"])
        assert config.generation.max_new_tokens == 64

    def test_message_names_an_unset_variable_and_its_place(self) -> None:
        _, unset = fill_in({"a": ["${NO}"]}, {})
        assert unset == {("a", 0): "a.0: the environment variable NO is not set"}

    @pytest.mark.parametrize(
        "place",
        [
            ("remote_params", "api_url"),
            ("remote_params", "headers", "X-Gateway"),
            ("input_path",),
            ("output_path",),
            ("model", "model_name"),
            ("model", "adapter_model"),
            ("model", "model_kwargs", "token"),
        ],
        ids=".".join,
    )
    def test_unset_variable_within_the_name_of_something_is_a_mistake(self, place: tuple[str, ...]) -> None:
        data: object = "a-${NO}-b"
        for key in reversed(place):
            data = {key: data}
        assert fill_in(data, {})[1] == {place: f"{'.'.join(place)}: the environment variable NO is not set"}

    @pytest.mark.parametrize("text", ["${oc.env:NO}", "a ${oc.env:NO} b", "${NO}", " ${NO}\n"])
    def test_explicit_variable_must_be_set_everywhere(self, text: str) -> None:
        assert list(fill_in({"generation": {"stop_strings": [text]}}, {})[1]) == [("generation", "stop_strings", 0)]

    def test_config_keeps_the_variables_of_a_template(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in Oumi. The text is the same after the config is written and read again."""
        monkeypatch.delenv("user", raising=False)
        text = "Hello ${user}, {{ messages }}"
        config = InferenceConfig.from_str(
            f"model: {{chat_template: '{text}'}}\ngeneration: {{stop_strings: ['a ${{user}}']}}"
        )
        assert config.model.chat_template == text
        assert config.generation.stop_strings == ["a ${user}"]
        config.to_yaml(tmp_path / "config.yaml")
        assert InferenceConfig.from_yaml(tmp_path / "config.yaml") == config

    def test_value_of_a_variable_is_not_parsed_as_yaml(self) -> None:
        assert fill_in("${A}", {"A": "{x: 1}"}) == ("{x: 1}", {})

    @given(st.text("$\\{}AB:-", max_size=20))
    def test_escaped_text_is_not_filled_in(self, text: str) -> None:
        assert fill_in(escaped([text]), {"A": "1"}) == ([text], {})
