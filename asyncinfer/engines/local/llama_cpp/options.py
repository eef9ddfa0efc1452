"""Checks `model_kwargs` for llama.cpp, which ends the process for some invalid values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, NamedTuple, cast

from asyncinfer.config.problems import nearest_name
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
OWN_OPTIONS = frozenset({"n_parallel", "kv_unified", "mmproj", "image_min_tokens", "image_max_tokens"})


class CacheType(NamedTuple):
    """A number format of keys and values.

    Args:
        number: The `ggml_type` in llama.cpp's API.
        bits: The bits per value.
    """

    number: int
    bits: float


# The formats that llama.cpp supports for keys and values.
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
# The smallest and the largest value of each option.
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
# The keys of a GGUF file with one of these endings describe its layout.
_LAYOUT = (
    *("block_count", "dimension_count", "expert_count", "expert_shared_count", "group_count", "head_count"),
    *("head_count_kv", "embedding_length", "feed_forward_length", "key_length", "value_length", "vocab_size"),
    *("nextn_predict_layers", "tokenizer.ggml.model"),
)
# How many experts are used, and how many the file has.
_USED, _AVAILABLE = "_used_count", "_count"
_ROPE_SCALING = ("none", "linear", "yarn", "longrope")
# Options of `Llama` that another setting replaces.
_REPLACED = {
    "chat_format": "set model.chat_template instead",
    "chat_handler": "set model.chat_template instead",
}


def known_options() -> set[str]:
    """The option names that `model_kwargs` may contain."""
    parameters = signature(api().Llama.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
    return (named | OWN_OPTIONS) - {*_REPLACED, "tokenizer", "draft_model", "embedding", "vocab_only"}


def check_options(options: Mapping[str, Any], other_options: frozenset[str]) -> None:
    """Check the names and the values.

    Args:
        other_options: Names that are valid although llama.cpp does not have them.

    Raises:
        ConfigError: llama.cpp does not have this option, or does not support this value.
    """
    known = known_options() | other_options if options else set[str]()
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"model.model_kwargs.{name}: {_why_unknown(name, known)}")
        if value is not None:
            _check_value(name, value)


def check_experts(overrides: Mapping[str, Any], metadata: Callable[[], Mapping[str, str]]) -> None:
    """Raise a ConfigError if the overrides use more experts, or groups of experts, than the model file has."""
    used = {key: value for key, value in overrides.items() if key.endswith(_USED)}
    available: Mapping[str, str] = metadata() if used else {}
    for key, value in used.items():
        most = int(available.get(key.removesuffix(_USED) + _AVAILABLE, 0))
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            valid = f"1 to {most}, which the file has" if most else "left out, because the file has none of them"
            raise ConfigError(f"model.model_kwargs.kv_overrides: {key} should be {valid}, not {value!r}")


def cache_type(value: Any) -> CacheType | None:
    """The format with this name or number. None if llama.cpp does not support it."""
    if isinstance(value, str):
        return CACHE_TYPES.get(value.lower())
    return next((kind for kind in CACHE_TYPES.values() if kind.number == value), None)


def _why_unknown(name: str, known: set[str]) -> str:
    if name in _REPLACED:
        return _REPLACED[name]
    hint = nearest_name(name, known) or f"; the options are {', '.join(sorted(known))}"
    return f"llama.cpp has no such option{hint}"


def _check_value(name: str, value: Any) -> None:
    if name in ("type_k", "type_v") and cache_type(value) is None:
        raise ConfigError(
            f"model.model_kwargs.{name}: llama.cpp does not support {value!r} for keys and values; "
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
        raise ConfigError(f"model.model_kwargs.kv_overrides: should map keys of the GGUF file to values, not {value!r}")
    for key, override in cast(dict[Any, Any], value).items():
        if reason := _why_invalid(key, override):
            raise ConfigError(f"model.model_kwargs.kv_overrides: {reason}")


def _why_invalid(key: Any, value: Any) -> str | None:
    """Why a key of a GGUF file may not have this value. None if it may, as far as this is known without the file."""
    if not isinstance(key, str) or "\0" in key:
        return f"{key!r} is not a key of a GGUF file, such as 'llama.rope.freq_base'"
    if not isinstance(value, bool | int | float | str):
        return f"{key} should be true or false, a number or a text, not {value!r}"
    if key.endswith(_LAYOUT):
        return (
            f"{key} describes the layout of the file. llama.cpp would end the process for another value; leave it out"
        )
    if key.endswith("rope.scaling.type") and value not in _ROPE_SCALING:
        return f"{key} should be one of {', '.join(_ROPE_SCALING)}, not {value!r}"
    if key.endswith("epsilon") and (isinstance(value, str) or not value >= 0):
        return f"{key} should be a number of at least 0, not {value!r}"
    return None
