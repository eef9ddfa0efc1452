"""The arguments of `VLLMInferenceEngine` have the names of Oumi, and become options of vLLM. Needs no vLLM."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import ConfigError, GenerationParams, InferenceConfig, ModelParams, VLLMInferenceEngine
from asyncinfer.engines.local.vllm import engine as engine_module
from asyncinfer.engines.local.vllm.args import GIB, Host, engine_args

HOST = Host(gpus=4, free_memory=8 * GIB, ranks=(8, 16), quantizations=("awq",))
# The keyword arguments of Oumi's engine (August 2026).
ARGUMENTS: dict[str, Any] = {
    "tensor_parallel_size": 2,
    "quantization": "awq",
    "enable_prefix_caching": False,
    "gpu_memory_utilization": 0.95,
    "enforce_eager": True,
    "max_num_seqs": 10,
}


@pytest.fixture(autouse=True)
def vllm_seems_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda _: True)


def passed_to_vllm(engine: VLLMInferenceEngine) -> dict[str, Any]:
    return engine_args(engine._model_params, HOST)


def test_arguments_of_oumi_are_accepted() -> None:
    parameters = inspect.signature(VLLMInferenceEngine).parameters
    assert list(parameters)[:9] == ["model_params", "generation_params", *ARGUMENTS, "tool_call_parser"]


@pytest.mark.parametrize(("name", "value"), ARGUMENTS.items())
def test_argument_is_passed_to_vllm(name: str, value: object) -> None:
    engine = VLLMInferenceEngine(ModelParams("owner/model"), **{name: value})
    assert passed_to_vllm(engine)[name] == value


def test_argument_takes_precedence_over_the_option() -> None:
    options = ModelParams("owner/model", model_kwargs={"max_num_seqs": 3, "tensor_parallel_size": 1})
    engine = VLLMInferenceEngine(options, max_num_seqs=10)
    passed = passed_to_vllm(engine)
    assert (passed["max_num_seqs"], passed["tensor_parallel_size"]) == (10, 1)
    assert options.model_kwargs == {"max_num_seqs": 3, "tensor_parallel_size": 1}


def test_all_gpus_are_used_by_default_and_for_minus_1() -> None:
    assert passed_to_vllm(VLLMInferenceEngine(ModelParams("owner/model")))["tensor_parallel_size"] == 4
    engine = VLLMInferenceEngine(ModelParams("owner/model"), tensor_parallel_size=-1)
    assert passed_to_vllm(engine)["tensor_parallel_size"] == 4


def test_parser_takes_precedence_over_the_one_of_the_model() -> None:
    params = ModelParams("owner/model", tool_call_parser="mistral")
    assert VLLMInferenceEngine(params, tool_call_parser="hermes")._model_params.tool_call_parser == "hermes"
    assert VLLMInferenceEngine(params)._model_params.tool_call_parser == "mistral"


@pytest.mark.parametrize("share", [0, 1.5, -0.1, float("nan")])
def test_share_of_memory_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="gpu_memory_utilization: should be above 0 and at most 1"):
        VLLMInferenceEngine(ModelParams("owner/model"), gpu_memory_utilization=share)


async def test_a_call_may_repeat_the_parameters_that_the_engine_was_made_with() -> None:
    config = InferenceConfig(
        ModelParams("owner/model", model_kwargs={"max_num_seqs": 3}), GenerationParams(max_new_tokens=8)
    )
    engine = VLLMInferenceEngine(config.model, enforce_eager=True, tool_call_parser="hermes")
    settings = await engine._settings_of(config)
    assert settings.model.model_kwargs == {"max_num_seqs": 3, "enforce_eager": True}
    assert settings.model.tool_call_parser == "hermes"
    with pytest.raises(ConfigError, match=r"model\.model_kwargs"):
        await engine._settings_of(InferenceConfig(ModelParams("owner/model", model_kwargs={"max_num_seqs": 4})))


class TestAdapterFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base", "r": 8}))
        return str(tmp_path)

    def test_folder_of_an_adapter_as_model_name(self, folder: str) -> None:
        config = InferenceConfig(ModelParams(folder))
        engine = VLLMInferenceEngine(config.model)
        passed = passed_to_vllm(engine)
        assert (passed["model"], passed["enable_lora"], passed["max_lora_rank"]) == ("owner/base", True, 8)
        assert engine_module._adapter(engine._model_params) == folder
        settings = asyncio.run(engine._settings_of(config))
        assert (settings.model.model_name, settings.model.adapter_model) == ("owner/base", folder)
        assert config.model.model_name == folder

    def test_row_key_is_that_of_both_names(self, folder: str) -> None:
        both = VLLMInferenceEngine(ModelParams("owner/base", adapter_model=folder))
        alone = VLLMInferenceEngine(ModelParams(folder))
        assert both._model_params.hashed_values() == alone._model_params.hashed_values()

    def test_later_changes_of_the_config_do_not_reach_the_engine(self) -> None:
        params = ModelParams("owner/model")
        engine = VLLMInferenceEngine(params)
        params.model_name = "owner/other"
        assert passed_to_vllm(engine)["model"] == "owner/model"
