"""Converts `ModelParams` to the arguments of vLLM's `EngineArgs`. Names and defaults as in vLLM 0.32."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from asyncinfer.config import ModelParams
from asyncinfer.config.problems import nearest_name
from asyncinfer.engines.local import gguf
from asyncinfer.engines.local.model_paths import HUB_OPTIONS
from asyncinfer.errors import ConfigError
from asyncinfer.types.paths import exists, expanded, is_folder

log = logging.getLogger("asyncinfer")

# Options in `model_kwargs` that vLLM does not have: Transformers' options for quantisation, the location of a GGUF
# file, and a field of `ModelParams`.
EXTRAS = frozenset({"load_in_4bit", "load_in_8bit", "tool_call_parser"}) | HUB_OPTIONS
# Options for speed, memory and downloads. They do not change an answer.
UNHASHED = frozenset(
    [
        *("gpu_memory_utilization", "max_num_seqs", "tensor_parallel_size", "pipeline_parallel_size"),
        *("enable_prefix_caching", "cache_dir", "local_dir"),
    ]
)
# Prefixes of Transformers' options about loading and quantisation that vLLM decides itself.
IGNORED = ("low_cpu_mem_usage", "use_safetensors", "bnb_4bit_", "llm_int8_")
# Options of vLLM that a field of `ModelParams` replaces.
FIELDS = {"model": "model_name", "tokenizer": "tokenizer_name", "enable_lora": "adapter_model"}
_QUANTIZATION = ("quantization", "quantization_config")
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine and the installed vLLM support.

    Args:
        gpus: The number of GPUs.
        free_memory: In bytes.
        ranks: The values of `max_lora_rank` that vLLM supports.
        quantizations: The kinds of quantisation that vLLM supports.
    """

    gpus: int
    free_memory: int
    ranks: Collection[int]
    quantizations: Collection[str]


def with_options(params: ModelParams, options: Mapping[str, Any], tool_call_parser: str | None) -> ModelParams:
    """The parameters with further options of vLLM; `params` itself if all are None. None leaves an option as it is."""
    given = {name: value for name, value in options.items() if value is not None}
    changed: dict[str, Any] = {"model_kwargs": {**params.model_kwargs, **given}} if given else {}
    if tool_call_parser is not None:
        changed["tool_call_parser"] = tool_call_parser
    return params.model_copy(update=changed) if changed else params


def check_memory_share(share: Any) -> None:
    """Raise a ConfigError if `gpu_memory_utilization` is not a share of the memory."""
    if isinstance(share, int | float) and not 0 < share <= 1:
        raise ConfigError(f"gpu_memory_utilization: should be above 0 and at most 1 (found {share})")


