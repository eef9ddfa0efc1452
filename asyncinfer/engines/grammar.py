"""What a llama.cpp grammar (GBNF) must say for guided decoding and for tool calls that must be made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines import tool_calls
from asyncinfer.types.results import unanswerable


def grammar_for(generation: GenerationParams, tools: list[dict[str, Any]]) -> str | None:
    """The grammar that the answer must follow; None for free text.

    Raises:
        RequestError: llama.cpp cannot guide by what is asked.
    """
    if generation.guided_decoding is not None:
        return _guided(generation.guided_decoding)
    choice = generation.tool_choice
    if not tools or choice in (None, "auto", "none"):
        return None
    if choice == "required":
        return _tool_call(tools, None)
    try:
        return _tool_call(tools, cast(Any, choice)["function"]["name"])
    except (KeyError, TypeError):
        names = ", ".join(tool["function"]["name"] for tool in tools)
        raise unanswerable(f"generation.tool_choice: {choice!r} names none of the tools: {names}") from None


def _guided(guided: GuidedDecodingParams) -> str | None:
    if guided.regex is not None:
        raise unanswerable("generation.guided_decoding.regex: llama.cpp follows none; use json or choice")
    if guided.choice is not None:
        return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in guided.choice)
    schema = guided.schema_dict()
    return None if schema is None else _from_schema(json.dumps(schema))


@lru_cache(maxsize=64)
def _from_schema(text: str) -> str:
    convert: Callable[[str], str] = import_module("llama_cpp.llama_grammar").json_schema_to_gbnf
    try:
        return convert(text)
    except Exception as error:
        raise unanswerable(f"generation.guided_decoding.json: llama.cpp cannot follow it: {error!r}") from error


def _tool_call(tools: list[dict[str, Any]], name: str | None) -> str:
    body = _from_schema(json.dumps(tool_calls.schema(tools, name)))
    renamed = re.sub(r"^root ::=", "call ::=", body, flags=re.MULTILINE)
    return f'root ::= "{tool_calls.OPENING}\\n" call "\\n{tool_calls.CLOSING}"\n{renamed}'
