"""Reads the settings of a request in OpenAI's format. It is the opposite of `request`, which writes them.

Sources: OpenAI's API reference ("Create chat completion") and openai-python 3.57; `structured_outputs` and the other
fields beyond OpenAI's: vLLM 0.32; a schema beside `json_object`: Together and Fireworks; November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from asyncinfer.config import GenerationParams
from asyncinfer.config.problems import problems_in
from asyncinfer.dialects.fields import as_object, given_fields, object_at
from asyncinfer.dialects.openai.request import SAMPLING_FIELDS
from asyncinfer.errors import ConfigError

# The fields of a request, each with its generation parameter. Of two fields with the same parameter, the later wins.
_PARAMETERS = {
    # The server makes several answers itself, for engines that cannot.
    **{field: parameter for parameter, field in SAMPLING_FIELDS.items() if parameter != "n"},
    "reasoning_effort": "reasoning_effort",
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "guided_decoding",
    "structured_outputs": "guided_decoding",
}
# The fields that `generation_of` reads.
SETTINGS = frozenset(_PARAMETERS)
_GUIDES = ("json", "regex", "choice")


class RequestFieldError(ConfigError):
    """A field of a request has a wrong value.

    Attributes:
        field: The name of the field.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def generation_of(fields: Mapping[str, Any]) -> GenerationParams:
    """Return the generation parameters that the fields of a request set. No other parameter is set explicitly.

    A field that is null counts as missing. Fields that are not in `SETTINGS` are ignored.

    Raises:
        RequestFieldError: A field has a wrong value.
    """
    given = {field: fields[field] for field in _PARAMETERS if fields.get(field) is not None}
    values = {_PARAMETERS[field]: _value(field, value) for field, value in given.items()}
    try:
        return GenerationParams.model_validate(values)
    except ValidationError as error:
        problems = problems_in(error, GenerationParams)
    place, problem = next(iter(problems.items()))
    named = next((field for field in reversed(given) if place and _PARAMETERS[field] == place[0]), "request")
    raise RequestFieldError(named, problem.partition(": ")[2] if place else problem)


def _value(field: str, value: Any) -> Any:
    match field:
        case "stop":
            return [value] if isinstance(value, str) else value
        case "response_format":
            return _guided(value)
        case "structured_outputs":
            return given_fields(as_object(value), _GUIDES)
        case _:
            return value


def _guided(given: Any) -> dict[str, Any] | None:
    """Return the guided decoding of a `response_format`; None for plain text."""
    form = as_object(given)
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return {"json": form.get("schema") or {"type": "object"}}
        case "json_schema":
            described = object_at(form, "json_schema")
            if not isinstance(described.get("schema"), dict):
                raise RequestFieldError("response_format", "json_schema.schema should be a JSON schema")
            return {"json": described["schema"], "strict": described.get("strict") is True}
        case "regex":  # Together
            return {"regex": form.get("pattern")}
        case other:
            raise RequestFieldError(
                "response_format", f"type should be text, json_object or json_schema (found {other!r:.60})"
            )
