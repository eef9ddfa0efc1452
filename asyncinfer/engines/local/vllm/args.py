"""What of `ModelParams` goes to vLLM, as the arguments of its `EngineArgs`.

Names and defaults as in vLLM 0.32 (November 2026).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from asyncinfer.config import ModelParams
from asyncinfer.engines.local import gguf
from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import exists, expanded, is_folder

log = logging.getLogger("asyncinfer")

# In `model_kwargs`, and not vLLM's: Transformers' spelling of quantisation, where a GGUF file is, and what
# our own fields say.
EXTRAS = frozenset({"load_in_4bit", "load_in_8bit", "tool_call_parser"}) | gguf.HUB_OPTIONS
# Options for speed, memory and downloads. They do not change an answer.
UNHASHED = frozenset(
    [
        *("gpu_memory_utilization", "max_num_seqs", "tensor_parallel_size", "pipeline_parallel_size"),
        *("enable_prefix_caching", "cache_dir", "local_dir"),
    ]
)
# How Transformers loads and quantises, which vLLM decides itself.
IGNORED = ("low_cpu_mem_usage", "use_safetensors", "bnb_4bit_", "llm_int8_")
# What is said by a field of `ModelParams`, and by which.
FIELDS = {"model": "model_name", "tokenizer": "tokenizer_name", "enable_lora": "adapter_model"}
_QUANT = ("quantization", "quantization_config")
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Host:
    """What the choice depends on besides the settings: how many GPUs there are, the free memory in bytes, the ranks
    of LoRA adapters and the kinds of quantisation that this vLLM has.
    """

    gpus: int
    free_memory: int
    ranks: Collection[int]
    quantizations: Collection[str]


def check_options(options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise a ConfigError for an option that vLLM does not have."""
    for name in options:
        if field := FIELDS.get(name):
            raise ConfigError(f"model.model_kwargs.{name}: set model.{field} instead")
        if name.startswith(IGNORED):
            log.debug("model.model_kwargs.%s: vLLM has no use for it; ignored", name)
        elif name not in known and name not in EXTRAS:
            near = get_close_matches(name, [*known, *EXTRAS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; it takes the fields of vLLM's EngineArgs"
            raise ConfigError(f"model.model_kwargs.{name}: vLLM has no such option{hint}")


def engine_args(params: ModelParams, host: Host) -> dict[str, Any]:
    """The arguments of `EngineArgs`. May download a GGUF file, or what describes an adapter.

    Raises:
        ConfigError: a setting is wrong, or this vLLM cannot do it.
    """
    options = {
        name: value
        for name, value in params.model_kwargs.items()
        if name not in EXTRAS and not name.startswith(IGNORED)
    }
    args = _named(params) | {"tensor_parallel_size": _parallel(options, host)}
    if host.gpus == 0:
        args |= _on_cpu(params, options, host)
    args |= _quantized(params, host) | _adapted(params, host)
    return args | {name: value for name, value in options.items() if name not in ("tensor_parallel_size", *_QUANT)}


def _named(params: ModelParams) -> dict[str, Any]:
    """What has a field of its own in `ModelParams`, and what is always the same."""
    args: dict[str, Any] = {
        "model": _place(params.model_name),
        "trust_remote_code": params.trust_remote_code,
        "dtype": params.torch_dtype_str,
        "enable_prefix_caching": True,
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
    }
    optional = {
        "tokenizer": params.tokenizer_name and _place(params.tokenizer_name),
        "revision": params.model_revision,
        "tokenizer_revision": params.model_revision if not params.tokenizer_name else None,
        "max_model_len": params.model_max_length,
        "mm_processor_kwargs": params.processor_kwargs or None,
    }
    if not params.load_pretrained_weights:
        args["load_format"] = "dummy"
    return args | {name: value for name, value in optional.items() if value is not None}


def _place(name: str) -> str:
    return str(expanded(name, "model")) if name.startswith("~") else name


def _parallel(options: Mapping[str, Any], host: Host) -> int:
    """All GPUs, unless it is said how many."""
    asked = options.get("tensor_parallel_size") or -1
    return asked if asked > 0 else max(host.gpus // (options.get("pipeline_parallel_size") or 1), 1)


def _on_cpu(params: ModelParams, options: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """vLLM's own defaults take nine tenths of the machine's memory and compile the model for minutes."""
    args: dict[str, Any] = {"enforce_eager": True}
    if params.torch_dtype_str == "auto":
        args["dtype"] = "float32"
    if "gpu_memory_utilization" not in options and "kv_cache_memory_bytes" not in options:
        args["kv_cache_memory_bytes"] = min(4 * GIB, host.free_memory // 4)
        if params.model_max_length is None:
            args["max_model_len"] = -1  # As much of the model's as fits.
    return args


def _quantized(params: ModelParams, host: Host) -> dict[str, Any]:
    options = params.model_kwargs
    args = {name: options[name] for name in _QUANT if options.get(name) is not None}
    config: Any = args.get("quantization_config")
    if isinstance(config, dict) and "quant_method" in config:
        # As Transformers writes it; vLLM reads the rest from the model's own configuration.
        method: Any = cast(dict[str, Any], config)["quant_method"]
        args = {"quantization": args.get("quantization", method)}
    elif options.get("load_in_4bit") or options.get("load_in_8bit"):
        args.setdefault("quantization", "bitsandbytes")
    if str(options.get("filename", "")).lower().endswith(".gguf") or params.model_name.lower().endswith(".gguf"):
        return args | _gguf(params, host)
    _check_quantization(args.get("quantization"), host)
    return args | ({"load_format": "bitsandbytes"} if args.get("quantization") == "bitsandbytes" else {})


def _check_quantization(name: str | None, host: Host) -> None:
    if name is not None and name not in host.quantizations:
        raise ConfigError(
            f"model.model_kwargs.quantization: the installed vLLM has no {name!r}; it has: "
            f"{', '.join(sorted(host.quantizations))}. A package that plugs into vLLM may add it"
        )


def _gguf(params: ModelParams, host: Host) -> dict[str, Any]:
    if "gguf" not in host.quantizations:
        raise ConfigError(
            "model.model_name: the installed vLLM reads no GGUF files (a package that plugs into vLLM may add that); "
            "engine LLAMACPP does"
        )
    if not params.tokenizer_name or params.tokenizer_name == params.model_name:
        raise ConfigError("model.tokenizer_name: vLLM needs it for a GGUF file: the repository of the original model")
    path = gguf.find(params.model_name, params.model_revision, params.model_kwargs)
    return {"model": str(path), "quantization": "gguf"}


def _adapted(params: ModelParams, host: Host) -> dict[str, Any]:
    if not params.adapter_model:
        return {}
    rank = adapter_rank(params.adapter_model)
    fitting = [one for one in sorted(host.ranks) if one >= rank]
    if not fitting:
        raise ConfigError(f"model.adapter_model: its rank is {rank}, and vLLM takes at most {max(host.ranks)}")
    return {"enable_lora": True, "max_lora_rank": fitting[0], "max_loras": 1}


def adapter_rank(adapter: str) -> int:
    """The largest rank in an adapter's `adapter_config.json`.

    Raises:
        ConfigError: there is no such file, or it tells no rank.
    """
    path = _adapter_config(adapter)
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        ranks: list[Any] = [config["r"], *(config.get("rank_pattern") or {}).values()]
        return max(int(rank) for rank in ranks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"model.adapter_model: {path} tells no rank `r` of a LoRA: {error!r}") from error


def check_adapter(adapter: str) -> None:
    """Raise a ConfigError for an adapter that is not there. Reads nothing."""
    folder = expanded(adapter, "model.adapter_model")
    if is_folder(folder):
        if not (folder / "adapter_config.json").is_file():
            raise ConfigError(f"model.adapter_model: {folder.absolute()} has no adapter_config.json, as peft saves it")
    elif exists(folder) or not gguf.REPO.fullmatch(adapter):
        raise ConfigError(f"model.adapter_model: {adapter!r} is neither a folder nor a hub repository (owner/name)")


def _adapter_config(adapter: str) -> Path:
    check_adapter(adapter)
    folder = expanded(adapter, "model.adapter_model")
    if is_folder(folder):
        return folder / "adapter_config.json"
    try:
        hub: Any = import_module("huggingface_hub")
        return Path(hub.hf_hub_download(adapter, "adapter_config.json"))
    except Exception as error:
        raise ConfigError(
            f"model.adapter_model: {adapter!r} is no folder here, and the Hugging Face hub did not give it: {error}"
        ) from error
