"""A model that llama.cpp has loaded: its vocabulary, its templates, and a context for several rows."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from asyncinfer.engines.local.llama_cpp.chat_renderer import ChatRenderer, template_source
from asyncinfer.engines.local.llama_cpp.compat import (
    api,
    apply_lora,
    attach_log,
    close_own_context,
    llama_class,
    lora_adapter,
    recent_errors,
    unsuppressed_output,
)
from asyncinfer.engines.local.llama_cpp.context import LlamaContext
from asyncinfer.engines.local.llama_cpp.options import (
    CACHE_TYPES,
    DEFAULT_PARALLEL,
    OWN_OPTIONS,
    cache_type,
    check_experts,
)
from asyncinfer.engines.local.llama_cpp.sampler import Candidates, Sampler, Sampling
from asyncinfer.engines.local.llama_cpp.vision import Projector
from asyncinfer.engines.local.resources import cores, free_memory
from asyncinfer.engines.local.structured.guide import Guide, GuideFactory, make_tokenizer
from asyncinfer.errors import ConfigError

log = logging.getLogger("asyncinfer.llama_cpp")

DEFAULT_CONTEXT = 4096
# Tokens of prompts in one batch, without a GPU: alone, and while other rows generate.
BATCH, BATCH_WHILE_GENERATING = 128, 32
# The size of the context that `Llama` makes. It is not used, and freed at once.
_UNUSED_CONTEXT = 32
# The options for the formats of keys and values.
_CACHE_OPTIONS = ("type_k", "type_v")


class LlamaModel:
    """A loaded model and its context of `parallel` sequences, each of `context_length` tokens.

    Attributes:
        batch: How many tokens of prompts one batch evaluates. A processor gains nothing from more. Rows start and end
            only between two batches.
        batch_while_generating: The same while other rows generate: their next tokens wait for the batch.
        vision: The projector of a vision model.
        renderer: Renders conversations with the chat template.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """
        Raises:
            ConfigError: llama.cpp cannot load the file with these settings.
        """
        self._detach_log = attach_log(verbose=bool(settings.get("verbose")))
        try:
            options = _with_defaults(settings)
            self._llm = _load(path, options)
        except BaseException:
            self._detach_log()
            raise
        self._vocab = api().llama_model_get_vocab(self._llm.model)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self.trained_context: int = api().llama_model_n_ctx_train(self._llm.model)
        n_ctx: int = options.get("n_ctx", min(DEFAULT_CONTEXT, self.trained_context))
        self.context_length = n_ctx or self.trained_context
        self.vocabulary: int = self._llm.n_vocab()
        self._candidates = Candidates(self.vocabulary)
        ends = frozenset(token for token in range(self.vocabulary) if self.is_end(token))
        self.guides = GuideFactory(partial(self._guide_tokenizer, sorted(ends)), self.vocabulary, ends)
        self.batch, self.batch_while_generating = _batch_sizes(options["n_batch"])
        self.vision: Projector | None = None
        try:
            if api().llama_model_has_encoder(self._llm.model):
                raise ConfigError(
                    f"model.model_name: {path.name} has an encoder; only decoder-only models are supported"
                )
            self._check_adapter()
            if "mmproj" in options:
                self.vision = Projector(Path(options["mmproj"]), self._llm.model, options)
            marker = None if self.vision is None else self.vision.marker
            self.renderer = ChatRenderer(template_source(self._llm), marker)
            self.parallel = self._parallel(options)
            self.context = self._create_context(options)
        except BaseException:
            self._release()
            raise

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a rendered prompt. The template has written all special tokens, also the first one."""
        return self._llm.tokenize(text.encode("utf-8"), add_bos=False, special=True)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of a token. Empty for a control token, unless `special` is set."""
        key = (token, special)
        if key not in self._pieces:
            self._pieces[key] = self._read_piece(token, special)
        return self._pieces[key]

    def is_end(self, token: int) -> bool:
        return api().llama_vocab_is_eog(self._vocab, token)

    def sampler(self, sampling: Sampling, guide: Guide | None = None) -> Sampler:
        return Sampler(sampling, self.vocabulary, self._candidates, guide)

    def _guide_tokenizer(self, ends: list[int]) -> Any:
        tokens = range(self.vocabulary)
        special = [token for token in tokens if self._is_special(token)]
        return make_tokenizer([self._read_piece(token, True) for token in tokens], special, ends)

    def _is_special(self, token: int) -> bool:
        """Whether a token is not text, for example because it marks a turn."""
        llama = api()
        no_text = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN | llama.LLAMA_TOKEN_ATTR_UNUSED
        return bool(llama.llama_vocab_get_attr(self._vocab, token) & no_text)

    def close(self) -> None:
        try:
            self.context.close()
        finally:
            self._release()

    def _release(self) -> None:
        try:
            if self.vision is not None:
                self.vision.close()
        finally:
            try:
                self._llm.close()
            finally:
                self._detach_log()

    def _parallel(self, options: Mapping[str, Any]) -> int:
        """How many rows to work on at once: the option `n_parallel`, or else 8, or fewer if the context of 8 rows would
        take more than a quarter of the free memory.

        Raises:
            ConfigError: The context does not fit into the free memory.
        """
        requested: int | None = options.get("n_parallel")
        free = None if api().llama_supports_gpu_offload() else free_memory()
        if free is None:
            return requested or DEFAULT_PARALLEL
        per_row = self._bytes_per_token(options) * self.context_length
        rows = requested or min(DEFAULT_PARALLEL, max(int(free / 4 / per_row), 1))
        if rows * per_row > free:
            raise ConfigError(
                f"model.model_max_length: a context of {self.context_length} tokens for each of {rows} rows takes "
                f"{rows * per_row / 2**30:.1f} GB, and {free / 2**30:.1f} GB are free; lower it, or "
                "model_kwargs.n_parallel"
            )
        if rows < (requested or DEFAULT_PARALLEL):
            log.info("working on %d rows at once: more would take over a quarter of the free memory", rows)
        return rows

    def _bytes_per_token(self, options: Mapping[str, Any]) -> float:
        """About how many bytes the keys and values of one token take."""
        model = self._llm.model
        width = api().llama_model_n_embd(model) / max(api().llama_model_n_head(model), 1)
        per_layer = max(api().llama_model_n_head_kv(model), 1) * width
        bits = sum((cache_type(options.get(name)) or CACHE_TYPES["f16"]).bits for name in _CACHE_OPTIONS)
        return api().llama_model_n_layer(model) * per_layer * bits / 8

    def _create_context(self, options: Mapping[str, Any]) -> LlamaContext:
        """A context for all rows, with the parameters of the one that `Llama` made for a single row."""
        params: Any = api().llama_context_params.from_buffer_copy(self._llm.context_params)
        close_own_context(self._llm)
        params.n_ctx = min(self.context_length * self.parallel, 2**31)
        params.n_seq_max, params.kv_unified = self.parallel, self._is_unified(options)
        image_tokens = 0 if self.vision is None else self.vision.batch_tokens or 0
        params.n_batch = max(self.batch + self.parallel, image_tokens)
        params.n_ubatch = min(options.get("n_ubatch", 512), params.n_batch)
        try:
            context = LlamaContext(self._llm.model, params, self.vocabulary)
        except MemoryError as error:
            raise ConfigError(
                f"model: llama.cpp cannot create a context of {self.context_length} tokens for each of "
                f"{self.parallel} rows: {error}. Check model_max_length and model_kwargs"
            ) from error
        if (adapter := lora_adapter(self._llm)) is not None:
            apply_lora(context.ctx, adapter, self._llm.lora_scale)
        return context

    def _check_adapter(self) -> None:
        """Raise a ConfigError if the adapter could not be loaded. `Llama` continues with a null pointer then."""
        adapter = lora_adapter(self._llm)
        if adapter is not None and not adapter:
            raise ConfigError(
                f"model.adapter_model: {self._llm.lora_path} is not a LoRA adapter of this model in GGUF format: "
                f"{recent_errors()}"
            )

    def _is_unified(self, options: Mapping[str, Any]) -> bool:
        """Whether all rows share one pool of cells.

        Raises:
            ConfigError: The answers of this model depend on the size of the pool.
        """
        unified = bool(options.get("kv_unified"))
        if unified and any(key.endswith("rope.scaling.original_context_length") for key in self._llm.metadata):
            raise ConfigError("model.model_kwargs.kv_unified: this model's answers depend on the size of the context")
        return unified

    def _read_piece(self, token: int, special: bool, size: int = 64) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = api().llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
        return self._read_piece(token, special, -length) if length < 0 else buffer.raw[:length]