def check_options(options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise a ConfigError for an option that vLLM does not have."""
    for name in options:
        if field := FIELDS.get(name):
            raise ConfigError(f"model.model_kwargs.{name}: set model.{field} instead")
        if name.startswith(IGNORED):
            log.debug("model.model_kwargs.%s: ignored, because vLLM does not support it", name)
        elif name not in known and name not in EXTRAS:
            hint = nearest_name(name, [*known, *EXTRAS]) or "; it accepts the fields of vLLM's EngineArgs"
            raise ConfigError(f"model.model_kwargs.{name}: vLLM has no such option{hint}")


def engine_args(params: ModelParams, host: Host) -> dict[str, Any]:
    """The arguments of `EngineArgs`. May download a GGUF file, or the configuration of an adapter.

    Raises:
        ConfigError: A setting is wrong, or the installed vLLM does not support it.
    """
    options = {
        name: value
        for name, value in params.model_kwargs.items()
        if name not in EXTRAS and not name.startswith(IGNORED)
    }
    args = _from_fields(params) | {"tensor_parallel_size": _tensor_parallel_size(options, host)}
    if host.gpus == 0:
        args |= _cpu_defaults(params, options, host)
    args |= _quantization(params, host) | _lora(params, host)
    return args | {
        name: value for name, value in options.items() if name not in ("tensor_parallel_size", *_QUANTIZATION)
    }


def _from_fields(params: ModelParams) -> dict[str, Any]:
    """The arguments that follow from the fields of `ModelParams`, and those that are always the same."""
    args: dict[str, Any] = {
        "model": _expand_home(params.model_name),
        "trust_remote_code": params.trust_remote_code,
        "dtype": params.torch_dtype_str,
        "enable_prefix_caching": True,
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
    }
    optional = {
        "tokenizer": params.tokenizer_name and _expand_home(params.tokenizer_name),
        "revision": params.model_revision,
        "tokenizer_revision": params.model_revision if not params.tokenizer_name else None,
        "max_model_len": params.model_max_length,
        "mm_processor_kwargs": params.processor_kwargs or None,
    }
    if not params.load_pretrained_weights:
        args["load_format"] = "dummy"
    return args | {name: value for name, value in optional.items() if value is not None}


def _expand_home(name: str) -> str:
    return str(expanded(name, "model")) if name.startswith("~") else name


def _tensor_parallel_size(options: Mapping[str, Any], host: Host) -> int:
    """The option, or else all GPUs."""
    size = options.get("tensor_parallel_size") or -1
    return size if size > 0 else max(host.gpus // (options.get("pipeline_parallel_size") or 1), 1)


def _cpu_defaults(params: ModelParams, options: Mapping[str, Any], host: Host) -> dict[str, Any]:
    """Defaults without a GPU. vLLM's own ones take nine tenths of the memory and compile the model for minutes."""
    args: dict[str, Any] = {"enforce_eager": True}
    if params.torch_dtype_str == "auto":
        args["dtype"] = "float32"
    if "gpu_memory_utilization" not in options and "kv_cache_memory_bytes" not in options:
        args["kv_cache_memory_bytes"] = min(4 * GIB, host.free_memory // 4)
        if params.model_max_length is None:
            args["max_model_len"] = -1  # As much of the model's context as fits.
    return args


def _quantization(params: ModelParams, host: Host) -> dict[str, Any]:
    options = params.model_kwargs
    args = {name: options[name] for name in _QUANTIZATION if options.get(name) is not None}
    config: Any = args.get("quantization_config")
    if isinstance(config, dict) and "quant_method" in config:
        # In Transformers' format. vLLM reads the rest from the configuration of the model.
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
            f"{', '.join(sorted(host.quantizations))}. A plugin for vLLM may add it"
        )


def _gguf(params: ModelParams, host: Host) -> dict[str, Any]:
    if "gguf" not in host.quantizations:
        raise ConfigError(
            "model.model_name: the installed vLLM does not support GGUF files (a plugin for vLLM may add this); "
            "the engine LLAMACPP does"
        )
    if not params.tokenizer_name or params.tokenizer_name == params.model_name:
        raise ConfigError("model.tokenizer_name: vLLM needs it for a GGUF file: the repository of the original model")
    path = gguf.find(params.model_name, params.model_revision, params.model_kwargs)
    return {"model": str(path), "quantization": "gguf"}


def _lora(params: ModelParams, host: Host) -> dict[str, Any]:
    if not params.adapter_model:
        return {}
    rank = adapter_rank(params.adapter_model)
    sufficient = [supported for supported in sorted(host.ranks) if supported >= rank]
    if not sufficient:
        raise ConfigError(f"model.adapter_model: its rank is {rank}, and vLLM supports at most {max(host.ranks)}")
    return {"enable_lora": True, "max_lora_rank": sufficient[0], "max_loras": 1}


def adapter_rank(adapter: str) -> int:
    """The largest rank in an adapter's `adapter_config.json`.

    Raises:
        ConfigError: There is no such file, or it contains no rank.
    """
    path = _adapter_config(adapter)
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        ranks: list[Any] = [config["r"], *(config.get("rank_pattern") or {}).values()]
        return max(int(rank) for rank in ranks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"model.adapter_model: {path} contains no rank `r` of a LoRA adapter: {error!r}") from error


def check_adapter(adapter: str) -> None:
    """Raise a ConfigError for an adapter that does not exist. Reads no file."""
    folder = expanded(adapter, "model.adapter_model")
    if is_folder(folder):
        if not (folder / "adapter_config.json").is_file():
            raise ConfigError(
                f"model.adapter_model: {folder.absolute()} has no adapter_config.json. peft saves one with each adapter"
            )
    elif exists(folder) or not gguf.REPO_NAME.fullmatch(adapter):
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
            f"model.adapter_model: {adapter!r} is not a local folder, and the Hugging Face hub did not deliver "
            f"it: {error}"
        ) from error
