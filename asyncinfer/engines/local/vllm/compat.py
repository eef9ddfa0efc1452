"""Every access to vLLM, and what vLLM keeps once for the whole process.

Checked on vLLM 0.32 (November 2026). Its public API is `LLM`, `SamplingParams` and `EngineArgs`. A stepper needs the
engine below `LLM`, which is not public: `LLMEngine` of `vllm.v1`, its renderer, its parsers, and the configuration.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from typing import Any, get_args

from asyncinfer.aio import gc_tuning

log = logging.getLogger("asyncinfer.vllm")

_CONFIGURE_LOGGING = "VLLM_CONFIGURE_LOGGING"
# If one of these variables is set, the user has configured vLLM's log.
_LOG_SETTINGS = (_CONFIGURE_LOGGING, "VLLM_LOGGING_CONFIG_PATH", "VLLM_LOGGING_LEVEL")


@cache
def _module(name: str) -> Any:
    """A module of vLLM. Its log goes to our logger."""
    with forwarded_log():
        return import_module(name)


# The log


class _Forward(logging.Handler):
    """Forwards records to our logger: errors with their level, all others as DEBUG."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.ERROR else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "%s", record.getMessage(), exc_info=record.exc_info)


@contextmanager
def forwarded_log() -> Generator[None]:
    """Inside, vLLM may be imported and may load a model. Its log goes to our logger instead of stdout.

    Does nothing if the user configured vLLM's log or imported vLLM before.
    """
    if not _forwards_log() or _CONFIGURE_LOGGING in os.environ:
        yield
        return
    os.environ[_CONFIGURE_LOGGING] = "0"
    try:
        yield
    finally:
        del os.environ[_CONFIGURE_LOGGING]


@cache
def _forwards_log() -> bool:
    """Whether our logger receives vLLM's log. The first call adds the handler."""
    if "vllm" in sys.modules or any(name in os.environ for name in _LOG_SETTINGS):
        return False
    logger = logging.getLogger("vllm")
    if not logger.handlers:
        logger.addHandler(_Forward())
        logger.propagate = False
        logger.setLevel(logging.INFO)
    return True


# What the installed vLLM supports


def option_names() -> set[str]:
    """The fields of `EngineArgs`."""
    return {field.name for field in fields(_engine_args_class()) if not field.name.startswith("_")}


def has_gpu() -> bool:
    return not _module("vllm.platforms").current_platform.is_cpu()


def lora_ranks() -> Collection[int]:
    return get_args(_module("vllm.config.lora").MaxLoRARanks)


def quantizations() -> Collection[str]:
    return _module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS


def tool_parsers() -> list[str]:
    return _module("vllm.tool_parsers").ToolParserManager.list_registered()


def reasoning_parsers() -> list[str]:
    return _module("vllm.reasoning").ReasoningParserManager.list_registered()


def request_errors() -> tuple[type[Exception], ...]:
    """What `add_request` raises for a request that it rejects."""
    return _module("vllm.exceptions").VLLMClientError, ValueError, TypeError, NotImplementedError


# The engine


def create_engine(args: Mapping[str, Any], *, one_process: bool) -> Any:
    """Load a model.

    Args:
        one_process: Whether the engine core runs in the calling thread, instead of in a second process.
    """
    engine: Any = _module("vllm.v1.engine.llm_engine").LLMEngine
    executors: Any = _module("vllm.v1.executor").Executor
    # The settings for jobs, as `LLM` has them: without it vLLM takes fewer rows at once, on a large GPU an eighth.
    usage = _module("vllm.usage.usage_lib").UsageContext.LLM_CLASS
    config = _engine_args_class()(**_with_config_objects(args)).create_engine_config(usage)
    gc_tuning.settle()  # vLLM runs the garbage collector several times while it loads.
    return engine(config, executors.get_class(config), log_stats=False, multiprocess_mode=not one_process)


def shut_down(engine: Any) -> None:
    """Stop the renderer and the engine core. `LLMEngine` has no method for both."""
    for part in (engine.renderer, engine.engine_core):
        with suppress(Exception):
            part.shutdown()


