"""vLLM's engine behind a typed face. Written for vLLM 0.32 (November 2026).

The engine core runs in the thread that calls it (vLLM's `InprocClient`), so that there is no second process to
start, to guard with `if __name__ == "__main__"`, to be killed with its parent, or to send every token between.
`AsyncLLM` is no alternative: vLLM has it with a second process only. Measured in turns, SmolLM2-135M in float32 on
2 cores: this engine gave 0.97 times the tokens per second of vLLM's `LLM` with its core in a process of its own for one
row alone (the median of 28; two loads of one model differ by as much), and 1.03 times for 32 rows. Set
`VLLM_ENABLE_V1_MULTIPROCESSING=1` to have a second process all the same; the weights of further ranks
(`tensor_parallel_size` above 1) live in processes of their own anyway.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from asyncinfer.aio import gc_tuning as collector
from asyncinfer.engines.local.vllm import process as vllm_process
from asyncinfer.engines.local.vllm.compat import api, led_to_our_log
from asyncinfer.engines.local.vllm.process import turns
from asyncinfer.errors import ConfigError, RequestError, error_text, invalid_request


class VllmModel:
    """A loaded engine. All its methods are for one thread."""

    def __init__(self, args: Mapping[str, Any], adapter: str | None) -> None:
        """Raises ConfigError when vLLM cannot load the model with these arguments."""
        self._one_process = vllm_process.one_process()
        model = str(args["model"])
        with turns, led_to_our_log(), vllm_process.loading(self._one_process), _as_config_error(model):
            vllm_process.keep_shared_state()
            self._engine: Any = _load(args, self._one_process)
            vllm_process.loaded.add(id(self._engine))
            try:
                self._adapter = self._adapt(adapter)
            except BaseException:
                self._end()
                raise
        config = self._engine.vllm_config
        self.config: Any = config.model_config
        self.context: int = config.model_config.max_model_len
        self.slots: int = config.scheduler_config.max_num_seqs
        self.takes_images: bool = bool(config.model_config.is_multimodal_model)
        self.tokenizer: Any = self._engine.renderer.tokenizer
        # By default vLLM tries xgrammar first, which takes minutes for a large repetition. A grammar in llguidance's
        # own format makes it use llguidance.
        backend: str = config.structured_outputs_config.backend
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        self.takes_lark: bool = fast and (backend == "auto" or backend.startswith("guidance"))
        self._no_limit: Any = None

    @property
    def chat_template(self) -> str | None:
        """The model's own; None where there is none, or several, or the format is in vLLM's code."""
        template = getattr(self.tokenizer, "chat_template", None)
        return template if isinstance(template, str) else None

    def render(
        self,
        messages: list[dict[str, Any]],
        template: str | None,
        template_kwargs: Mapping[str, Any],
        tools: list[dict[str, Any]],
    ) -> Any:
        """The prompt, with its tokens and what the images became.

        Raises:
            RequestError: the template or the model cannot take these messages.
        """
        from_vllm: Any = import_module("vllm.renderers.params")
        renderer = self._engine.renderer
        mistral = import_module("vllm.utils.mistral").is_mistral_tokenizer(renderer.tokenizer)
        defaults = {"add_generation_prompt": True, "tools": tools or None, "tokenize": mistral}
        chat = from_vllm.ChatParams(chat_template=template, chat_template_kwargs={**defaults, **template_kwargs})
        try:
            _, (prompt,) = renderer.render_chat([messages], chat, self._whole_prompts())
        except Exception as error:
            raise invalid_request(f"vLLM cannot make a prompt of this conversation: {error}") from error
        return prompt

    def add(self, name: str, prompt: Any, sampling: Mapping[str, Any], structure: Mapping[str, Any] | None) -> str:
        """Take a request; vLLM's own name for it, by which it is aborted.

        Raises:
            RequestError: vLLM cannot do what is asked.
        """
        try:
            params = _sampling_params(sampling, structure)
            return self._engine.add_request(name, prompt, params, lora_request=self._adapter)
        except (api("vllm.exceptions").VLLMClientError, ValueError, TypeError, NotImplementedError) as error:
            raise invalid_request(f"vLLM cannot do what is asked: {error}") from error

    def step(self) -> list[Any]:
        """Compute a token for each request that has its turn; what there is to tell of them."""
        if not self._one_process:
            return self._engine.step()
        with turns:
            return self._engine.step()

    def abort(self, internal: str) -> None:
        self._engine.abort_request([internal], internal=True)

    def close(self) -> None:
        """Free the memory; what is global in the process too, after the last engine."""
        with turns:
            self._end()

    def parsers(self, tool_parser: str | None, reasoning_parser: str | None) -> Any:
        """vLLM's class that parses answers; None where neither is asked for.

        Raises:
            ConfigError: vLLM has no such parser, or it cannot parse this model.
        """
        try:
            return api("vllm.parser").ParserManager.get_parser(
                tool_parser_name=tool_parser,
                reasoning_parser_name=reasoning_parser,
                enable_auto_tools=tool_parser is not None,
                model_name=self.config.model,
                tokenizer=self.tokenizer,
            )
        except Exception as error:
            raise ConfigError(f"model.tool_call_parser, reasoning_parser: {_reasons(error)}") from error

    def _whole_prompts(self) -> Any:
        """How to tokenise: as the template says, and however long, as we tell ourselves what is too long."""
        if self._no_limit is None:
            default = self._engine.renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
            self._no_limit = replace(default, max_total_tokens=None, max_output_tokens=0)
        return self._no_limit

    def _adapt(self, adapter: str | None) -> Any:
        """Load the adapter now: one that does not fit would end the engine with the first row."""
        if adapter is None:
            return None
        request = api("vllm.lora.request").LoRARequest("adapter", 1, adapter)
        self._engine.add_lora(request)
        return request

    def _end(self) -> None:
        engine, self._engine = self._engine, None
        vllm_process.loaded.discard(id(engine))
        for part in (engine.renderer, engine.engine_core):
            with suppress(Exception):
                part.shutdown()
        del engine
        gc.collect()
        with suppress(Exception):  # C's allocator would keep it for later; Linux only.
            ctypes.CDLL(None).malloc_trim(0)


def chat_request(**values: Any) -> Any:
    """An OpenAI request, as vLLM's parsers want to see it."""
    given = {name: value for name, value in values.items() if value is not None}
    return api("vllm.entrypoints.openai.chat_completion.protocol").ChatCompletionRequest(**given)


