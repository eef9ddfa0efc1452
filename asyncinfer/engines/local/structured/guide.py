"""Guided decoding with llguidance, for llama.cpp and Transformers. vLLM uses llguidance too, with the same grammars.

llguidance 1.9 was chosen over llama.cpp's grammars (GBNF) in November 2026: GBNF ends the process for a large
repetition, and supports neither recursion nor patterns. Measured on 2 busy cores, SmolLM2-135M, a schema of three
properties, medians of 7 answers, per token: 0.3 ms against 3.8 ms greedy (0.2 ms unguided), and 1.1 ms against 23 ms
sampled (0.3 ms unguided); the model itself takes 45 ms.

`no_forcing` is set: llguidance then never tokenizes text itself, so it needs only the bytes of the tokens, and the time
of a step does not depend on the length of fixed text in the grammar.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import Any

from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.memo import Memo
from asyncinfer.engines.local.structured.constraint import Compiled, Constraint, ReducedStructure, reduce_structure
from asyncinfer.engines.local.structured.structure import Structure, choices_regex
from asyncinfer.errors import MissingDependencyError, invalid_request

# White space in JSON: at most a space, or a line break with an indent. Without a bound, a small model may never stop.
_SCHEMA_OPTIONS = {"whitespace_pattern": r"( |\n[ \t]{0,20})?", "lenient": True}
# The work that one token may take before its row fails. More items than the defaults of llguidance: an object with
# 2,000 optional properties has 4 items each, again for every way in which a token can begin a name. They take about
# 0.5 s at most, and the default fuel of the lexer 20 ms. A grammar may take 2 s, outside the model's thread.
_LIMITS = {"max_items_in_row": 10_000, "step_max_items": 400_000, "verbose_errors": False}


class Guide:
    """Tells which tokens may come next in one answer.

    Attributes:
        failure: Why the answer cannot be continued: llguidance reached one of its limits, or no token is allowed.
    """

    def __init__(self, matcher: Any, vocabulary: int, ends: list[int]) -> None:
        self._matcher, self._vocabulary, self._ends = matcher, vocabulary, ends
        self._numpy: Any = import_module("numpy")
        self.failure: str | None = None

    @property
    def ended(self) -> bool:
        """Whether only an end token can follow."""
        return self._matcher.is_stopped()

    def allows(self, token: int) -> bool:
        """Whether `token` may come next. Much cheaper than `allowed`."""
        if token in self._ends:
            return self._matcher.is_accepting()
        return not self.ended and self._matcher.validate_tokens([token]) == 1

    def allowed(self) -> Any:
        """The tokens that may come next, as a boolean array with an item for each token of the vocabulary."""
        if self.ended:
            allowed = self._numpy.zeros(self._vocabulary, dtype=bool)
            allowed[self._ends] = True
            return allowed
        bits = self._numpy.frombuffer(self._matcher.compute_bitmask(), dtype=self._numpy.uint8)
        allowed = self._numpy.unpackbits(bits, bitorder="little")[: self._vocabulary].astype(bool)
        self._check()
        if not allowed.any():
            self.failure = self.failure or "no token of the model's vocabulary can come next"
        return allowed

    def take(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            self.failure = self._matcher.get_error().partition("\n")[0]


class GuideFactory:
    """Makes guides for one model.

    Args:
        tokenizer: Makes llguidance's tokenizer; called once, for the first guide.
        vocabulary: The number of scores that the model computes for each token.
        ends: The tokens that end an answer.
    """

    def __init__(self, tokenizer: Callable[[], Any], vocabulary: int, ends: frozenset[int]) -> None:
        self._make_tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, sorted(ends)
        self._tokenizer: Any = None
        self._lock = Lock()
        self._reduced = Memo[Structure, ReducedStructure](lambda structure: reduce_structure(structure, self._compile))

    def start(self, structure: Structure) -> Constraint:
        """The constraint for one answer. The first call for a structure may take seconds. May be called on any thread.

        Raises:
            RequestError: llguidance does not support this structure.
        """
        with self._lock:
            reduced = self._reduced[structure]
            return Constraint(reduced, Guide(reduced.matcher.deep_copy(), self._vocabulary, self._ends))

    def _compile(self, structure: Structure) -> Compiled:
        tokenizer, library = self._get_tokenizer(), _library()
        limits = library.LLParserLimits(**_LIMITS)
        try:
            matcher = library.LLMatcher(tokenizer, grammar_of(structure), log_level=0, limits=limits)
        except BaseException as error:  # A panic of an extension in Rust is not an Exception.
            return Compiled(str(error), [])
        return Compiled(matcher.get_error(), matcher.get_grammar_warnings(), matcher)

    def _get_tokenizer(self) -> Any:
        if self._tokenizer is None:
            try:
                self._tokenizer = self._make_tokenizer()
            except Exception as error:
                raise invalid_request(
                    f"guided decoding is not possible with this model's tokenizer: {error}"
                ) from error
        return self._tokenizer


def compile_without_tokenizer(structure: Structure) -> Compiled:
    """Compile a structure's grammar without a tokenizer, for its error and warnings. Does nothing if llguidance is not
    installed: vLLM also runs on platforms without it.
    """
    if find_spec("llguidance") is None:
        return Compiled("", [])
    library = _library()
    limits = library.LLParserLimits(**_LIMITS)
    try:
        failed, messages = library.LLMatcher.validate_grammar_with_warnings(grammar_of(structure), limits=limits)
    except BaseException as error:  # A panic of an extension in Rust is not an Exception.
        return Compiled(str(error), [])
    return Compiled("".join(messages), []) if failed else Compiled("", messages)


def grammar_of(structure: Structure) -> str:
    """The structure as a grammar in llguidance's dialect of Lark (docs/syntax.md of llguidance 1.9)."""
    header = '%llguidance {"no_forcing": true}\n'
    if structure.regex is not None:
        return f"{header}start: TEXT\nTEXT: /{_library().regex_to_lark(structure.regex, 'dws')}/"
    if structure.choices is not None:
        return f"{header}start: TEXT\nTEXT: /{choices_regex(structure.choices)}/"
    schema = json.dumps({**json.loads(structure.schema or "{}"), "x-guidance": _SCHEMA_OPTIONS})
    if not structure.is_call:
        return f"{header}start: %json {schema}"
    opening, closing = json.dumps(f"{tool_calls.OPENING}\n"), json.dumps(f"\n{tool_calls.CLOSING}")
    return f"{header}start: {opening} call {closing}\ncall: %json {schema}"


class TokenBytes:
    """The bytes of a model's tokens, in the interface that `llguidance.LLTokenizer` expects.

    Args:
        tokens: The bytes of each token, by id.
        special: The ids of tokens that are not text.
        ends: The ids of tokens that end an answer.
    """

    is_tokenizer_wrapper = True

    def __init__(self, tokens: list[bytes], special: list[int], ends: list[int]) -> None:
        self.tokens, self.special_token_ids = tokens, special
        self.eos_token_id, self.bos_token_id = ends[0], None

    def __call__(self, text: str) -> list[int]:
        raise NotImplementedError("with no_forcing, llguidance never tokenizes text")


def make_tokenizer(tokens: list[bytes], special: list[int], ends: list[int]) -> Any:
    """llguidance's tokenizer for a vocabulary. Takes about 0.1 s for 50,000 tokens."""
    return _library().LLTokenizer(TokenBytes(tokens, special, ends), n_vocab=len(tokens), eos_token=ends)


def _library() -> Any:
    if find_spec("llguidance") is None:
        missing = MissingDependencyError("llguidance", "llamacpp")
        raise invalid_request(f"generation.guided_decoding, and a tool_choice that requires a call: {missing}")
    return import_module("llguidance")