def load_adapter(engine: Any, path: str) -> Any:
    """Load a LoRA adapter. Returns the value for `lora_request` of `add_request`."""
    request = _module("vllm.lora.request").LoRARequest("adapter", 1, path)
    engine.add_lora(request)
    return request


def sampling_params(values: Mapping[str, Any], structure: Mapping[str, Any] | None, *, stream: bool) -> Any:
    """The `SamplingParams` of one request.

    Args:
        structure: The arguments of `StructuredOutputsParams`.
    """
    module = _module("vllm.sampling_params")
    kind = module.RequestOutputKind.DELTA if stream else module.RequestOutputKind.FINAL_ONLY
    structured = {} if structure is None else {"structured_outputs": module.StructuredOutputsParams(**structure)}
    # `skip_clone`: the object belongs to this request only, so vLLM may change it.
    return module.SamplingParams(**values, **structured, output_kind=kind, skip_clone=True)


def _engine_args_class() -> Any:
    return _module("vllm.engine.arg_utils").EngineArgs


def _with_config_objects(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with objects instead of mappings, for the parts of the configuration that only `LLM` converts."""
    config = _module("vllm.config")
    classes = {"structured_outputs_config": config.StructuredOutputsConfig, "profiler_config": config.ProfilerConfig}
    objects = {name: classes[name](**args[name]) for name in classes.keys() & args if isinstance(args[name], dict)}
    return {**args, **objects}


# Prompts


def render(
    engine: Any,
    messages: Sequence[Mapping[str, Any]],
    template: str | None,
    template_kwargs: Mapping[str, Any],
    tools: list[dict[str, Any]],
) -> Any:
    """The prompt of a conversation: its tokens and the inputs for its images. Of any length; the caller checks it."""
    renderer = engine.renderer
    is_mistral = _module("vllm.utils.mistral").is_mistral_tokenizer(renderer.tokenizer)
    variables = {"add_generation_prompt": True, "tools": tools or None, "tokenize": is_mistral, **template_kwargs}
    chat = _module("vllm.renderers.params").ChatParams(chat_template=template, chat_template_kwargs=variables)
    # The template has written all special tokens.
    defaults = renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
    _, (prompt,) = renderer.render_chat([messages], chat, replace(defaults, max_total_tokens=None, max_output_tokens=0))
    return prompt


# Parsers of answers


def parser_class(model: Any, tokenizer: Any, tool_parser: str | None, reasoning_parser: str | None) -> Any:
    """vLLM's class that parses answers. None without a tool parser and a reasoning parser."""
    return _module("vllm.parser").ParserManager.get_parser(
        tool_parser_name=tool_parser,
        reasoning_parser_name=reasoning_parser,
        enable_auto_tools=tool_parser is not None,
        model_name=model,
        tokenizer=tokenizer,
    )


def chat_request(**values: Any) -> Any:
    """An OpenAI request, which vLLM's parsers need as their context."""
    set_values = {name: value for name, value in values.items() if value is not None}
    return _module("vllm.entrypoints.openai.chat_completion.protocol").ChatCompletionRequest(**set_values)


# State of the whole process

# The engines that are loaded in this process, by their `id`.
_loaded: set[int] = set()
_cleanup: Callable[[], None] | None = None


def protect_shared_state() -> None:
    """Keep what the engines of this process share, until `release_shared_state`.

    An engine core that ends, or is collected after it failed to load, frees the distributed state of the whole process
    (`vllm.v1.engine.core`, `cleanup_dist_env_and_memory`). With several engines, only the last one may do that.
    """
    global _cleanup
    core = _module("vllm.v1.engine.core")
    if _cleanup is None:
        cleanup = _cleanup = core.cleanup_dist_env_and_memory
        core.cleanup_dist_env_and_memory = lambda: None if _loaded else cleanup()


def add_loaded(engine: Any) -> None:
    _loaded.add(id(engine))


def remove_loaded(engine: Any) -> None:
    _loaded.discard(id(engine))


def release_shared_state() -> None:
    """Undo `protect_shared_state`, unless an engine is still loaded."""
    global _cleanup
    if _cleanup is not None and not _loaded:
        _module("vllm.v1.engine.core").cleanup_dist_env_and_memory = _cleanup
        _cleanup = None
