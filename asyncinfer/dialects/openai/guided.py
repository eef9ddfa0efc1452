"""How servers that speak OpenAI's chat completions are told what the answer must look like.

`response_format` with a JSON schema: OpenAI's API reference. vLLM: "Structured Outputs" (v0.12 and later) and the
request's fields in vLLM 0.32. SGLang: the request's fields in sglang 0.5.23. Together: "Structured outputs", its
section on regular expressions. Fireworks: "Structured outputs", grammar mode, whose grammars are llama.cpp's
GBNF; `response_format` in fireworks-ai 1.2. All read in November 2026.
"""

from __future__ import annotations

import re
from typing import Any

from asyncinfer.config import GuidedDecodingParams
from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.json_schema.strict import strict
from asyncinfer.dialects.openai.quirks import Patterns, Quirks, Schemas
from asyncinfer.errors import ConfigError

_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]()|]")
_GBNF = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def guided_fields(guided: GuidedDecodingParams | None, quirks: Quirks) -> dict[str, Any]:
    """The fields of a request that hold its answer to a schema, a pattern or choices.

    Raises:
        ConfigError: this API cannot be told so.
    """
    if guided is None:
        return {}
    if guided.regex is not None:
        return _regex(guided.regex, quirks)
    if guided.choice is not None:
        return _choice(guided.choice, quirks)
    schema = guided.schema_dict()
    return {} if schema is None else {"response_format": _schema(schema, guided, quirks)}


def _schema(schema: dict[str, Any], guided: GuidedDecodingParams, quirks: Quirks) -> dict[str, Any]:
    if quirks.schemas is Schemas.NONE:
        raise ConfigError(
            "generation.guided_decoding.json: this API follows no schema; describe it in the prompt, and set "
            'generation.extra_body to {"response_format": {"type": "json_object"}} for an answer that is JSON'
        )
    if quirks.schemas is Schemas.BARE:
        return {"type": "json_object", "schema": schema}
    # The API takes few characters, and a generic model's name has brackets.
    name = _NAME.sub("_", getattr(guided.json, "__name__", "Response"))[:64]
    shape: dict[str, Any] = {"name": name, "schema": schema}
    if guided.strict:
        shape |= {"schema": strict(schema), "strict": True}
    if quirks.flat_schemas:
        shape["schema"] = inline_refs(shape["schema"])
        if shape["schema"] is None:
            raise ConfigError("generation.guided_decoding.json: this API takes no schema that is part of itself")
    return {"type": "json_schema", "json_schema": shape}


def _regex(pattern: str, quirks: Quirks) -> dict[str, Any]:
    match quirks.patterns:
        case Patterns.VLLM:
            return {"structured_outputs": {"regex": pattern}}
        case Patterns.SGLANG:
            return {"regex": pattern}
        case Patterns.TOGETHER:
            return {"response_format": {"type": "regex", "pattern": pattern}}
        case Patterns.FIREWORKS | Patterns.NONE:
            raise _cannot("regex", quirks)


def _choice(choices: list[str], quirks: Quirks) -> dict[str, Any]:
    match quirks.patterns:
        case Patterns.VLLM:
            return {"structured_outputs": {"choice": choices}}
        case Patterns.FIREWORKS:
            grammar = "root ::= " + " | ".join(_quoted(choice) for choice in choices)
            return {"response_format": {"type": "grammar", "grammar": grammar}}
        case Patterns.SGLANG | Patterns.TOGETHER:
            return _regex(f"({'|'.join(_escaped(choice) for choice in choices)})", quirks)
        case Patterns.NONE:
            raise _cannot("choice", quirks)


def _cannot(name: str, quirks: Quirks) -> ConfigError:
    others = ["json"] if quirks.schemas is not Schemas.NONE else []
    others += ["choice"] if quirks.patterns is Patterns.FIREWORKS else []
    followed = f"only {' and '.join(others)}" if others else "none"
    return ConfigError(f"generation.guided_decoding.{name}: this API follows {followed}")


def _escaped(text: str) -> str:
    """A regular expression that matches `text` alone, with no more escapes than every engine knows."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _quoted(text: str) -> str:
    """`text` as a literal of a grammar."""
    return '"' + "".join(_GBNF.get(one) or (one if one >= " " else f"\\x{ord(one):02x}") for one in text) + '"'
