"""The vLLM engine: models on this machine, through vLLM."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import ClassVar

from asyncinfer.config import InferenceEngineType, ModelParams
from asyncinfer.engines.local import shared_libraries
from asyncinfer.engines.local.chat_prompt import template_file
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import load_images
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.vllm.args import UNHASHED, check_adapter, check_options, engine_args
from asyncinfer.engines.local.vllm.compat import option_names
from asyncinfer.engines.local.vllm.host import check_parsers, inspect_host
from asyncinfer.engines.local.vllm.model import VllmModel
from asyncinfer.engines.local.vllm.stepper import VllmStepper
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.types.paths import exists, expanded

log = logging.getLogger("asyncinfer")

# The largest default of `max_num_seqs`. vLLM's default depends on the GPU.
MAX_SLOTS = 1024


class VLLMInferenceEngine(LocalInferenceEngine):
    """Runs a model with vLLM in this process. The rows of all calls share its batches.

    `model_name` is a folder or a hub repository. `model_kwargs` accepts the fields of vLLM's `EngineArgs`, such as
    `tensor_parallel_size` (null: all GPUs), `gpu_memory_utilization`, `max_num_seqs`, `quantization`,
    `enable_prefix_caching` (on) and `reasoning_parser`, and Transformers' `load_in_4bit`. `adapter_model` is a LoRA
    adapter as peft saves it. `tool_call_parser` names one of vLLM's parsers for tool calls. Without it, tool calls are
    found in the format `<tool_call>{"name": ..., "arguments": ...}</tool_call>`.

    Defaults without a GPU: weights are float32 (see `torch_dtype_str`), nothing is compiled (`enforce_eager`), keys and
    values take a quarter of the free memory, at most 4 GiB, and the context is as much of the model's own as fits.
    """

    engine_type: ClassVar[str] = InferenceEngineType.VLLM
    unhashed_model_kwargs: ClassVar[frozenset[str]] = UNHASHED
    _ignored_fields = frozenset({"attn_implementation", "compile", "device_map"})

    def _validate(self) -> None:
        if find_spec("vllm") is None:
            raise MissingDependencyError("vllm", "vllm")
        params = self._model_params
        if not params.model_name:
            raise ConfigError("model.model_name: not set; give a folder or a hub repository")
        path = expanded(params.model_name, "model.model_name")
        if params.model_name.startswith(("/", ".", "~")) and not exists(path):
            raise ConfigError(f"model.model_name: {path.absolute()} does not exist")
        template_file(params.chat_template)
        if params.adapter_model:
            check_adapter(params.adapter_model)

    def _slots(self) -> int:
        max_num_seqs = self._model_params.model_kwargs.get("max_num_seqs")
        return max_num_seqs if isinstance(max_num_seqs, int) else MAX_SLOTS

    def _load(self) -> Stepper:
        shared_libraries.preload("torch", "triton", "cv2")
        params = self._model_params
        tools = params.tool_call_parser or params.model_kwargs.get("tool_call_parser")
        reasoning = params.model_kwargs.get("reasoning_parser")
        check_options(params.model_kwargs, option_names())
        check_parsers(tools, reasoning)
        args = engine_args(params, inspect_host())
        log.info("loading %s", params.model_name)
        model = VllmModel(args, _adapter(params))
        try:
            return VllmStepper(model, tool_parser=tools, reasoning_parser=reasoning)
        except ConfigError:
            model.close()
            raise

    async def _prepare(self, request: Request) -> Request:
        return await load_images(request)


def _adapter(params: ModelParams) -> str | None:
    return str(expanded(params.adapter_model, "model.adapter_model")) if params.adapter_model else None
