"""Configuration files: those of Oumi load unchanged, and a file that is written and read again is the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.types.masking import is_secret_name

EVERY_KEY = """
# Every key of Oumi.
model:
  model_name: "meta-llama/Llama-3.1-8B-Instruct"
  adapter_model: "path/to/adapter"
  tokenizer_name: null
  tokenizer_pad_token: "<|finetune_right_pad_id|>"
  tokenizer_kwargs: {use_fast: true}
  processor_kwargs: {}
  model_max_length: 2048
  load_pretrained_weights: true
  trust_remote_code: true
  torch_dtype_str: "bfloat16"
  compile: false
  chat_template: "llama3-instruct"
  chat_template_kwargs: {enable_thinking: false}
  attn_implementation: "sdpa"
  device_map: "auto"
  model_kwargs:
    filename: "model-q4.gguf"
    max_num_seqs: 2
    quantization_config: {quant_method: "mxfp4"}
  enable_liger_kernel: false
  shard_for_eval: false
  freeze_layers: [visual]
  model_revision: main
  tool_call_parser: hermes
generation:
  max_new_tokens: 100
  batch_size: 1
  exclude_prompt_from_response: true
  seed: 7
  temperature: 0.7
  top_p: 0.9
  frequency_penalty: 0.0
  presence_penalty: 1.5
  stop_strings: ["</s>"]
  stop_token_ids: [2]
  logit_bias: {50256: -100, 11: 1.5}
  min_p: 0.0
  use_cache: false
  num_beams: 1
  use_sampling: true
  guided_decoding: {choice: [good, bad], strict: true}
  skip_special_tokens: false
  tool_choice: {type: function, function: {name: get_weather}}
  parallel_tool_calls: false
input_path: in.jsonl
output_path: out.jsonl
progress_path: progress.json
engine: VLLM  # VLLM, LLAMACPP, NATIVE, REMOTE_VLLM, etc.
remote_params:
  api_url: "http://localhost:6864/v1/chat/completions"
  api_key: "sekret"
  api_key_env_varname: "API_KEY"
  user_id: u-1
  max_retries: 3
  retry_backoff_base: 0.5
  retry_backoff_max: 20
  connection_timeout: 20.0
  num_workers: 50
  requests_per_minute: 500
  input_tokens_per_minute: 100000
  output_tokens_per_minute: 20000
  politeness_policy: 60.0
  batch_completion_window: "24h"
  use_adaptive_concurrency: True
"""

FROM_THE_GUIDE = {
    "quantized": """
model:
  model_name: "model.gguf"

engine: LLAMACPP

generation:
  temperature: 0.7
  batch_size: 1
""",
    "adaptive": """
remote_params:
  use_adaptive_concurrency: true
  num_workers: 50  # Maximum concurrency
  politeness_policy: 60.0
""",
    "basic": """
model:
  model_name: "meta-llama/Llama-3.1-8B-Instruct"
  trust_remote_code: true
  model_kwargs:
    device_map: "auto"
    torch_dtype: "float16"
engine: "VLLM"
remote_params:
  api_url: "https://api.example.com/v1"
  api_key: "${API_KEY:-}"
