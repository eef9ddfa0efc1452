"""The features of Claude models, read from their names.

Sampling: Anthropic's migration guides for Claude Opus 4.7, Sonnet 5 and Haiku 5.5 (all three reject `temperature`
and `top_p`); the API's error "`temperature` and `top_p` cannot both be specified for this model", since Opus 4.1.
Thinking: "Extended thinking", feature compatibility. Schemas: "Structured outputs", supported models. All read in
November 2026.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.anthropic.json_schema import describe_constraints, supported_schema
from asyncinfer.dialects.json_schema.growth import schema_of_setting
from asyncinfer.errors import ConfigError

# Both orders: claude-3-5-sonnet-20241022, claude-opus-4-1; and Bedrock's claude-v2:1. A date is not a minor version.
_NAME = re.compile(r"claude-(?:[a-z]+-)?v?(\d+)(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (99, 0)
_SCHEMAS_SINCE, _ONE_OF_BOTH_SINCE, _NO_SAMPLING_SINCE = (4, 5), (4, 1), (4, 7)
_LEAST_WITH_THINKING = {"temperature": 1.0, "top_p": 0.95}
# The API requires `max_tokens`. If the user sets no limit, the smaller value is sent to models before Claude 3.5, and
# the larger one to all others. They accept these values (Anthropic's page "Models overview", November 2026).
_LONG_ANSWERS_SINCE, _SHORT_ANSWER, _LONG_ANSWER = (3, 5), 4096, 8192


def supports_schemas(name: str) -> bool:
    """Whether the model can follow a JSON schema. True for models other than Claude."""
    version = _version(name)
    return version is None or version >= _SCHEMAS_SINCE


def default_answer_limit(name: str) -> int:
    """The most tokens of an answer if the settings have no limit."""
    version = _version(name)
    return _SHORT_ANSWER if version is not None and version < _LONG_ANSWERS_SINCE else _LONG_ANSWER


class Sampling(NamedTuple):
    """The sampling parameters that are sent, and those that were set but are not sent."""

    sent: dict[str, float]
    dropped: frozenset[str]


def sampling(name: str, generation: GenerationParams, *, thinks: bool) -> Sampling:
    """Return the values of `temperature`, `top_p` and `top_k` that the model accepts.

    If it accepts only one of them, a temperature that was set takes precedence over `top_p`.
    """
    given = {field: value for field in _LEAST_WITH_THINKING if (value := getattr(generation, field)) is not None}
    keep = "temperature" if "temperature" in generation.model_fields_set else "top_p"
    sent = _accepted(name, given, thinks, keep)
    if (top_k := generation.top_k) is not None and top_k > 0:
        given["top_k"] = top_k
        # The same models that refuse a temperature refuse this, and so does extended thinking.
        sent |= {} if thinks or _refuses_sampling(name) else {"top_k": top_k}
    return Sampling(sent, frozenset(given.keys() & generation.model_fields_set - sent.keys()))


def _refuses_sampling(name: str) -> bool:
    version = _version(name)
    return version is not None and version >= _NO_SAMPLING_SINCE


def _accepted(name: str, given: dict[str, float], thinks: bool, keep: str) -> dict[str, float]:
    version = _version(name)
    if _refuses_sampling(name):
        return {}
    if thinks:
        given = {field: value for field, value in given.items() if value >= _LEAST_WITH_THINKING[field]}
    if len(given) > 1 and version is not None and version >= _ONE_OF_BOTH_SINCE:
        return {keep: given[keep]}
    return given


def output_schema(name: str, guided: GuidedDecodingParams | None) -> dict[str, Any] | None:
    """Return the schema for the answer, in the form that the model accepts; None if there is no schema.

    Raises:
        ConfigError: The model does not support this kind of guided decoding.
    """
    if guided is None:
        return None
    for other in ("regex", "choice"):
        if getattr(guided, other) is not None:
            raise ConfigError(f"generation.guided_decoding.{other}: this API supports only json")
    if (schema := guided.schema_dict()) is None:
        return None
    if not supports_schemas(name):
        raise ConfigError(
            f"generation.guided_decoding.json: {name} does not support schemas; Claude models since 4.5 do"
        )
    with schema_of_setting():
        return describe_constraints(schema) if isinstance(guided.json, type) else supported_schema(schema)


def _version(name: str) -> tuple[int, int] | None:
    """Return the version in the name of a Claude model; the newest if it has none. None for other models."""
    if "claude" not in name:
        return None
    found = _NAME.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST
