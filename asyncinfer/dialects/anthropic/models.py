"""What Claude models take, as far as their names tell.

Sampling: Anthropic's migration guides for Claude Opus 4.7, Sonnet 5 and Haiku 5.5 (all three reject `temperature`
and `top_p`); its API's answer "`temperature` and `top_p` cannot both be specified for this model", given since Opus
4.1. Thinking: "Extended thinking", feature compatibility. Schemas: "Structured outputs", supported models. November
2026.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.anthropic.json_schema import adapted, forbid_extra
from asyncinfer.errors import ConfigError

# Both orders: claude-3-5-sonnet-20241022, claude-opus-4-1; and Bedrock's claude-v2:1. A date is no minor version.
_NAME = re.compile(r"claude-(?:[a-z]+-)?v?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (99, 0)
_SCHEMAS_SINCE, _ONE_OF_BOTH_SINCE, _NO_SAMPLING_SINCE = (4, 5), (4, 1), (4, 7)
_LEAST_WITH_THINKING = {"temperature": 1.0, "top_p": 0.95}


def takes_schemas(name: str) -> bool:
    """Whether the model can hold its answer to a JSON schema; one that is no Claude is believed to."""
    version = _version(name)
    return version is None or version >= _SCHEMAS_SINCE


class Sampling(NamedTuple):
    """What a model is told of temperature and `top_p`, and which of them were set that it is not told."""

    told: dict[str, float]
    dropped: frozenset[str]


def sampling(name: str, generation: GenerationParams, *, thinks: bool) -> Sampling:
    """What the model takes of the two. Where that is only one, `top_p` gives way to a temperature that was set."""
    given = {field: value for field in _LEAST_WITH_THINKING if (value := getattr(generation, field)) is not None}
    told = _taken(name, given, thinks, "temperature" if "temperature" in generation.model_fields_set else "top_p")
    return Sampling(told, frozenset(given.keys() & generation.model_fields_set - told.keys()))


def _taken(name: str, given: dict[str, float], thinks: bool, keep: str) -> dict[str, float]:
    version = _version(name)
    if version is not None and version >= _NO_SAMPLING_SINCE:
        return {}
    if thinks:
        given = {field: value for field, value in given.items() if value >= _LEAST_WITH_THINKING[field]}
    if len(given) > 1 and version is not None and version >= _ONE_OF_BOTH_SINCE:
        return {keep: given[keep]}
    return given


def held_schema(name: str, guided: GuidedDecodingParams | None) -> dict[str, Any] | None:
    """The schema that the model's answer is to follow, as it takes one; None where none is asked for.

    Raises:
        ConfigError: the model cannot be told so.
    """
    if guided is None:
        return None
    for other in ("regex", "choice"):
        if getattr(guided, other) is not None:
            raise ConfigError(f"generation.guided_decoding.{other}: this API follows only json")
    if (schema := guided.schema_dict()) is None:
        return None
    if not takes_schemas(name):
        raise ConfigError(f"generation.guided_decoding.json: {name} follows no schema; Claude models since 4.5 do")
    return adapted(schema) if isinstance(guided.json, type) else forbid_extra(schema)


def _version(name: str) -> tuple[int, int] | None:
    """The version in the name; of a Claude whose name has none, the newest; None where it is no Claude."""
    if "claude" not in name:
        return None
    found = _NAME.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST
