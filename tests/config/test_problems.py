"""The messages about a wrong configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceConfig


def problems(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        InferenceConfig.from_str(text, overrides)
    return str(caught.value)


def test_all_mistakes_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    text = """
generation: {max_new_token: 3, temperature: -1}
remote_params: {num_workers: many, api_key: "${NOT_SET}"}
"""
    assert sorted(problems(text, "model.nam=x").splitlines()) == [
        "config: generation.max_new_token: unknown key; did you mean 'max_new_tokens'?",
        "config: generation.temperature: should be greater than or equal to 0 (found -1)",
        "config: remote_params.api_key: the environment variable NOT_SET is not set",
        "config: remote_params.num_workers: should be a valid integer, unable to parse string as an integer (found 'many')",
        "override model.nam: unknown key; known keys here: " + known_model_keys(),
    ]


def known_model_keys() -> str:
    from asyncinfer import ModelParams

    return ", ".join(sorted(ModelParams.model_fields))


def test_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("modle: {}")
    with pytest.raises(ConfigError) as caught:
        InferenceConfig.from_yaml(path)
    assert str(caught.value) == f"{path}: modle: unknown key; did you mean 'model'?"


@pytest.mark.parametrize(
    ("name", "message"), [("none.yaml", "No such file"), (".", "Is a directory"), ("latin.yaml", "not UTF-8")]
)
def test_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"engine: \xe4")
    with pytest.raises(ConfigError, match=f"cannot be read: .*{message}"):
        InferenceConfig.from_yaml(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "config, line 1, column 5: not valid YAML"),
        ("engine: VLLM\nengine: VLLM", "config, line 2, column 1: not valid YAML: the key 'engine' occurs twice"),
        ("model: {{ name }}", "config, line 1, column 9: not valid YAML: found unhashable key"),
        ("model: &m {model_kwargs: *m}", "not valid YAML: found unconstructable recursive node"),
        ("a: \x01", "not valid YAML: character 4"),
        ("a: !!int b", "not valid YAML: ValueError"),
        ("a: !!python/object:x {}", "not valid YAML: could not determine a constructor"),
        ("- 1", "it should contain keys such as `model:` (found a list)"),
        ("1: 2", "config: 1: keys should be strings"),
        ("model: meta-llama", "config: model: should be a mapping of settings (found a str)"),
        ("engine: FOO", "config: engine: should be one of NATIVE, VLLM"),
        ("engine: 3", "config: engine: should be one of NATIVE"),
        ("engine: VLM", "did you mean VLLM? (found 'VLM')"),
        ("generation: {stop_strings: end}", "generation.stop_strings: should be a valid list (found 'end')"),
        ("generation: {tool_choice: [a]}", "should be a valid string or should be a valid dictionary (found a list)"),
        (
            "generation: {logit_bias: {5: 101}}",
            "generation.logit_bias.5: should be less than or equal to 100 (found 101)",
        ),
        ("generation: {guided_decoding: {regex: a, choice: [b]}}", "guided_decoding: regex and choice exclude each"),
        ("max_new_tokens: 5", "config: max_new_tokens: unknown key; it belongs under 'generation'"),
        ("model: {torch_dtype: float8}", "should be one of auto, bf16"),
        ("remote_params: {retry_backoff_base: 60}", "remote_params: retry_backoff_max (30.0) must not be less"),
        ("model: {model_name: [a]}", "model.model_name: should be a valid string (found a list)"),
    ],
)
def test_message_says_where_and_what_is_wrong(text: str, message: str) -> None:
    assert message in problems(text)


class TestSecrets:
    """Messages do not quote secrets, not even misplaced ones."""

    @pytest.mark.parametrize(
        "text",
        [
            "remote_params: {api_key: [sekret]}",
            "remote_params: {api_kee: sekret}",
            "remote_params: sekret",
            "remote_params: {num_workers: '${SEKRET}'}",
            "remote_params: {api_key: sekret, retry_backoff_base: 60}",
            "remote_params: {api_key: sekret, num_workers: 0}",
            "remote_params: {api_key: sekret",
            "engine: ${SEKRET}",
        ],
    )
    def test_secret_in_a_file_is_not_quoted(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEKRET", "sekret")
        assert "sekret" not in problems(text)

    @pytest.mark.parametrize("override", ["remote_params.api_key sekret", "remote_params.api_key.x=sekret"])
    def test_secret_in_an_override_is_not_quoted(self, override: str) -> None:
        assert "sekret" not in problems("", override)
