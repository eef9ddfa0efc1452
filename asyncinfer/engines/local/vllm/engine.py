"""The vLLM engine: models on this machine, through vLLM."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, ClassVar

from asyncinfer.aio.clock import Clock
from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.engines.local import shared_libraries
from asyncinfer.engines.local.chat_prompt import ConversationRenderer, any_content, resolve_chat_template, template_file
from asyncinfer.engines.local.engine import LocalInferenceEngine
from asyncinfer.engines.local.images import load_images
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.tokenizer import load_tokenizer
from asyncinfer.engines.local.tokenizer_renderer import TokenizerRenderer, check_template
from asyncinfer.engines.local.vllm.args import (
    UNHASHED,
    check_adapter,
    check_memory_share,
    check_options,
    engine_args,
    with_options,
)
from asyncinfer.engines.local.vllm.compat import option_names
from asyncinfer.engines.local.vllm.host import check_parsers, inspect_host
from asyncinfer.engines.local.vllm.messages import with_merged_messages
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

    Args:
        tensor_parallel_size: The number of GPUs for each layer; -1: all.
        quantization: vLLM's name of the quantisation.
        enable_prefix_caching: Whether rows share the keys and values of equal prefixes. By default, they do.
        gpu_memory_utilization: The share of the GPU's memory that vLLM uses, above 0 and up to 1.
        enforce_eager: Whether the model runs without CUDA graphs. By default, vLLM decides.
        max_num_seqs: The most rows in a batch.
        tool_call_parser: Takes precedence over `model.tool_call_parser`.

    These arguments have the names of Oumi. Each takes precedence over the option of that name in `model_kwargs`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.VLLM
    unhashed_model_kwargs: ClassVar[frozenset[str]] = UNHASHED
    _accepts_adapter_folders = True
    _ignored_fields = frozenset({"attn_implementation", "compile", "device_map"})

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        tensor_parallel_size: int | None = None,
        quantization: str | None = None,
        enable_prefix_caching: bool | None = None,
        gpu_memory_utilization: float | None = None,
        enforce_eager: bool | None = None,
        max_num_seqs: int | None = None,
        tool_call_parser: str | None = None,
        remote_params: RemoteParams | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = {
            "tensor_parallel_size": tensor_parallel_size,
            "quantization": quantization,
            "enable_prefix_caching": enable_prefix_caching,
            "gpu_memory_utilization": gpu_memory_utilization,
            "enforce_eager": enforce_eager,
            "max_num_seqs": max_num_seqs,
        }
        complete = with_options(model_params, options, tool_call_parser)
        super().__init__(
            complete,
            generation_params=generation_params,
            remote_params=remote_params,
            clock=clock,
        )
        self._given_params = model_params.model_copy()  # Without the arguments above.

    def _validate(self) -> None:
        if find_spec("vllm") is None:
            raise MissingDependencyError("vllm", "vllm")
        params = self._model_params
        if not params.model_name:
            raise ConfigError("model.model_name: not set; give a folder or a hub repository")
        check_memory_share(params.model_kwargs.get("gpu_memory_utilization"))
        path = expanded(params.model_name, "model.model_name")
        if params.model_name.startswith(("/", ".", "~")) and not exists(path):
            raise ConfigError(f"model.model_name: {path.absolute()} does not exist")
        template_file(params.chat_template)
        if params.adapter_model:
            check_adapter(params.adapter_model)

    def _slots(self) -> int:
        max_num_seqs = self._model_params.model_kwargs.get("max_num_seqs")
        return max_num_seqs if isinstance(max_num_seqs, int) else MAX_SLOTS

    def _make_renderer(self) -> ConversationRenderer:
        params = resolve_chat_template(self._model_params)
        tokenizer = load_tokenizer(params, str(expanded(params.model_name, "model.model_name")))
        check_template(params, tokenizer)
        render = TokenizerRenderer(tokenizer, content=any_content)

        def render_merged(request: Request, **arguments: Any) -> str:
            return render(with_merged_messages(request), **arguments)

        return render_merged

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