def _load(args: Mapping[str, Any], one_process: bool) -> Any:
    engine: Any = api("vllm.v1.engine.llm_engine").LLMEngine
    executors: Any = api("vllm.v1.executor").Executor
    # For jobs, as of vLLM's `LLM`: without it vLLM takes fewer rows at once, on a large GPU an eighth.
    usage = api("vllm.usage.usage_lib").UsageContext.LLM_CLASS
    config = api("vllm.engine.arg_utils").EngineArgs(**_as_configs(args)).create_engine_config(usage)
    collector.settle()  # vLLM collects by itself, several times.
    return engine(config, executors.get_class(config), log_stats=False, multiprocess_mode=not one_process)


def _as_configs(args: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping for a part of vLLM's configuration as its class, where `EngineArgs` leaves that to `LLM`."""
    config = api("vllm.config")
    kinds = {"structured_outputs_config": config.StructuredOutputsConfig, "profiler_config": config.ProfilerConfig}
    made = {name: kinds[name](**args[name]) for name in kinds.keys() & args if isinstance(args[name], dict)}
    return {**args, **made}


def _sampling_params(sampling: Mapping[str, Any], structure: Mapping[str, Any] | None) -> Any:
    theirs = api("vllm.sampling_params")
    kind = theirs.RequestOutputKind
    values = dict(sampling)
    values["output_kind"] = kind.DELTA if values.pop("stream") else kind.FINAL_ONLY
    if structure is not None:
        values["structured_outputs"] = theirs.StructuredOutputsParams(**structure)
    # Made for this one request, which may change it.
    return theirs.SamplingParams(**values, skip_clone=True)


@contextmanager
def _as_config_error(model: str) -> Generator[None]:
    try:
        yield
    except (ConfigError, RequestError):
        raise
    except Exception as error:
        raise ConfigError(f"model.model_name: vLLM cannot load {model!r}: {_reasons(error)}{_advice(error)}") from error


def _reasons(error: BaseException) -> str:
    told = error_text(error)
    if isinstance(error, ValidationError):
        told = "; ".join(one["msg"] for one in error.errors(include_url=False, include_context=False))
    cause = error.__cause__
    return told if cause is None or str(cause) in told else f"{told}: {_reasons(cause)}"


def _advice(error: BaseException) -> str:
    text = f"{type(error).__name__} {error}".lower()
    told = ""
    if any(word in text for word in ("memory", "kv cache", "max_model_len")):
        told = (
            ". Options of vLLM go under model.model_kwargs (gpu_memory_utilization, kv_cache_memory_bytes, "
            "max_num_seqs); max_model_len is model.model_max_length"
        )
    return (
        f"{told}. Check that the model is whole: config.json, tokenizer, weights (if one is damaged, download it again)"
    )
