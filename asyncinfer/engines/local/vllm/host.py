"""What there is to run vLLM with: this machine, and what the installed vLLM has (0.32, November 2026)."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_args

from asyncinfer.engines.local.resources import UNKNOWN_MEMORY, free_memory
from asyncinfer.engines.local.vllm.args import Host
from asyncinfer.engines.local.vllm.compat import api
from asyncinfer.errors import ConfigError


def known_options() -> set[str]:
    """The names that `model_kwargs` may hold for vLLM."""
    return {one.name for one in fields(api("vllm.engine.arg_utils").EngineArgs) if not one.name.startswith("_")}


def host() -> Host:
    """What is here to run on."""
    platform = api("vllm.platforms").current_platform
    return Host(
        gpus=0 if platform.is_cpu() else import_module("torch").accelerator.device_count(),
        free_memory=free_memory() or UNKNOWN_MEMORY,
        ranks=get_args(api("vllm.config.lora").MaxLoRARanks),
        quantizations=api("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS,
    )


def check_parsers(tool_parser: str | None, reasoning_parser: str | None) -> None:
    """Raise a ConfigError for a parser that vLLM does not have."""
    tools, reasoning = api("vllm.tool_parsers").ToolParserManager, api("vllm.reasoning").ReasoningParserManager
    _check_parser("model.tool_call_parser", tool_parser, tools)
    _check_parser("model.model_kwargs.reasoning_parser", reasoning_parser, reasoning)


def _check_parser(setting: str, name: str | None, manager: Any) -> None:
    known: list[str] = manager.list_registered()
    if name is not None and name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise ConfigError(f"{setting}: vLLM has no parser {name!r}; {hint}")
