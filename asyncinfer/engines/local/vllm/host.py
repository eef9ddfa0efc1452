"""What this machine and the installed vLLM support."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from asyncinfer.engines.local.resources import UNKNOWN_MEMORY, free_memory
from asyncinfer.engines.local.vllm import compat
from asyncinfer.engines.local.vllm.args import Host
from asyncinfer.errors import ConfigError


def inspect_host() -> Host:
    return Host(
        gpus=import_module("torch").accelerator.device_count() if compat.has_gpu() else 0,
        free_memory=free_memory() or UNKNOWN_MEMORY,
        ranks=compat.lora_ranks(),
        quantizations=compat.quantizations(),
    )


def check_parsers(tool_parser: str | None, reasoning_parser: str | None) -> None:
    """Raise a ConfigError for a parser that vLLM does not have."""
    _check_parser("model.tool_call_parser", tool_parser, compat.tool_parsers())
    _check_parser("model.model_kwargs.reasoning_parser", reasoning_parser, compat.reasoning_parsers())


def _check_parser(setting: str, name: str | None, known: list[str]) -> None:
    if name is not None and name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise ConfigError(f"{setting}: vLLM has no parser {name!r}; {hint}")
