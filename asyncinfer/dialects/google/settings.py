"""Generation parameters in the format of Gemini's own API. `request.py` names the sources."""

from __future__ import annotations

from typing import Any

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.google.schemas import supported_schema
from asyncinfer.dialects.json_schema.growth import schema_of_setting
from asyncinfer.dialects.tools import chosen_function
from asyncinfer.errors import ConfigError

_MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY", "validated": "VALIDATED"}
# Tokens of thoughts for each effort, for models before Gemini 3. As in the table of "OpenAI compatibility: thinking".
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}


def generation_config(generation: GenerationParams) -> dict[str, Any]:
    """Return the sampling settings. Defaults are left out, except those of the token limit and the temperature."""
    config: dict[str, Any] = {}
    if generation.max_new_tokens is not None:
        config["maxOutputTokens"] = generation.max_new_tokens
    if generation.temperature is not None:
        config["temperature"] = generation.temperature
    if generation.top_p is not None:
        config["topP"] = generation.top_p
    if generation.top_k is not None and generation.top_k > 0:
        config["topK"] = generation.top_k
    if generation.n > 1:
        config["candidateCount"] = generation.n
    if generation.stop_strings:
        config["stopSequences"] = generation.stop_strings
    if generation.seed is not None:
        config["seed"] = generation.seed
    if generation.frequency_penalty:
        config["frequencyPenalty"] = generation.frequency_penalty
    if generation.presence_penalty:
        config["presencePenalty"] = generation.presence_penalty
    if generation.wants_logprobs:
        config["responseLogprobs"] = True
    if generation.top_logprobs:
        config["logprobs"] = generation.top_logprobs
    return config | _guided(generation.guided_decoding)


def thinking_config(effort: str | None, *, has_levels: bool) -> dict[str, Any]:
    """Return the setting for how much the model thinks.

    Args:
        has_levels: The model takes a level. Older ones take a number of tokens.

    Raises:
        ConfigError: The model has no such effort.
    """
    if effort is None:
        return {}
    if has_levels and effort != "none":
        return {"thinkingConfig": {"thinkingLevel": effort.upper()}}
    if has_levels or effort not in _BUDGETS:
        known = "minimal, low, medium, high, xhigh" if has_levels else ", ".join(_BUDGETS)
        raise ConfigError(f"generation.reasoning_effort: this model accepts {known} (found {effort!r})")
    return {"thinkingConfig": {"thinkingBudget": _BUDGETS[effort]}}


def _guided(guided: GuidedDecodingParams | None) -> dict[str, Any]:
    if guided is None:
        return {}
    if guided.regex is not None:
        raise ConfigError("generation.guided_decoding.regex: this API supports only json and choice")
    if guided.choice is not None:
        return {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": guided.choice}}
    if (schema := guided.schema_dict()) is None:
        return {}
    with schema_of_setting():
        return {"responseMimeType": "application/json", "responseJsonSchema": supported_schema(schema)}


def tool_config(choice: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields about the choice of tools, for requests with tools."""
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in _MODES:
        return {"toolConfig": {"functionCallingConfig": {"mode": _MODES[choice]}}}
    if (name := chosen_function(choice)) is None:
        known = ", ".join(_MODES)
        raise ConfigError(f"generation.tool_choice: should be {known}, or name a function (found {choice!r})")
    return {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}}
