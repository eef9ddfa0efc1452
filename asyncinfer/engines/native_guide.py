"""Guided decoding for Transformers, by llguidance: which tokens may come next."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.engines import tool_calls
from asyncinfer.errors import MissingDependencyError
from asyncinfer.types.results import unanswerable

# A model may put white space between a schema's parts, but a small one must not do so for ever.
_SCHEMA_OPTIONS = {"whitespace_pattern": r"[ \n\t]{0,20}", "coerce_one_of": True}
# Keywords of a schema: what holds schemas by name; what holds values and no schemas; what speaks of properties besides
# those that are listed.
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_DATA = frozenset({"const", "enum", "default", "examples"})
_OF_OTHERS = frozenset(
    {"additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}
)


class Guide:
    """Follows one answer. `failure` says why it cannot do so any more: the library gives up on what takes too much
    work, or no token fits.
    """

    def __init__(self, matcher: Any, ends: list[int]) -> None:
        self._matcher, self._ends = matcher, ends
        self.failure: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped()

    def take(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def forbid(self, scores: Any) -> None:
        """Set to minus infinity, in place, the scores of tokens that must not come next."""
        torch, numpy = _torch(), import_module("numpy")
        if self.ended:
            allowed = torch.zeros(scores.shape[0], dtype=torch.bool)
            allowed[self._ends] = True
        else:
            bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
            allowed = torch.from_numpy(numpy.unpackbits(bits, bitorder="little")[: scores.shape[0]].astype(bool))
            self._check()
            if not allowed.any():
                self.failure = self.failure or "no token of the model's vocabulary can come next"
        scores[: allowed.shape[0]].masked_fill_(~allowed.to(scores.device), float("-inf"))
        scores[allowed.shape[0] :] = float("-inf")

    def _check(self) -> None:
        if self._matcher.is_error():
            self.failure = self._matcher.get_error().partition("\n")[0]


class Guides:
    """Makes guides for one tokenizer, which is read when the first is asked for."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: frozenset[int]) -> None:
        self._tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, sorted(ends)
        self._read: Any = None

    def start(self, generation: GenerationParams, tools: list[dict[str, Any]]) -> Guide | None:
        """A guide for one answer; None where it is free.

        Raises:
            RequestError: it cannot be guided by what is asked.
        """
        grammar = _grammar(generation, tools)
        if grammar is None:
            return None
        matcher = _library().LLMatcher(self._ll_tokenizer(), grammar)
        if matcher.is_error():
            raise unanswerable(f"generation.guided_decoding: it cannot be followed: {matcher.get_error()}")
        return Guide(matcher, self._ends)

    def _ll_tokenizer(self) -> Any:
        if self._read is None:
            try:
                make: Any = import_module("llguidance.hf").from_tokenizer
                self._read = make(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)
            except Exception as error:
                raise unanswerable(f"generation.guided_decoding: not with this model's tokenizer: {error}") from error
        return self._read


def _grammar(generation: GenerationParams, tools: list[dict[str, Any]]) -> str | None:
    if generation.guided_decoding is not None:
        return _guided(generation.guided_decoding)
    call = tool_calls.forced(generation.tool_choice, tools)
    return None if call is None else _tool_call(call)


def _tool_call(schema: dict[str, Any]) -> str:
    opening, closing = json.dumps(f"{tool_calls.OPENING}\n"), json.dumps(f"\n{tool_calls.CLOSING}")
    options = {"x-guidance": _SCHEMA_OPTIONS}
    return _lark(f"start: {opening} call {closing}\ncall: %json {json.dumps(_closed(schema) | options)}")


def _guided(guided: GuidedDecodingParams) -> str | None:
    if guided.regex is not None:
        return _library().LLMatcher.grammar_from_regex(guided.regex)
    if guided.choice is not None:
        return _lark("start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in guided.choice))
    schema = guided.schema_dict()
    return None if schema is None else _from_schema(json.dumps(_closed(schema)))


def _closed(schema: Any) -> Any:
    """The schema with no properties but those it lists, where it does not speak of others: as the other local engines
    read it, since a small model else goes on inventing some.
    """
    if isinstance(schema, list):
        return [_closed(one) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast(dict[str, Any], schema)
    closed = {
        key: {name: _closed(one) for name, one in value.items()} if key in _NAMED else _closed(value)
        for key, value in given.items()
        if key not in _DATA
    }
    if "properties" in given and not given.keys() & _OF_OTHERS:
        closed["additionalProperties"] = False
    return closed | {key: given[key] for key in _DATA & given.keys()}


@lru_cache(maxsize=64)
def _from_schema(schema: str) -> str:
    return _library().LLMatcher.grammar_from_json_schema(schema, overrides=_SCHEMA_OPTIONS)


def _lark(text: str) -> str:
    return _library().LLMatcher.grammar_from_lark(text)


def _library() -> Any:
    if find_spec("llguidance") is None:
        missing = MissingDependencyError("llguidance", "native")
        raise unanswerable(f"generation.guided_decoding, and tool_choice that asks for a call: {missing}")
    return import_module("llguidance")


def _torch() -> Any:
    return import_module("torch")
