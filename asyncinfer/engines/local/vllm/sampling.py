"""Converts `GenerationParams` to the arguments of vLLM's `SamplingParams` (vLLM 0.32, November 2026)."""

from __future__ import annotations

import json
from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.answer import answer_limit
from asyncinfer.engines.local.logit_bias import token_biases
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.engines.local.temperature import effective_temperature


def sampling(generation: GenerationParams, room: int, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The sampling settings.

    Args:
        room: How many tokens the context holds after the prompt.
        tools: The tools that the model calls in the format of `tool_calls`.

    Raises:
        RequestError: A key of `logit_bias` is not a token id.
    """
    return {
        "max_tokens": answer_limit(generation, room),
        "temperature": effective_temperature(generation.temperature),
        "top_p": 1.0 if generation.top_p is None else generation.top_p,
        "top_k": max(0, generation.top_k or 0),
        "min_p": generation.min_p,
        "frequency_penalty": generation.frequency_penalty,
        "presence_penalty": generation.presence_penalty,
        "repetition_penalty": generation.repetition_penalty,
        "seed": None if generation.seed is None else generation.seed & (2**63 - 1),
        "stop": tool_calls.stop_strings(generation, tools),
        "stop_token_ids": list(generation.stop_token_ids or ()),
        "skip_special_tokens": generation.skip_special_tokens,
        "logit_bias": token_biases(generation) or None,
        "logprobs": (generation.top_logprobs or 0) if generation.wants_logprobs else None,
    }


def structured_outputs(structure: Structure) -> dict[str, Any]:
    """The structure as the arguments of vLLM's `StructuredOutputsParams`. A tool call has the format of this package
    (see `tool_calls`).
    """
    if structure.regex is not None:
        return {"regex": structure.regex}
    if structure.choices is not None:
        return {"choice": list(structure.choices)}
    schema = json.loads(structure.schema or "{}")
    if not structure.is_call:
        return {"json": schema}
    tag = {
        "type": "tag",
        "begin": f"{tool_calls.OPENING}\n",
        "content": {"type": "json_schema", "json_schema": schema},
        "end": f"\n{tool_calls.CLOSING}",
    }
    return {"structural_tag": json.dumps({"type": "structural_tag", "format": tag})}


def with_parameters(tools: list[dict[str, Any]], structure: Structure) -> list[dict[str, Any]]:
    """The tools, with the parameter schemas from the structure of a tool call."""
    calls = json.loads(structure.schema or "{}").get("oneOf", [])
    allowed = {call["properties"]["name"]["const"]: call["properties"]["arguments"] for call in calls}
    return [
        {**tool, "function": {**tool["function"], "parameters": allowed[tool["function"]["name"]]}}
        if tool["function"]["name"] in allowed
        else tool
        for tool in tools
    ]
