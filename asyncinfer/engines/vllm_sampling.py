"""What of `GenerationParams` goes to vLLM, as the arguments of its `SamplingParams` (vLLM 0.32, November 2026)."""

from __future__ import annotations

import json
from typing import Any

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines import tool_calls
from asyncinfer.engines.logit_bias import biases
from asyncinfer.engines.temperature import effective


def sampling(generation: GenerationParams, room: int, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """How to sample. `room`: the tokens that the context holds beside the prompt; `tools`: those that are called in
    our own format.

    Raises:
        RequestError: a token id is none.
    """
    return {
        "max_tokens": min(generation.max_new_tokens, room),
        "temperature": effective(generation.temperature),
        "top_p": 1.0 if generation.top_p is None else generation.top_p,
        "min_p": generation.min_p,
        "frequency_penalty": generation.frequency_penalty,
        "presence_penalty": generation.presence_penalty,
        "seed": None if generation.seed is None else generation.seed & (2**63 - 1),
        "stop": tool_calls.stops(generation, tools),
        "stop_token_ids": list(generation.stop_token_ids or ()),
        "skip_special_tokens": generation.skip_special_tokens,
        "logit_bias": biases(generation) or None,
    }


def structure(generation: GenerationParams) -> dict[str, Any] | None:
    """The structure that the answer must have, as the arguments of `StructuredOutputsParams`; None for any."""
    guided = generation.guided_decoding
    return None if guided is None else _guided(guided)


def _guided(guided: GuidedDecodingParams) -> dict[str, Any] | None:
    if guided.regex is not None:
        return {"regex": guided.regex}
    if guided.choice is not None:
        return {"choice": list(guided.choice)}
    schema = guided.schema_dict()
    return None if schema is None else {"json": schema}


def call_structure(choice: str | dict[str, Any] | None, tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The structure of a tool call that must be made, in our own format (see `tool_calls`); None if none must.

    Raises:
        RequestError: there is no such tool.
    """
    schema = tool_calls.forced(choice, tools)
    if schema is None:
        return None
    tag = {
        "type": "tag",
        "begin": f"{tool_calls.OPENING}\n",
        "content": {"type": "json_schema", "json_schema": schema},
        "end": f"\n{tool_calls.CLOSING}",
    }
    return {"structural_tag": json.dumps({"type": "structural_tag", "format": tag})}