def _load(path: Path, options: Mapping[str, Any]) -> Any:
    small = {"n_ctx": _UNUSED_CONTEXT, "n_batch": _UNUSED_CONTEXT}
    arguments = {name: value for name, value in {**options, **small}.items() if name not in OWN_OPTIONS}
    try:
        with unsuppressed_output():
            check_experts(options.get("kv_overrides", {}), lambda: _metadata(path, options))
            return llama_class()(str(path), **arguments)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model.model_name: llama.cpp cannot load {path.absolute()}: {recent_errors() or error}. Check that "
            "the GGUF file is complete (download it again), and that model_kwargs suit this machine"
        ) from error


def _metadata(path: Path, options: Mapping[str, Any]) -> dict[str, str]:
    with closing(llama_class()(str(path), vocab_only=True, verbose=options["verbose"])) as llm:
        return llm.metadata


def _with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with our defaults, and with the formats of keys and values as numbers."""
    options = {**_defaults(), **{name: value for name, value in settings.items() if value is not None}}
    formats = {name: cache_type(options.get(name)) for name in _CACHE_OPTIONS}
    return options | {name: kind.number for name, kind in formats.items() if kind is not None}


def _batch_sizes(n_batch: int) -> tuple[int, int]:
    """`batch` and `batch_while_generating` of a `LlamaModel`."""
    if api().llama_supports_gpu_offload():
        return max(n_batch, 2), max(n_batch, 2)
    batch = max(min(n_batch, BATCH), 2)
    return batch, min(batch, BATCH_WHILE_GENERATING)


def _defaults() -> dict[str, Any]:
    """Flash attention is off without a GPU: measured on a processor, it is 25 % slower at 2,000 tokens of context."""
    return {
        "n_batch": 512,
        "n_gpu_layers": -1,
        "n_threads": cores(),
        "n_threads_batch": cores(),
        "use_mmap": True,
        "use_mlock": False,
        "flash_attn": api().llama_supports_gpu_offload(),
        "verbose": False,
    }
