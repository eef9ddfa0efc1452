"""What `model_kwargs` may hold for llama.cpp. It ends the process over some values, so they are checked before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, NamedTuple, cast

from asyncinfer.engines.local.llama_cpp.compat import api
from asyncinfer.errors import ConfigError

DEFAULT_PARALLEL = 8
# Options for speed, memory, logs and downloads. They do not change an answer.
UNHASHED = frozenset(
    [
        *("n_threads", "n_threads_batch", "n_batch", "n_ubatch", "n_parallel", "kv_unified", "flash_attn", "numa"),
        *("n_gpu_layers", "main_gpu", "split_mode", "tensor_split", "offload_kqv", "op_offload", "low_vram"),
        *("use_mmap", "use_mlock", "verbose", "no_perf", "cache_dir", "local_dir"),
    ]
)
OWN = frozenset({"n_parallel", "kv_unified", "mmproj", "image_min_tokens", "image_max_tokens"})


class CacheType(NamedTuple):
    """A type of keys and values: its number in llama.cpp's API, and bits per value."""

    number: int
    bits: float


# Those that llama.cpp can keep.
CACHE_TYPES = {
    "f32": CacheType(0, 32),
    "f16": CacheType(1, 16),
    "q4_0": CacheType(2, 4.5),
    "q4_1": CacheType(3, 5),
    "q5_0": CacheType(6, 5.5),
    "q5_1": CacheType(7, 6),
    "q8_0": CacheType(8, 8.5),
    "iq4_nl": CacheType(20, 4.5),
    "bf16": CacheType(30, 16),
}
# Smallest and largest value.
_RANGES: dict[str, tuple[int, int]] = {
    "n_parallel": (1, 64),
    "image_min_tokens": (1, 2**16),
    "image_max_tokens": (1, 2**16),
    "n_ctx": (0, 2**27),
    "n_batch": (1, 2**20),
    "n_ubatch": (1, 2**20),
    "n_threads": (1, 512),
    "n_threads_batch": (1, 512),
    "n_gpu_layers": (-1, 2**31 - 1),
    "main_gpu": (0, 15),
    "split_mode": (0, 3),
    "rope_scaling_type": (-1, 3),
    "pooling_type": (-1, 0),
    "attention_type": (-1, 0),
    "yarn_orig_ctx": (0, 2**31 - 1),
    "last_n_tokens_size": (0, 2**20),
}
# Ends of a GGUF file's keys.
_LAYOUT = (
    *("block_count", "dimension_count", "expert_count", "expert_shared_count", "group_count", "head_count"),
    *("head_count_kv", "embedding_length", "feed_forward_length", "key_length", "value_length", "vocab_size"),
    *("nextn_predict_layers", "tokenizer.ggml.model"),
)
_USED, _OF_THEM = "_used_count", "_count"
_ROPE_SCALING = ("none", "linear", "yarn", "longrope")
# What is ours to do, and how to ask for it.
_TAKEN = {
    "chat_format": "set model.chat_template instead",
    "chat_handler": "set model.chat_template instead",
}


def known_options() -> set[str]:
    """The names that `model_kwargs` may hold."""
    parameters = signature(api().Llama.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
    return (named | OWN) - {*_TAKEN, "tokenizer", "draft_model", "embedding", "vocab_only"}


def check_options(options: Mapping[str, Any], others: frozenset[str]) -> None:
    """Raise a ConfigError for an option or a value that llama.cpp does not have. `others`: options known elsewhere."""
    known = known_options() | others if options else set[str]()
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"model.model_kwargs.{name}: {_unknown(name, known)}")
        if value is not None:
            _check(name, value)


def check_experts(overrides: Mapping[str, Any], metadata: Callable[[], Mapping[str, str]]) -> None:
    """Raise a ConfigError for more experts, or groups of them, than the file with this metadata has."""
    used = {key: value for key, value in overrides.items() if key.endswith(_USED)}
    has: Mapping[str, str] = metadata() if used else {}
    for key, value in used.items():
        most = int(has.get(key.removesuffix(_USED) + _OF_THEM, 0))
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            fits = f"1 to {most}, which the file has" if most else "left out, as the file has none of them"
            raise ConfigError(f"model.model_kwargs.kv_overrides: {key} should be {fits}, not {value!r}")


def cache_type(value: Any) -> CacheType | None:
    """A type of keys or values, by its name or number; None if llama.cpp cannot use it."""
    if isinstance(value, str):
        return CACHE_TYPES.get(value.lower())
    return next((kind for kind in CACHE_TYPES.values() if kind.number == value), None)


def _unknown(name: str, known: set[str]) -> str:
    if name in _TAKEN:
        return _TAKEN[name]
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
    return f"llama.cpp has no such option{hint}"


def _check(name: str, value: Any) -> None:
    if name in ("type_k", "type_v") and cache_type(value) is None:
        raise ConfigError(
            f"model.model_kwargs.{name}: llama.cpp keeps no keys and values as {value!r}; "
            f"use one of {', '.join(CACHE_TYPES)}"
        )
    if name == "kv_unified" and not isinstance(value, bool):
        raise ConfigError(f"model.model_kwargs.{name}: should be true or false, not {value!r}")
    if name == "mmproj" and not isinstance(value, str | os.PathLike):
        raise ConfigError(f"model.model_kwargs.{name}: should be the name of a file, not {value!r}")
    if name == "kv_overrides":
        _check_overrides(value)
    if name in _RANGES:
        low, high = _RANGES[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"model.model_kwargs.{name}: should be a whole number, {low} to {high}, not {value!r}")


def _check_overrides(value: Any) -> None:
    if not isinstance(value, dict):
        raise ConfigError(f"model.model_kwargs.kv_overrides: should be values by the file's keys, not {value!r}")
    for key, given in cast(dict[Any, Any], value).items():
        if why := _unfit(key, given):
            raise ConfigError(f"model.model_kwargs.kv_overrides: {why}")


def _unfit(key: Any, value: Any) -> str | None:
    """Why the key of a GGUF file may not have this value, if it is known without the file."""
    if not isinstance(key, str) or "\0" in key:
        return f"{key!r} is no key of a GGUF file, such as 'llama.rope.freq_base'"
    if not isinstance(value, bool | int | float | str):
        return f"{key} should be true or false, a number or a text, not {value!r}"
    if key.endswith(_LAYOUT):
        return (
            f"{key} says how the file is laid out, and llama.cpp would end the process over another value; leave it out"
        )
    if key.endswith("rope.scaling.type") and value not in _ROPE_SCALING:
        return f"{key} should be one of {', '.join(_ROPE_SCALING)}, not {value!r}"
    if key.endswith("epsilon") and (isinstance(value, str) or not value >= 0):
        return f"{key} should be a number from 0 on, not {value!r}"
    return None