""",
}


class TestOumiFiles:
    def test_file_with_every_oumi_key_sets_every_field(self) -> None:
        config = InferenceConfig.from_str(EVERY_KEY)
        ours = {"batch", "distributed", "input", "limit", "output", "report_path", "retry_failures"}
        ours |= {"reuse_output", "save_events", "telemetry"}
        ours |= {"deduplicate", "cache", "cache_path", "cache_max_mib", "cost_per_million", "max_cost", "max_tokens"}
        assert config.model_fields_set | ours == InferenceConfig.model_fields.keys()
        ours = {"allow_private_urls", "max_image_pixels"}
        assert config.model.model_fields_set | ours == ModelParams.model_fields.keys()
        ours = {"extra_body", "logprobs", "max_validation_retries", "n", "reasoning_effort", "repetition_penalty"}
        ours |= {"response_model", "top_k", "top_logprobs"}
        assert config.generation.model_fields_set | ours == GenerationParams.model_fields.keys()
        assert config.remote_params is not None
        ours = {"max_compression_ratio", "max_outage", "max_response_bytes", "max_wait", "stream_idle_timeout"}
        ours |= {"adaptive", "api", "endpoints", "headers"}
        assert config.remote_params.model_fields_set | ours == RemoteParams.model_fields.keys()
        assert config.generation.logit_bias == {50256: -100, 11: 1.5}

    @pytest.mark.parametrize("text", FROM_THE_GUIDE.values(), ids=FROM_THE_GUIDE)
    def test_example_of_the_guide_is_read(self, text: str) -> None:
        InferenceConfig.from_str(text)

    @pytest.mark.skipif("ASYNCINFER_SEED_CONFIGS" not in os.environ, reason="needs a folder of Oumi configs")
    def test_files_in_a_folder_are_read(self) -> None:
        paths = [p for p in Path(os.environ["ASYNCINFER_SEED_CONFIGS"]).rglob("*.yaml") if "infer" in str(p)]
        loaded = [InferenceConfig.from_yaml(path) for path in paths if "\nresources:" not in path.read_text()]
        assert loaded

    def test_merge_key_copies_values_of_another_mapping(self) -> None:
        text = "model: &m {model_name: a, compile: true}\n"
        config = InferenceConfig.from_str(text + "generation: {<<: {seed: 1}, seed: 2}")
        assert config.generation.seed == 2

    @pytest.mark.parametrize("text", ["model:", "generation:", "remote_params:", "engine:"])
    def test_group_without_keys_has_the_defaults(self, text: str) -> None:
        assert InferenceConfig.from_str(text).model_dump() == InferenceConfig().model_dump()

    def test_empty_file_has_the_defaults(self) -> None:
        assert InferenceConfig.from_str("# nothing yet") == InferenceConfig()


class TestText:
    """Values that PyYAML would read as another type."""

    @pytest.mark.parametrize(
        ("written", "meant"), [("2024-01-01", "2024-01-01"), ("1234567", "1234567"), ("main", "main"), ("'1e3'", "1e3")]
    )
    def test_text_that_looks_like_a_number_or_date_stays_text(self, written: str, meant: str) -> None:
        assert InferenceConfig.from_str(f"model: {{model_revision: {written}}}").model.model_revision == meant

    @pytest.mark.parametrize("written", ["1e-3", "1E-3", "0.1e-2", "1.e-3", ".1e-2", "0.001"])
    def test_number_with_an_exponent_is_a_number(self, written: str) -> None:
        config = InferenceConfig.from_str(
            f"generation: {{temperature: {written}}}\nmodel: {{model_kwargs: {{x: {written}}}}}"
        )
        assert config.generation.temperature == config.model.model_kwargs["x"] == 0.001

    def test_byte_order_mark_is_ignored(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfengine: VLLM\r\n")
        assert InferenceConfig.from_yaml(tmp_path / "c.yaml").engine is InferenceEngineType.VLLM


texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["1e3", "no", "null", r"\${A}", "${HOME}", "<<"]
)
# The values of options with such names are masked.
names = texts.filter(lambda text: not is_secret_name(text))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


class TestRoundTrips:
    @given(
        kwargs=st.dictionaries(names, plain, max_size=4),
        stop=st.none() | st.lists(texts, max_size=3),
        temperature=st.floats(0, 5),
        engine=st.none() | st.sampled_from(InferenceEngineType),
    )
    def test_file_that_is_written_and_read_again_is_the_same(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        kwargs: dict[str, Any],
        stop: list[str] | None,
        temperature: float,
        engine: InferenceEngineType | None,
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
        config = InferenceConfig(
            model=ModelParams(tokenizer_kwargs=kwargs),
            generation=GenerationParams(stop_strings=stop, temperature=temperature),
            engine=engine,
        )
        config.to_yaml(path)
        again = InferenceConfig.from_yaml(path)
        assert again == config
        assert again.generation.model_fields_set == config.generation.model_fields_set

    def test_every_setting_but_the_key_is_written(self, tmp_path: Path) -> None:
        config = InferenceConfig.from_str(EVERY_KEY)
        config.to_yaml(tmp_path / "c.yaml")
        assert "sekret" not in (tmp_path / "c.yaml").read_text()
        again = InferenceConfig.from_yaml(tmp_path / "c.yaml")
        assert again.remote_params is not None
        assert again.remote_params.api_key is None
        key = {"remote_params": {"api_key"}}
        assert again.model_dump(exclude=key) == config.model_dump(exclude=key)

    def test_model_class_is_written_as_its_schema(self, tmp_path: Path) -> None:
        class Product(BaseModel):
            name: str

        guided = GuidedDecodingParams(json=Product)
        InferenceConfig(generation=GenerationParams(guided_decoding=guided)).to_yaml(tmp_path / "c.yaml")
        again = InferenceConfig.from_yaml(tmp_path / "c.yaml").generation.guided_decoding
        assert again is not None
        assert again.json == Product.model_json_schema()

    def test_file_in_a_missing_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be written: No such file"):
            InferenceConfig().to_yaml(tmp_path / "none" / "c.yaml")
