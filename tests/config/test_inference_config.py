"""Configuration files, overrides, and what is said when they are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from asyncinfer import (
    ConfigError,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.config import merged, parse_cli_overrides

GUIDE = """
model:
  model_name: "meta-llama/Llama-3.1-8B-Instruct"
  trust_remote_code: true
  torch_dtype: bf16
  chat_template: null
  model_kwargs:
    device_map: "auto"
    quantization_config: {quant_method: "mxfp4"}
generation:
  max_new_tokens: 100
  temperature: 0.7
  top_p: 0.9
  batch_size: 1
  tool_choice: {type: function, function: {name: get_weather}}
engine: "VLLM"  # VLLM, LLAMACPP, NATIVE, REMOTE_VLLM, etc.
remote_params:
  api_url: "https://api.example.com/v1"
  api_key: "${TEST_API_KEY}"
  connection_timeout: 20.0
  num_workers: 50
  politeness_policy: 60.0
"""


def problems(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        InferenceConfig.from_str(text, overrides)
    return str(caught.value)


class TestFiles:
    def test_the_guides_configuration_loads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_API_KEY", "sekret")
        path = tmp_path / "config.yaml"
        path.write_text(GUIDE)
        config = InferenceConfig.from_yaml(path)
        assert config.engine is InferenceEngineType.VLLM
        assert config.model.torch_dtype_str == "bfloat16"
        assert config.model.model_kwargs["quantization_config"] == {"quant_method": "mxfp4"}
        assert config.remote_params is not None
        assert config.remote_params.api_key is not None
        assert config.remote_params.api_key.get_secret_value() == "sekret"
        assert "sekret" not in repr(config)

    def test_defaults_differ_from_the_seeds_only_as_intended(self) -> None:
        assert RemoteParams().num_workers == 50
        assert GenerationParams().use_cache is True
        assert GenerationParams().batch_size is None
        assert (GenerationParams().max_new_tokens, GenerationParams().temperature) == (1024, 0.0)

    @pytest.mark.parametrize(
        ("name", "engine"),
        [
            *((name, engine) for name, engine in InferenceEngineType.__members__.items()),
            ("GEMINI", InferenceEngineType.GOOGLE_GEMINI),
            ("llamacpp", InferenceEngineType.LLAMACPP),
        ],
    )
    def test_engine_names(self, name: str, engine: InferenceEngineType) -> None:
        assert InferenceConfig.from_str(f"engine: {name}").engine is engine

    def test_round_trip_without_the_key(self, tmp_path: Path) -> None:
        config = InferenceConfig.from_str("model: {model_name: m}\nremote_params: {api_key: sekret, num_workers: 3}")
        config.to_yaml(tmp_path / "c.yaml")
        assert "sekret" not in (tmp_path / "c.yaml").read_text()
        again = InferenceConfig.from_yaml(tmp_path / "c.yaml")
        assert again.model == config.model
        assert again.remote_params is not None
        assert again.remote_params.num_workers == 3

    @pytest.mark.skipif("ASYNCINFER_SEED_CONFIGS" not in os.environ, reason="needs a folder of the seed's configs")
    def test_every_seed_config_loads(self) -> None:
        for path in Path(os.environ["ASYNCINFER_SEED_CONFIGS"]).rglob("*infer*/**/*.yaml"):
            if "resources:" not in path.read_text():
                InferenceConfig.from_yaml(path)


class TestProblems:
    def test_are_told_all_at_once_with_what_was_meant(self) -> None:
        text = problems("generation: {max_new_token: 3, temperature: -1}\nremote_params: {num_workers: many}")
        assert "generation.max_new_token: unknown key; did you mean 'max_new_tokens'?" in text
        assert "generation.temperature: input should be greater than or equal to 0 (found -1)" in text
        assert "remote_params.num_workers: input should be a valid integer" in text

    def test_name_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        path.write_text("modle: {}")
        with pytest.raises(ConfigError, match=r"c.yaml: modle: unknown key; did you mean 'model'\?"):
            InferenceConfig.from_yaml(path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            InferenceConfig.from_yaml(tmp_path / "none.yaml")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a: [", "line 1, column 5: not valid YAML"),
            (
                "engine: VLLM\nengine: VLLM",
                "line 2, column 1: not valid YAML: the key 'engine' is there twice",
            ),
            ("- 1", "holds a list"),
            ("engine: FOO", "'FOO' is no engine; it is one of NATIVE"),
            (
                "model: {model_name: '${NOT_SET_ANYWHERE}'}",
                "model.model_name: the environment variable NOT_SET",
            ),
            ("generation: {guided_decoding: {regex: a, choice: [b]}}", "regex and choice exclude each other"),
            ("model: {torch_dtype_str: float8}", "no known dtype"),
            ("remote_params: {retry_backoff_base: 60}", "retry_backoff_max must not be less"),
        ],
    )
    def test_are_clear(self, text: str, said: str) -> None:
        assert said in problems(text)

    def test_never_show_a_secret(self) -> None:
        assert "sekret" not in problems("remote_params: {api_key: [sekret]}")

    def test_of_a_python_call_are_value_errors(self) -> None:
        with pytest.raises(ValidationError):
            GenerationParams(max_new_tokens=0)


class TestOverrides:
    def test_set_what_they_name(self) -> None:
        config = InferenceConfig.from_str(
            "generation: {stop_strings: [x, y]}",
            [
                "generation.max_new_tokens=64",
                "model.model_kwargs.n_ctx=2048",
                "generation.stop_strings.0=end",
                "generation.top_p=null",
                "generation.temperature=1e-3",
                "engine=LLAMACPP",
            ],
        )
        assert config.generation.max_new_tokens == 64
        assert config.model.model_kwargs == {"n_ctx": 2048}
        assert config.generation.stop_strings == ["end", "y"]
        assert config.generation.temperature == 0.001

    def test_from_the_command_line(self) -> None:
        args = [
            "--generation.seed",
            "-3",
            "--engine=VLLM",
            "--generation.use_sampling",
            "--model.model_name",
            "a=b",
        ]
        assert parse_cli_overrides(args) == [
            "generation.seed=-3",
            "engine=VLLM",
            "generation.use_sampling=true",
            "model.model_name=a=b",
        ]
        with pytest.raises(ConfigError, match="stray"):
            parse_cli_overrides(["stray"])

    def test_that_lead_nowhere(self) -> None:
        assert "generation.nope" in problems("", "generation.nope=1")
        assert "no element '5'" in problems("generation: {stop_strings: [a]}", "generation.stop_strings.5=b")

    @given(st.text(st.characters(codec="ascii", exclude_characters="\\$"), max_size=20))
    def test_escaped_interpolation_stays(self, text: str) -> None:
        import json

        config = InferenceConfig.from_str(json.dumps({"model": {"model_name": text + r"\${HOME}"}}))
        assert config.model.model_name == text + "${HOME}"

    def test_defaults_of_variables(self) -> None:
        assert InferenceConfig.from_str("input_path: ${NOT_SET_ANYWHERE:-here}").input_path == "here"


class TestMerging:
    def test_takes_only_what_was_set(self) -> None:
        base = GenerationParams(max_new_tokens=5, temperature=0.5)
        both = merged(base, GenerationParams(temperature=0.0))
        assert (both.max_new_tokens, both.temperature) == (5, 0.0)
        assert merged(base, GenerationParams()) is base

    def test_guided_decoding_takes_a_model_class(self) -> None:
        class Product(BaseModel):
            name: str

        assert GuidedDecodingParams(json=Product).json is Product

    def test_revision_moves_to_its_key(self) -> None:
        params = ModelParams(model_kwargs={"revision": "v1", "n_ctx": 8})
        assert (params.model_revision, params.model_kwargs) == ("v1", {"n_ctx": 8})
