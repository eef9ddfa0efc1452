"""Settings from the command line, and from the environment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import ConfigError, InferenceConfig
from asyncinfer.config import parse_cli_overrides
from asyncinfer.config.overrides import override
from asyncinfer.config.variables import escaped, fill_in


class TestOverrides:
    def test_set_what_they_name(self) -> None:
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

    def test_come_one_after_the_other(self) -> None:
        assert override({}, ["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}

    @given(
        st.lists(st.text("abc_", min_size=1), min_size=1, max_size=4),
        st.recursive(
            st.integers() | st.text("ab:#=é'\" ") | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=2)
        ),
    )
    def test_leave_the_original_as_it_was(self, path: list[str], value: Any) -> None:
        data: dict[str, Any] = {"z": {"y": 1}}
        changed: Any = override(data, [f"{'.'.join(path)}={json.dumps(value, ensure_ascii=False)}"])
        for part in path:
            changed = changed[part]
        assert changed == value
        assert data == {"z": {"y": 1}}

    @pytest.mark.parametrize(
        ("assignment", "said"),
        [
            ("engine", "override engine: write it as dotted.path=value"),
            ("=3", "write it as dotted.path=value"),
            ("a.0.x=1", "override a.0.x: what is above 'x' is a single value"),
            ("a.5=b", "override a.5: the list there has 1 elements, and no '5'"),
            ("a=[", "override a, line 1, column 2: not valid YAML"),
            ("a=@b", "text with special characters goes in quotes"),
        ],
    )
    def test_that_lead_nowhere(self, assignment: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            override({"a": ["x"]}, [assignment])
        assert said in str(caught.value)


class TestTheCommandLine:
    def test_gives_overrides(self) -> None:
        args = ["--generation.seed", "-3", "--engine=VLLM", "--generation.use_sampling", "--model.model_name", "a=b"]
        assert parse_cli_overrides(args) == [
            "generation.seed=-3",
            "engine=VLLM",
            "generation.use_sampling=true",
            "model.model_name=a=b",
        ]

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["stray"], "unexpected argument 'stray'; settings"),
            (["--engine", "VLLM", "stray"], "unexpected argument 'stray' after --engine;"),
            (["--remote_params.api_key", "a", "b-sekret"], "unexpected argument after --remote_params.api_key;"),
            (["-x", "1"], "'-x'"),
            (["--"], "'--'"),
        ],
    )
    def test_has_no_stray_arguments(self, args: list[str], said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_cli_overrides(args)
        assert said in str(caught.value)

    def test_notices_a_forgotten_value(self) -> None:
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
        ],
    )
    def test_are_filled_in(self, written: str, read: str) -> None:
        environ = {"A": "1", "EMPTY": ""}
        assert fill_in({"k": [written, 3]}, environ) == ({"k": [read, 3]}, {})

    def test_work_in_overrides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENS", "64")
        config = InferenceConfig.from_str("", ["generation.max_new_tokens=${TOKENS}"])
        assert config.generation.max_new_tokens == 64

    def test_that_are_not_set_are_named_with_their_place(self) -> None:
        _, unset = fill_in({"a": ["${NO}"]}, {})
        assert unset == {("a", 0): "a.0: the environment variable NO is not set"}

    def test_hold_text_not_yaml(self) -> None:
        assert fill_in("${A}", {"A": "{x: 1}"}) == ("{x: 1}", {})

    @given(st.text("$\\{}AB:-", max_size=20))
    def test_can_be_escaped(self, text: str) -> None:
        assert fill_in(escaped([text]), {"A": "1"}) == ([text], {})
