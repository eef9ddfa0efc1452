"""The structure that a local model's answer must have: a JSON schema, a regular expression, one of several texts, or a
tool call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines.local import tool_calls
from asyncinfer.errors import invalid_request

# The most characters of a schema, a regular expression, or all choices together. llguidance takes about a second for a
# million. Only a few public schemas are larger (up to 4 million).
MAX_TEXT = 1_000_000
_GUIDED = "generation.guided_decoding"


class Structure(NamedTuple):
    """The structure of an answer. One of `schema` (JSON text), `regex` and `choices` is set.

    Args:
        setting: The dotted path of the user's setting.
        is_call: Whether the schema is that of a tool call, which is written between the markers of `tool_calls`.
    """

    setting: str
    schema: str | None = None
    regex: str | None = None
    choices: tuple[str, ...] | None = None
    is_call: bool = False


def structure_of(generation: GenerationParams, tools: Sequence[dict[str, Any]]) -> Structure | None:
    """The structure that these settings require. None for free text.

    Raises:
        RequestError: `tool_choice` names an unknown tool, or the structure is too large.
    """
    guided = generation.guided_decoding
    if guided is not None:
        return _guided(guided)
    call = tool_calls.forced_call_schema(generation.tool_choice, tools)
    if call is None:
        return None
    return Structure("generation.tool_choice", schema=_json_text("generation.tool_choice", call), is_call=True)


def is_structured(generation: GenerationParams) -> bool:
    """Whether `structure_of` may return a structure. Cheap enough to call for every row."""
    return generation.guided_decoding is not None or generation.tool_choice not in (None, "auto", "none")


def choices_regex(choices: Sequence[str]) -> str:
    """A regular expression that matches exactly these texts, in the syntax of Rust's `regex` crate."""
    return "|".join(re.sub(r"[^A-Za-z0-9]", lambda found: f"\\x{{{ord(found[0]):x}}}", choice) for choice in choices)


def _guided(guided: GuidedDecodingParams) -> Structure | None:
    if guided.regex is not None:
        return _checked_size(Structure(f"{_GUIDED}.regex", regex=guided.regex), len(guided.regex))
    if guided.choice is not None:
        return _checked_size(Structure(f"{_GUIDED}.choice", choices=tuple(guided.choice)), sum(map(len, guided.choice)))
    schema = guided.schema_dict()
    return None if schema is None else Structure(f"{_GUIDED}.json", schema=_json_text(f"{_GUIDED}.json", schema))


def _json_text(setting: str, schema: Any) -> str:
    try:
        text = json.dumps(schema)
    except (RecursionError, TypeError, ValueError) as error:
        raise invalid_request(f"{setting}: the schema cannot be written as JSON: {error}") from None
    _checked_size(Structure(setting), len(text))
    return text


def _checked_size(structure: Structure, size: int) -> Structure:
    if size > MAX_TEXT:
        raise invalid_request(f"{structure.setting}: has {size} characters; at most {MAX_TEXT} are supported")
    return structure
