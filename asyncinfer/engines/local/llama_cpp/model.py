"""A model that llama.cpp has loaded: its vocabulary, its templates, and a context for many rows."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from asyncinfer.engines.local.llama_cpp.compat import api, complaints, direct_log
from asyncinfer.engines.local.llama_cpp.context import LlamaContext
from asyncinfer.engines.local.llama_cpp.options import CACHE_TYPES, DEFAULT_PARALLEL, OWN, cache_type, check_experts
from asyncinfer.engines.local.llama_cpp.sampler import Candidates, Sampler, Sampling
from asyncinfer.engines.local.llama_cpp.template import Template, compiled
from asyncinfer.engines.local.llama_cpp.vision import Projector
from asyncinfer.engines.local.resources import cores, free_memory
from asyncinfer.engines.local.structured.guide import Guide, Guides, tokenizer_of
from asyncinfer.errors import ConfigError

log = logging.getLogger("asyncinfer.llama_cpp")

DEFAULT_CONTEXT = 4096
BATCH, BATCH_BESIDE = 128, 32
# The context that llama-cpp-python makes is of no use here, and is let go of at once.
_PASSING = 32
# The options that say of which type the keys and the values are.
_CACHES = ("type_k", "type_v")


class LlamaModel:
    """A loaded model and its context of `parallel` sequences, each of `context_length` tokens.

    `batch`: how many tokens of prompts are worth evaluating at once; `batch_beside`: while other rows write. A
    processor gains nothing from more; rows come and go between two batches, and the others' next tokens wait for it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Raises ConfigError when llama.cpp cannot load the file with these settings."""
        given = _given(settings)
        self._llm = _load(path, given)
        self._vocab = api().llama_model_get_vocab(self._llm.model)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._templates: dict[str, Template] = {}
        self.trained_context: int = api().llama_model_n_ctx_train(self._llm.model)
        asked: int = given.get("n_ctx", min(DEFAULT_CONTEXT, self.trained_context))
        self.context_length = asked or self.trained_context
        self.chat_template: str | None = self._llm.metadata.get("tokenizer.chat_template")
        self.vocabulary: int = self._llm.n_vocab()
        self._candidates = Candidates(self.vocabulary)
        ends = frozenset(token for token in range(self.vocabulary) if self.is_end(token))
        self.guides = Guides(partial(self._guide_tokenizer, sorted(ends)), self.vocabulary, ends)
        self.batch, self.batch_beside = _batch_sizes(given["n_batch"])
        self.vision: Projector | None = None
        try:
            if api().llama_model_has_encoder(self._llm.model):
                raise ConfigError(f"model.model_name: {path.name} has an encoder; only decoder models can chat here")
            self._check_adapter()
            if "mmproj" in given:
                self.vision = Projector(Path(given["mmproj"]), self._llm.model, given)
            self.parallel = self._parallel(given)
            self.context = self._context(given)
        except BaseException:
            self._release()
            raise

    def template(self, source: str) -> Template:
        """The template of this text; raises ConfigError if it is not valid Jinja."""
        if source not in self._templates:
            first, last = self._text(self._llm.token_bos()), self._text(self._llm.token_eos())
            self._templates[source] = compiled(source, bos=first, eos=last)
        return self._templates[source]

    def tokenize(self, text: str) -> list[int]:
        """The template has written every special token, the first included."""
        return self._llm.tokenize(text.encode("utf-8"), add_bos=False, special=True)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The token's bytes: none for a control token, unless `special`."""
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
        return tokenizer_of([self._read_piece(token, True) for token in tokens], special, ends)

    def _is_special(self, token: int) -> bool:
        """Whether a token is not text, such as a marker of a turn."""
        theirs = api()
        no_text = theirs.LLAMA_TOKEN_ATTR_CONTROL | theirs.LLAMA_TOKEN_ATTR_UNKNOWN | theirs.LLAMA_TOKEN_ATTR_UNUSED
        return bool(theirs.llama_vocab_get_attr(self._vocab, token) & no_text)

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
            self._llm.close()

    def _parallel(self, given: Mapping[str, Any]) -> int:
        """How many rows at once: what is asked; else 8, or fewer if their context would fill a quarter of the memory.

        Raises:
            ConfigError: the context does not fit into the free memory.
        """
        asked: int | None = given.get("n_parallel")
        room = None if api().llama_supports_gpu_offload() else free_memory()
        if room is None:
            return asked or DEFAULT_PARALLEL
        one = self._cell_bytes(given) * self.context_length
        rows = asked or min(DEFAULT_PARALLEL, max(int(room / 4 / one), 1))
        if rows * one > room:
            raise ConfigError(
                f"model.model_max_length: a context of {self.context_length} tokens for each of {rows} rows takes "
                f"{rows * one / 2**30:.1f} GB, and {room / 2**30:.1f} GB are free; lower it, or model_kwargs.n_parallel"
            )
        if rows < (asked or DEFAULT_PARALLEL):
            log.info("%d rows at once: the context of more would take over a quarter of the free memory", rows)
        return rows

    def _cell_bytes(self, given: Mapping[str, Any]) -> float:
        """About how many bytes of keys and values a token takes."""
        model = self._llm.model
        width = api().llama_model_n_embd(model) / max(api().llama_model_n_head(model), 1)
        per_layer = max(api().llama_model_n_head_kv(model), 1) * width
        bits = sum((cache_type(given.get(name)) or CACHE_TYPES["f16"]).bits for name in _CACHES)
        return api().llama_model_n_layer(model) * per_layer * bits / 8

    def _context(self, given: Mapping[str, Any]) -> LlamaContext:
        """A context for all rows in place of the one that llama-cpp-python made for one."""
        theirs = self._llm.context_params
        params: Any = api().llama_context_params.from_buffer_copy(theirs)
        self._llm._ctx.close()
        params.n_ctx = min(self.context_length * self.parallel, 2**31)
        params.n_seq_max, params.kv_unified = self.parallel, self._unified(given)
        together = 0 if self.vision is None else self.vision.together or 0
        params.n_batch = max(self.batch + self.parallel, together)
        params.n_ubatch = min(given.get("n_ubatch", 512), params.n_batch)
        try:
            context = LlamaContext(self._llm.model, params, self.vocabulary)
        except MemoryError as error:
            raise ConfigError(
                f"model: llama.cpp can make no context of {self.context_length} tokens for each of "
                f"{self.parallel} rows: {error}. Check model_max_length and model_kwargs"
            ) from error
        self._adapt(context)
        return context

    def _adapt(self, context: LlamaContext) -> None:
        """Apply the LoRA adapter, which llama-cpp-python applied to its own context only."""
        adapter, scale = self._llm._lora_adapter, self._llm.lora_scale
        if adapter is None:
            return
        if hasattr(api(), "llama_set_adapters_lora"):
            adapters = (api().llama_adapter_lora_p_ctypes * 1)(adapter)
            api().llama_set_adapters_lora(context.ctx, adapters, 1, (ctypes.c_float * 1)(scale))
        else:  # Earlier releases.
            api().llama_set_adapter_lora(context.ctx, adapter, scale)

    def _check_adapter(self) -> None:
        """Raise a ConfigError if there was no adapter to load: llama-cpp-python goes on with a null pointer."""
        adapter = self._llm._lora_adapter
        if adapter is not None and not adapter:
            raise ConfigError(
                f"model.adapter_model: {self._llm.lora_path} is no LoRA adapter of this model in GGUF: {complaints()}"
            )

    def _unified(self, given: Mapping[str, Any]) -> bool:
        """Whether the rows share one pool of cells. Raises ConfigError for a model to which the pool's size matters."""
        unified = bool(given.get("kv_unified"))
        if unified and any(key.endswith("rope.scaling.original_context_length") for key in self._llm.metadata):
            raise ConfigError("model.model_kwargs.kv_unified: this model's answers depend on the size of the context")
        return unified

    def _read_piece(self, token: int, special: bool, size: int = 64) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = api().llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
        return self._read_piece(token, special, -length) if length < 0 else buffer.raw[:length]

    def _text(self, token: int) -> str:
        return "" if token == -1 else api().llama_vocab_get_text(self._vocab, token).decode("utf-8")


