"""The parameter classes take the arguments that Oumi's take, by position and by name."""

from __future__ import annotations

import inspect
import json
import logging
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from asyncinfer import (
    AdaptiveConcurrencyParams,
    ConfigError,
    FailureDetail,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.config.base import Params

# The order of the fields in Oumi (August 2026), which is the order of positional arguments.
FIELDS: dict[type[Params], str] = {
    ModelParams: "model_name adapter_model tokenizer_name tokenizer_pad_token tokenizer_kwargs processor_kwargs "
    "model_max_length load_pretrained_weights trust_remote_code torch_dtype_str compile chat_template "
    "chat_template_kwargs attn_implementation device_map model_kwargs enable_liger_kernel shard_for_eval "
    "freeze_layers model_revision tool_call_parser",
    GenerationParams: "max_new_tokens batch_size exclude_prompt_from_response seed temperature top_p "
    "frequency_penalty presence_penalty stop_strings stop_token_ids logit_bias min_p use_cache num_beams use_sampling "
    "guided_decoding skip_special_tokens tool_choice parallel_tool_calls",
    GuidedDecodingParams: "json regex choice strict",
    RemoteParams: "api_url api_key api_key_env_varname user_id max_retries retry_backoff_base retry_backoff_max "
    "connection_timeout num_workers requests_per_minute input_tokens_per_minute output_tokens_per_minute "
    "politeness_policy batch_completion_window use_adaptive_concurrency",
    AdaptiveConcurrencyParams: "min_concurrency max_concurrency initial_concurrency_factor concurrency_step "
    "min_update_time error_threshold backoff_factor recovery_threshold min_window_size",
    InferenceConfig: "model generation input_path output_path progress_path engine remote_params",
}


def any_call(params: type[Params]) -> Any:
    """The class, for calls that type checkers refuse."""
    return params


class TestPositionalArguments:
    @pytest.mark.parametrize("params", FIELDS, ids=lambda params: params.__name__)
    def test_fields_are_in_the_order_of_oumi(self, params: type[Params]) -> None:
        names = FIELDS[params].split()
        assert list(params.model_fields)[: len(names)] == names

    def test_values_go_to_the_fields_in_order(self) -> None:
        model, remote = any_call(ModelParams)("m", "adapter"), any_call(RemoteParams)("http://localhost/v1", "key")
        assert (model.model_name, model.adapter_model) == ("m", "adapter")
        assert any_call(GenerationParams)(64, 2, seed=3).model_dump(exclude_unset=True) == {
            "max_new_tokens": 64,
            "batch_size": 2,
            "seed": 3,
        }
        config = any_call(InferenceConfig)(model, GenerationParams(8), None, "out.jsonl", None, "openai", remote)
        assert (config.engine, config.output_path) == (InferenceEngineType.OPENAI, "out.jsonl")
        assert config.remote_params == remote

    def test_values_count_as_set_explicitly(self) -> None:
        assert GenerationParams(64).model_fields_set == {"max_new_tokens"}

    def test_too_many_or_repeated_values_are_refused(self) -> None:
        with pytest.raises(TypeError, match="model_name was given by position and by name"):
            any_call(ModelParams)("m", model_name="n")
        with pytest.raises(TypeError, match="GuidedDecodingParams has 4 fields, and was given 5 values"):
            any_call(GuidedDecodingParams)(None, None, None, False, 1)

    def test_mistake_in_a_value_is_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match="max_new_tokens"):
            GenerationParams(0)

    def test_failure_detail_has_the_order_of_oumi(self) -> None:
        detail = FailureDetail("no", 503, False, InferenceErrorType.API_STATUS)
        assert (detail.status_code, detail.is_retryable) == (503, False)
        assert detail.error_type is InferenceErrorType.API_STATUS


class TestLoading:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text("{model: {model_name: m}, engine: OPENAI}")
        return path

    def test_arguments_have_the_names_of_oumi(self) -> None:
        signature = inspect.signature(InferenceConfig.from_yaml_and_arg_list)
        assert list(signature.parameters) == ["config_path", "arg_list", "logger", "ignore_interpolation"]

    def test_arguments_override_the_file(self, path: Path) -> None:
        config = InferenceConfig.from_yaml_and_arg_list(
            str(path), ["model.model_name=n", "generation.seed=3", "--local-rank=0"], logger=logging.getLogger("x")
        )
        assert (config.model.model_name, config.generation.seed) == ("n", 3)

    def test_there_may_be_no_file(self) -> None:
        assert InferenceConfig.from_yaml_and_arg_list(None, ["engine=VLLM"]).engine is InferenceEngineType.VLLM

    def test_mistake_is_logged_and_raised(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(ConfigError, match="modl"):
            InferenceConfig.from_yaml_and_arg_list(str(path), ["modl=n"], logging.getLogger("some.program"))
        assert [record.name for record in caplog.records] == ["some.program"]

    def test_interpolation_can_be_named(self, path: Path) -> None:
        assert InferenceConfig.from_yaml(config_path=path, ignore_interpolation=True).model.model_name == "m"

    def test_config_is_logged_as_yaml_without_secrets(self, caplog: pytest.LogCaptureFixture) -> None:
        config = InferenceConfig(
            ModelParams("m"), remote_params=RemoteParams("http://u:pw@localhost/v1", api_key=SecretStr("sekret"))
        )
        with caplog.at_level("INFO", "asyncinfer"):
            config.print_config()
        assert "model_name: m" in caplog.text
        assert "max_new_tokens: 1024" in caplog.text
        assert not any(secret in caplog.text for secret in ("sekret", "pw@"))

    def test_config_is_written_to_an_open_file(self) -> None:
        file = StringIO()
        InferenceConfig(ModelParams("m")).to_yaml(file)
        assert file.getvalue() == "model:\n  model_name: m\n"


class TestFinalize:
    def adapter(self, folder: Path, **config: Any) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return str(folder)

    def test_folder_of_an_adapter_is_the_adapter_of_its_base_model(self, tmp_path: Path) -> None:
        folder = self.adapter(tmp_path, base_model_name_or_path="owner/base", r=8)
        config = InferenceConfig(ModelParams(folder))
        config.finalize_and_validate()
        assert (config.model.model_name, config.model.adapter_model) == ("owner/base", folder)

    def test_folder_with_a_model_and_an_adapter_is_both(self, tmp_path: Path) -> None:
        folder = self.adapter(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        params = ModelParams(folder)
        params.finalize_and_validate()
        assert (params.model_name, params.adapter_model) == (folder, folder)

    @pytest.mark.parametrize(
        "params",
        [ModelParams("owner/model"), ModelParams("m", adapter_model="a"), ModelParams(), ModelParams("pkg:a/b.gguf")],
    )
    def test_other_names_stay(self, params: ModelParams) -> None:
        before = params.model_copy()
        params.finalize_and_validate()
        assert params == before
        assert params.model_fields_set == before.model_fields_set

    @pytest.mark.parametrize("text", ["{}", "[]", "{", '{"base_model_name_or_path": 1}'])
    def test_adapter_without_a_base_model_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(ConfigError, match=r"model\.model_name: .*adapter_config\.json"):
            ModelParams(str(tmp_path)).finalize_and_validate()
