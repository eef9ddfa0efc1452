"""A vLLM engine with typed methods. Written for vLLM 0.32 (November 2026).

The engine core runs in the thread that calls it (vLLM's `InprocClient`). So there is no second process that must be
started, guarded with `if __name__ == "__main__"` and ended, and no tokens are sent between processes. vLLM offers
`AsyncLLM` only with a second process.

Measured in turns, SmolLM2-135M in float32 on 2 cores: compared to vLLM's `LLM` with its core in a second process, this
engine gave 0.97 times the tokens per second for a single row (the median of 28; two loads of one model differ by as
much), and 1.03 times for 32 rows. Set `VLLM_ENABLE_V1_MULTIPROCESSING=1` for a second process. With
`tensor_parallel_size` above 1, the weights of further ranks are in their own processes anyway.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import ValidationError

from asyncinfer.engines.local.vllm import compat
from asyncinfer.engines.local.vllm.process import is_one_process, restored_process_state, step_lock
from asyncinfer.errors import ConfigError, RequestError, error_text, invalid_request


class VllmModel:
    """A loaded engine. For use in one thread only."""

    def __init__(self, args: Mapping[str, Any], adapter: str | None) -> None:
        """
        Raises:
            ConfigError: vLLM cannot load the model with these arguments.
        """
        self._one_process = is_one_process()
        model = str(args["model"])
        with (
            step_lock,
            compat.forwarded_log(),
            restored_process_state(self._one_process),
            _config_errors(model),
        ):
            compat.protect_shared_state()
            self._engine: Any = compat.create_engine(args, one_process=self._one_process)
            compat.add_loaded(self._engine)
            try:
                # Loaded now: an adapter that does not fit would otherwise end the engine at the first row.
                self._adapter: Any = None if adapter is None else compat.load_adapter(self._engine, adapter)
            except BaseException:
                self._shut_down()
                raise
        config = self._engine.vllm_config
        self.config: Any = config.model_config
        self.context: int = config.model_config.max_model_len
        self.slots: int = config.scheduler_config.max_num_seqs
        self.takes_images: bool = bool(config.model_config.is_multimodal_model)
        self.tokenizer: Any = self._engine.renderer.tokenizer
        # By default vLLM tries xgrammar first, which takes minutes for a large repetition. With a grammar in
        # llguidance's own format, vLLM uses llguidance.
        backend: str = config.structured_outputs_config.backend
        is_fast = bool(getattr(self.tokenizer, "is_fast", False))
        self.accepts_lark: bool = is_fast and (backend == "auto" or backend.startswith("guidance"))

    @property
    def chat_template(self) -> str | None:
        """The model's own template. None if it has none or several, or if vLLM's code renders its prompts."""
        template = getattr(self.tokenizer, "chat_template", None)
        return template if isinstance(template, str) else None

    def render(
        self,
        messages: list[dict[str, Any]],
        template: str | None,
        template_kwargs: Mapping[str, Any],
        tools: list[dict[str, Any]],
    ) -> Any:
        """The prompt: its tokens, and the inputs for its images.

        Raises:
            RequestError: The template or the model does not support these messages.
        """
        try:
            return compat.render(self._engine, messages, template, template_kwargs, tools)
        except Exception as error:
            raise invalid_request(f"vLLM cannot make a prompt of this conversation: {error}") from error

    def add(self, name: str, prompt: Any, sampling: Mapping[str, Any], structure: Mapping[str, Any] | None) -> str:
        """Add a request. Returns vLLM's own name for it, by which it can be aborted.

        Raises:
            RequestError: vLLM does not support this request.
        """
        values = dict(sampling)
        stream: bool = values.pop("stream")
        try:
            params = compat.sampling_params(values, structure, stream=stream)
            return self._engine.add_request(name, prompt, params, lora_request=self._adapter)
        except compat.request_errors() as error:
            raise invalid_request(f"vLLM cannot process this request: {error}") from error

    def step(self) -> list[Any]:
        """Compute one token for each scheduled request. Returns the outputs that are new."""
        if not self._one_process:
            return self._engine.step()
        with step_lock:
            return self._engine.step()

    def abort(self, internal_name: str) -> None:
        """Abort a request by the name that `add` returned."""
        self._engine.abort_request([internal_name], internal=True)

    def close(self) -> None:
        """Free the memory. After the last engine of the process, also frees what the engines shared."""
        with step_lock:
            self._shut_down()
            compat.release_shared_state()

    def parsers(self, tool_parser: str | None, reasoning_parser: str | None) -> Any:
        """vLLM's class that parses answers. None if both names are None.

        Raises:
            ConfigError: vLLM has no such parser, or the parser does not support this model.
        """
        try:
            return compat.parser_class(self.config.model, self.tokenizer, tool_parser, reasoning_parser)
        except Exception as error:
            raise ConfigError(f"model.tool_call_parser, reasoning_parser: {_reasons(error)}") from error

    def _shut_down(self) -> None:
        engine, self._engine = self._engine, None
        compat.remove_loaded(engine)
        compat.shut_down(engine)
        del engine
        gc.collect()
        with suppress(Exception):  # Otherwise C's allocator keeps the memory for later. Linux only.
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _config_errors(model: str) -> Generator[None]:
    """Turn exceptions into ConfigErrors that name the model."""
    try:
        yield
    except (ConfigError, RequestError):
        raise
    except Exception as error:
        raise ConfigError(f"model.model_name: vLLM cannot load {model!r}: {_reasons(error)}{_advice(error)}") from error


def _reasons(error: BaseException) -> str:
    """The text of an error and of its causes."""
    text = error_text(error)
    if isinstance(error, ValidationError):
        text = "; ".join(detail["msg"] for detail in error.errors(include_url=False, include_context=False))
    cause = error.__cause__
    return text if cause is None or str(cause) in text else f"{text}: {_reasons(cause)}"


def _advice(error: BaseException) -> str:
    text = f"{type(error).__name__} {error}".lower()
    advice = ""
    if any(word in text for word in ("memory", "kv cache", "max_model_len")):
        advice = (
            ". Options of vLLM go under model.model_kwargs (gpu_memory_utilization, kv_cache_memory_bytes, "
            "max_num_seqs); max_model_len is model.model_max_length"
        )
    return (
        f"{advice}. Check that the model is complete: config.json, tokenizer, weights (if one is damaged, download it "
        "again)"
    )
