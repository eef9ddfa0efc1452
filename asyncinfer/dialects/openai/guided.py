"""Encodes guided decoding for servers that speak OpenAI's chat completions.

`response_format` with a JSON schema: OpenAI's API reference. vLLM: "Structured Outputs" (v0.12 and later) and the
request's fields in vLLM 0.32. SGLang: the request's fields in sglang 0.5.23. Together: "Structured outputs", its
section on regular expressions. Fireworks: "Structured outputs", grammar mode, with grammars in llama.cpp's GBNF;
`response_format` in fireworks-ai 1.2. llama.cpp: the README of its server, "POST /completion". All read in November
2026.
"""

from __future__ import annotations

import re
from typing import Any

from asyncinfer.config import GuidedDecodingParams
from asyncinfer.dialects.json_schema.growth import schema_of_setting
from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.json_schema.strict import to_openai_strict, to_strict
from asyncinfer.dialects.openai.quirks import Patterns, Quirks, Schemas
from asyncinfer.errors import ConfigError

_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]()|]")
_GBNF = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def guided_fields(guided: GuidedDecodingParams | None, quirks: Quirks) -> dict[str, Any]:
    """Return the request fields that require the answer to follow a schema, a regular expression or choices.

    Raises:
        ConfigError: The API does not support this kind of guided decoding.
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
            "generation.guided_decoding.json: this API does not support schemas; describe it in the prompt, and set "
            'generation.extra_body to {"response_format": {"type": "json_object"}} for an answer that is JSON'
        )
    if quirks.schemas is Schemas.BARE:
        return {"type": "json_object", "schema": schema}
    # The API allows only a few characters, and the name of a generic model contains brackets.
    name = _NAME.sub("_", getattr(guided.json, "__name__", "Response"))[:64]
    with schema_of_setting():
        shape = {"name": name, "schema": _accepted(schema, guided.strict, quirks)}
    return {"type": "json_schema", "json_schema": {**shape, "strict": True} if guided.strict else shape}


def _accepted(schema: dict[str, Any], strict: bool, quirks: Quirks) -> dict[str, Any]:
    """Return the schema in the form that the API accepts."""
    if strict:
        schema = to_openai_strict(schema) if quirks.strict_subset else to_strict(schema)
    if strict and quirks.object_root:
        _check_root(schema)
    schema = quirks.schema_transform(schema)
    inlined = inline_refs(schema) if quirks.inline_refs else schema
    if inlined is None:
        raise ConfigError("generation.guided_decoding.json: this API accepts no schema that contains itself")
    return inlined


def _check_root(schema: dict[str, Any]) -> None:
    """Check a schema for OpenAI's strict mode ("Root objects must not be anyOf and must be an object").

    Raises:
        ConfigError: It does not describe one object.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        raise ConfigError(
            "generation.guided_decoding.json: OpenAI's strict mode accepts only a schema of type object, without a "
            "union at its top (anyOf or oneOf): put the union into a property, or set guided_decoding.strict to false"
        )


def _regex(pattern: str, quirks: Quirks) -> dict[str, Any]:
    match quirks.patterns:
        case Patterns.VLLM:
            return {"structured_outputs": {"regex": pattern}}
        case Patterns.SGLANG:
            return {"regex": pattern}
        case Patterns.TOGETHER:
            return {"response_format": {"type": "regex", "pattern": pattern}}
        case Patterns.FIREWORKS | Patterns.LLAMACPP | Patterns.NONE:
            raise _unsupported("regex", quirks)


def _choice(choices: list[str], quirks: Quirks) -> dict[str, Any]:
    match quirks.patterns:
        case Patterns.VLLM:
            return {"structured_outputs": {"choice": choices}}
        case Patterns.FIREWORKS:
            return {"response_format": {"type": "grammar", "grammar": _grammar(choices)}}
        case Patterns.LLAMACPP:
            return {"grammar": _grammar(choices)}
        case Patterns.SGLANG | Patterns.TOGETHER:
            return _regex(f"({'|'.join(_escaped(choice) for choice in choices)})", quirks)
        case Patterns.NONE:
            raise _unsupported("choice", quirks)


def _unsupported(name: str, quirks: Quirks) -> ConfigError:
    others = ["json"] if quirks.schemas is not Schemas.NONE else []
    others += ["choice"] if quirks.patterns in (Patterns.FIREWORKS, Patterns.LLAMACPP) else []
    supported = f"supports only {' and '.join(others)}" if others else "does not support guided decoding"
    return ConfigError(f"generation.guided_decoding.{name}: this API {supported}")


def _escaped(text: str) -> str:
    """Return a regular expression that matches only `text`. Its escapes work in every engine."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _grammar(choices: list[str]) -> str:
    """Return a grammar in llama.cpp's GBNF that matches only `choices`."""
    return "root ::= " + " | ".join(_quoted(choice) for choice in choices)


def _quoted(text: str) -> str:
    """Return `text` as a literal of a grammar."""
    return '"' + "".join(_GBNF.get(one) or (one if one >= " " else f"\\x{ord(one):02x}") for one in text) + '"'
