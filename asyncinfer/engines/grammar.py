"""What a llama.cpp grammar (GBNF) must say for guided decoding and for tool calls that must be made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines import tool_calls
from asyncinfer.engines.regex_grammar import from_regex
from asyncinfer.types.results import unanswerable

_NUL = re.compile(r"\x00|(?<!\\)(?:\\\\)*\\(?:u0000|x00)")
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def grammar_for(generation: GenerationParams, tools: list[dict[str, Any]]) -> str | None:
    """The grammar that the answer must follow; None for free text.

    Raises:
        RequestError: llama.cpp cannot guide by what is asked.
    """
    if generation.guided_decoding is not None:
        return _guided(generation.guided_decoding)
    call = tool_calls.forced(generation.tool_choice, tools)
    return None if call is None else _tool_call(call)


def _guided(guided: GuidedDecodingParams) -> str | None:
    if guided.regex is not None:
        return from_regex(guided.regex)
    if guided.choice is not None:
        return "root ::= " + " | ".join(_literal(choice) for choice in guided.choice)
    schema = guided.schema_dict()
    return None if schema is None else _from_schema(json.dumps(schema))


def _literal(text: str) -> str:
    """`text` as GBNF writes it, which knows fewer escapes than JSON does."""
    return _in_gbnf(json.dumps(text, ensure_ascii=False).replace(r"\b", r"\x08").replace(r"\f", r"\x0C"))


def _in_gbnf(grammar: str) -> str:
    """`grammar` with JSON's pairs of escapes as the one character that they mean."""
    if _NUL.search(grammar):
        raise unanswerable("generation.guided_decoding: llama.cpp cannot write the character U+0000")
    return _SURROGATES.sub(lambda pair: json.loads(f'"{pair[0]}"'), grammar)


@lru_cache(maxsize=64)
def _from_schema(text: str) -> str:
    convert: Callable[[str], str] = import_module("llama_cpp.llama_grammar").json_schema_to_gbnf
    try:
        grammar = convert(text)
    except Exception as error:
        raise unanswerable(f"generation.guided_decoding.json: llama.cpp cannot follow it: {error!r}") from error
    return _in_gbnf(grammar)


def _tool_call(schema: dict[str, Any]) -> str:
    body = _from_schema(json.dumps(schema))
    renamed = re.sub(r"^root ::=", "call ::=", body, flags=re.MULTILINE)
    return f'root ::= "{tool_calls.OPENING}\\n" call "\\n{tool_calls.CLOSING}"\n{renamed}'