def _load(path: Path, given: Mapping[str, Any]) -> Any:
    direct_log(bool(given["verbose"]))
    small = {"n_ctx": _PASSING, "n_batch": _PASSING}
    theirs = {name: value for name, value in {**given, **small}.items() if name not in OWN}
    try:
        check_experts(given.get("kv_overrides", {}), lambda: _metadata(path, given))
        return api().Llama(str(path), **theirs)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model.model_name: llama.cpp cannot load {path.absolute()}: {complaints() or error}. Check that the file "
            "is a whole GGUF file (download it again) and that model_kwargs suit this machine"
        ) from error


def _metadata(path: Path, given: Mapping[str, Any]) -> dict[str, str]:
    with closing(api().Llama(str(path), vocab_only=True, verbose=given["verbose"])) as vocabulary:
        return vocabulary.metadata


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and the defaults of those that are not set; the types of keys and values by number."""
    given = {**_defaults(), **{name: value for name, value in settings.items() if value is not None}}
    kinds = {name: cache_type(given.get(name)) for name in _CACHES}
    return given | {name: kind.number for name, kind in kinds.items() if kind is not None}


def _batch_sizes(asked: int) -> tuple[int, int]:
    """See `LlamaModel`: `batch` and `batch_beside`."""
    if api().llama_supports_gpu_offload():
        return max(asked, 2), max(asked, 2)
    batch = max(min(asked, BATCH), 2)
    return batch, min(batch, BATCH_BESIDE)


def _defaults() -> dict[str, Any]:
    """Measured: on a processor, flash attention is a quarter slower at 2,000 tokens of context."""
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
