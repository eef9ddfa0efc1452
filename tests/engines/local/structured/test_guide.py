"""Grammars of llguidance with a vocabulary of single bytes: which answers they accept, and how hostile ones fail."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from random import Random
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from asyncinfer import GenerationParams, RequestError
from asyncinfer.dialects.json_schema.violation import violation
from asyncinfer.engines.local.structured.constraint import Constraint
from asyncinfer.engines.local.structured.guide import GuideFactory, make_tokenizer
from asyncinfer.engines.local.structured.structure import MAX_TEXT, structure_of
from tests.asking import WEATHER

if find_spec("llguidance") is None or find_spec("jsonschema") is None:
    pytest.skip("needs the extra llamacpp", allow_module_level=True)

END = 256
TOKENS = [bytes([byte]) for byte in range(256)] + [b"<end>"]


def guides() -> GuideFactory:
    return GuideFactory(lambda: make_tokenizer(TOKENS, [END], [END]), len(TOKENS), frozenset({END}))


def start(*, tools: Iterable[dict[str, Any]] = (), **settings: Any) -> Constraint:
    structure = structure_of(GenerationParams.model_validate(settings), list(tools))
    assert structure is not None
    return guides().start(structure)


def accepts(text: str, **settings: Any) -> bool:
    """Whether an answer may be this text and then end."""
    guide = start(**settings).guide
    assert guide is not None
    for token in [*text.encode(), END]:
        assert guide.allowed()[token] == guide.allows(token)
        if not guide.allows(token):
            return False
        guide.take(token)
    assert guide.failure is None
    assert guide.ended
    return True


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    born: datetime | None = None


class Owner(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=2_000)]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    debts: dict[str, int] = {}
    price: Decimal = Decimal(0)
    friend: Owner | None = None


OWNER = {
    "name": "Ann",
    "pets": [{"kind": "cat", "lives": 9}, {"kind": "dog", "born": "2024-02-29T10:00:00Z"}],
    "debts": {"x": 1},
    "price": "1.50",
    "friend": {"name": "B", "pets": [], "friend": None},
}
TREE = {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}}}
MUTUAL = {
    "definitions": {
        "A": {"type": "object", "properties": {"b": {"$ref": "#/definitions/B"}}},
        "B": {"type": ["object", "null"], "properties": {"a": {"$ref": "#/definitions/A", "description": "back"}}},
    },
    "$ref": "#/definitions/A",
}
QUOTED = ['say "yes"', "back\\slash", "é😀", "line\nbreak", "\u0000", "</tool_call>", "<end>"]


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"type": "string", "pattern": r"^\d{4}-\d{2}$"}, ["2024-02"], ["2024-2", "x2024-02"]),
        ({"type": "string", "pattern": r"[0-9]\.[0-9]"}, ["1.2", "v1.2b"], ["12"]),
        ({"type": "string", "pattern": "^[a-z]{0,20000}$"}, ["", "z" * 300], ["A"]),
        (TREE, [{"v": 1, "kids": [{"v": 2, "kids": []}, {}]}], [{"v": 1, "kids": [3]}]),
        (MUTUAL, [{"b": {"a": {"b": None}}}, {}], [{"b": {"a": None}}]),
        ({"enum": QUOTED}, QUOTED, ["say yes", ""]),
        ({"const": {"a": [1, {"b": 'q"'}]}}, [{"a": [1, {"b": 'q"'}]}], [{"a": [1]}]),
        ({"type": "object", "properties": {"a": True, "b": False}, "required": ["a"]}, [{"a": [1]}], [{}, {"b": 1}]),
        ({}, [None, [1], {"a": "b"}], []),
        ({"type": "string", "maxLength": 10_000}, ["a" * 10_000], ["a" * 10_001]),
        ({"type": "string", "minLength": 3, "maxLength": 3}, ["äöü"], ["ab", "abcd"]),
        ({"type": "string", "maxLength": 3.0}, ["abc"], ["abcd"]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 20_000}, [[1, 2]], [[1]]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        ({"type": "string", "nullable": True}, ["a"], [1]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [[]]),
        ({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"type": "object"}]}, [{"a": "b"}], [{}]),
        ({"type": "integer", "minimum": -5, "maximum": 1_000}, [-5, 0, 1_000], [-6, 1_001, 1.5]),
        ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 3}, [0.51, 3], [0.5, 3.1]),
        ({"type": "integer", "multipleOf": 5}, [0, 25], [3]),
        ({"type": "string", "format": "uuid"}, ["c6ccbbf5-7cdb-4a5c-9c0d-1e0d6f4f1a52"], ["c6"]),
        ({"type": "string", "format": "date-time"}, ["2024-02-29T10:00:00Z"], ["yesterday"]),
        ({"type": "string", "format": "email"}, ["a@b.cd"], ["a"]),
        ({"type": "integer", "format": "int32"}, [7], ["a"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "b"}]),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, [{"x1": 1}], [{"y": 1}]),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}, [["a", 1]], [[1]]),
        (Owner, [OWNER], [{**OWNER, "pets": [{"kind": "cow"}]}, {"name": "", "pets": []}]),
    ],
)  # fmt: skip
def test_common_schema_accepts_only_valid_answers(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    by: dict[str, Any] = {"guided_decoding": {"json": schema}}
    for value in valid:
        assert accepts(json.dumps(value, ensure_ascii=False), **by), value
    for value in invalid:
        assert not accepts(json.dumps(value, ensure_ascii=False), **by), value


@pytest.mark.parametrize("count", [3, 10_000])
def test_answer_is_one_of_the_choices(count: int) -> None:
    choices = [f"choice {number}" for number in range(count)] + ['a "b" \\ c\n\t\x7f\x00', "é😀", "<end>", "(a|b)*", ""]
    by: dict[str, Any] = {"guided_decoding": {"choice": choices}}
    assert all(accepts(choice, **by) for choice in choices[-5:] + choices[:2])
    assert not accepts("choice", **by)
    assert not accepts("a", **by)


@pytest.mark.parametrize(
    ("regex", "valid", "invalid"),
    [
        (r"^[A-Z]\w+\s\d{2,}$", "Ab_9 12", "ÀÀ 12"),
        (r"(?P<city>Paris|Rome)\.?", "Rome.", "Rome!"),
        (r"[^a-z\]\-]/\"", 'Q/"', 'q/"'),
        (r"(?i)straße", "STRAßE", "strasse"),
        (r"a.c", "aéc", "a\nc"),
        ("a{1,100000}", "a" * 500, "b"),
        ("((a{2}){2}){2}", "a" * 8, "a" * 7),
        ("((a?){100}){100}", "aaa", "b"),
        ("(a|a)*b", "aaab", "aaa"),
        ("", "", "a"),
    ],
)
def test_complete_answer_matches_the_regular_expression(regex: str, valid: str, invalid: str) -> None:
    assert accepts(valid, guided_decoding={"regex": regex})
    assert not accepts(invalid, guided_decoding={"regex": regex})


@pytest.mark.parametrize(
    ("guided", "why"),
    [
        ({"regex": "("}, r"\.regex: no grammar can express it: unclosed group"),
        ({"regex": r"(a)\1"}, "backreferences are not supported"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"regex": r"a\bb"}, "lookarounds not supported"),
        ({"regex": "\ud800"}, "surrogates not allowed"),
        ({"choice": ["a", "\ud800"]}, "no grammar can express it"),
        ({"json": {"type": "nonsense"}}, "Invalid type: nonsense"),
        ({"json": {"$ref": "#/$defs/none"}}, "'/\\$defs/none' does not exist"),
        ({"json": {"$ref": "http://127.0.0.1/schema.json"}}, "does not fetch resources"),
        ({"json": {"properties": {"a": False}, "required": ["a"], "type": "object"}}, "unsatisfiable"),
        ({"regex": "a" * (MAX_TEXT + 1)}, "characters; at most"),
        ({"choice": ["a" * MAX_TEXT, "b"]}, "characters; at most"),
        ({"json": {"enum": ["a" * MAX_TEXT]}}, "characters; at most"),
    ],
)
def test_structure_that_no_grammar_expresses_is_rejected_with_the_reason(guided: dict[str, Any], why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        start(guided_decoding=guided)
    assert "%llguidance" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "lost", "accepted"),
    [
        ({"type": "string", "pattern": "^(?=a)"}, "$: pattern", "b"),
        ({"properties": {"a": {"pattern": r"\bfoo\b", "maxLength": 5}}}, "$.properties.a: pattern", {"a": "b"}),
        ({"type": "string", "pattern": "x", "minLength": 10_000}, "$: pattern", "y" * 10_000),
        ({"type": "array", "uniqueItems": True}, "$: uniqueItems", [1, 1]),
        ({"type": "integer", "minimum": 10**40}, "$: minimum", 1),
        ({"type": "string", "minLength": 10**9}, "$: minLength", "a"),
        ({"type": "object", "patternProperties": {"^(?!a)": True}, "additionalProperties": False}, "$: patternProp", {"a": 1}),
    ],
)  # fmt: skip
def test_dropped_keywords_of_a_schema_are_logged_once(
    schema: dict[str, Any], lost: str, accepted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = guides()
    structure = structure_of(GenerationParams.model_validate({"guided_decoding": {"json": schema}}), [])
    assert structure is not None
    with caplog.at_level(logging.WARNING, logger="asyncinfer"):
        constraints = [made.start(structure) for _ in range(3)]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("generation.guided_decoding.json: the grammar cannot express these parts of the schema")
    assert lost in warning
    assert all(constraint.is_checked for constraint in constraints)
    assert accepts(json.dumps(accepted), guided_decoding={"json": schema})


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}$"} for n in range(10, 14)]}, "c"),
        ({"allOf": [{"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False}, {"minProperties": 2}]}, {"a": 1}),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(50)}, "minProperties": 25, "maxProperties": 30}, {"p1": 1}),
    ],
    ids=["patterns", "merged minimum", "minimum"],
)  # fmt: skip
def test_keywords_that_do_not_compile_together_are_checked_after_the_answer(schema: Any, answer: Any) -> None:
    constraint = start(guided_decoding={"json": schema})
    assert constraint.is_checked
    assert violation(json.dumps(schema), answer) is not None
    assert accepts(json.dumps(answer), guided_decoding={"json": schema})


def test_object_with_2000_optional_properties_stays_within_the_limits() -> None:
    indented = [b"\n" + b" " * indent + b'"p' for indent in range(20)]
    tokens = [*TOKENS[:-1], *indented, TOKENS[-1]]
    end = len(tokens) - 1
    made = GuideFactory(lambda: make_tokenizer(tokens, [end], [end]), len(tokens), frozenset({end}))
    schema = {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(2_000)}}
    structure = structure_of(GenerationParams.model_validate({"guided_decoding": {"json": schema}}), [])
    assert structure is not None
    guide = made.start(structure).guide
    assert guide is not None
    for token in [ord("{"), 256, *b'1":1,', 275, *b'1999":1}', end]:
        assert guide.allowed()[token]
        assert guide.failure is None
        guide.take(token)


def test_options_that_may_overlap_are_checked_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    options = {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2}]}
    assert start(guided_decoding={"json": options}).is_checked
    assert not caplog.records


def test_tool_call_must_match_the_schema_of_its_tool() -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    assert accepts(call, tools=[WEATHER], tool_choice="required")
    assert not accepts(call.replace("city", "town"), tools=[WEATHER], tool_choice="required")
    unknown = {"type": "function", "function": {"name": "other"}}
    with pytest.raises(RequestError, match="names none of the tools"):
        start(tools=[WEATHER], tool_choice=unknown)


def test_rows_with_the_same_structure_are_guided_independently() -> None:
    made, structure = (
        guides(),
        structure_of(GenerationParams.model_validate({"guided_decoding": {"choice": ["ab", "ba"]}}), []),
    )
    assert structure is not None
    first, second = made.start(structure).guide, made.start(structure).guide
    assert first is not None
    assert second is not None
    first.take(ord("a"))
    assert first.allows(ord("b"))
    assert second.allows(ord("a"))


def test_guide_that_reached_a_limit_reports_the_reason() -> None:
    guide = start(guided_decoding={"regex": "ab"}).guide
    assert guide is not None
    guide.take(ord("x"))
    assert guide.failure is not None


def schemas() -> st.SearchStrategy[Any]:
    """Schemas of the kinds that have valid answers."""
    bounds = st.integers(0, 4)
    leaves = st.one_of(
        st.just({"type": "boolean"}),
        st.builds(lambda low, high: {"type": "string", "minLength": low, "maxLength": low + high}, bounds, bounds),
        st.builds(lambda low, high: {"type": "integer", "minimum": low, "maximum": low + high}, bounds, bounds),
        st.builds(lambda value: {"enum": [value, None, 1.5]}, st.text(max_size=4)),
        st.builds(lambda pattern: {"type": "string", "pattern": pattern}, st.sampled_from(["^a+$", "b", r"^\\d?$"])),
    )
    names = st.text('ab"é', max_size=2)

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low, "maxItems": low + 1}, inner, bounds),
            st.builds(
                lambda properties, more: {"type": "object", "properties": properties, "required": [*properties][:1], **more},
                st.dictionaries(names, inner, max_size=3),
                st.sampled_from([{}, {"additionalProperties": False}, {"uniqueItems": True}, {"minProperties": 0}]),
            ),
            st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=2)),
            st.builds(lambda options: {"oneOf": options}, st.lists(inner, min_size=1, max_size=2)),
        )  # fmt: skip

    return st.recursive(leaves, grown, max_leaves=5)


def test_options_that_only_the_grammar_keeps_apart_are_checked() -> None:
    options = [{"type": "object", "properties": {}}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}]
    assert start(guided_decoding={"json": {"oneOf": options}}).is_checked
    assert not start(guided_decoding={"json": {"anyOf": options}}).is_checked


@pytest.mark.slow
@settings(max_examples=300)
@given(schemas(), st.randoms(use_true_random=False))
def test_complete_guided_answer_is_valid_or_is_checked(schema: dict[str, Any], random: Random) -> None:
    constraint = start(guided_decoding={"json": schema})
    guide, answer = constraint.guide, b""
    assert guide is not None
    while not guide.ended and len(answer) < 400:
        tokens = [int(token) for token in guide.allowed().nonzero()[0]]
        # White space and escapes, which strings may repeat endlessly, would take most of the steps.
        if END in tokens:
            break
        token = random.choice([token for token in tokens if chr(token) not in " \n\t\\"] or tokens)
        guide.take(token)
        answer += bytes([token])
    if len(answer) < 400 and not constraint.is_checked:
        assert violation(json.dumps(schema), json.loads(answer)) is None


_HOSTILE = """
import json, sys
from tests.engines.local.structured.test_guide import END, start
from asyncinfer import RequestError
try:
    guide = start(guided_decoding=eval(sys.argv[1])).guide
    for _ in range(20):
        allowed = guide.allowed()
        if guide.failure or guide.ended:
            break
        guide.take(int(allowed.argmax()))
    print("guided" if guide.failure is None else f"failed: {guide.failure}")
except RequestError as error:
    print(f"refused: {error}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "guided",
    [
        "{'regex': '((a{100}){100}){100}'}",
        "{'regex': '(a{4000000000}){4000000000}'}",
        "{'regex': '(' * 20000 + 'a' + ')' * 20000}",
        "{'regex': '(a|b)*a(a|b){30000}'}",
        "{'regex': ''.join(f'[a-z]{{0,{i}}}' for i in range(300))}",
        "{'choice': ['a' * i for i in range(1, 1400)]}",
        "{'choice': [f'c{i}' for i in range(100000)]}",
        "{'json': {'type': 'string', 'minLength': 1, 'maxLength': 65536}}",
        "{'json': {'type': 'string', 'pattern': '^((a{0,1000}){0,1000}){0,1000}$'}}",
        "{'json': {'type': 'object', 'properties': {f'p{i}': {} for i in range(2000)}}}",
        "{'json': {'type': 'object', 'properties': {f'p{i}': {} for i in range(2000)}, 'minProperties': 1}}",
        "{'json': {'type': 'object', 'patternProperties': {f'^x{i}-': {} for i in range(2000)}}}",
        "{'json': {'$defs': {f'A{i}': {'properties': {'l': {'$ref': f'#/$defs/A{i+1}'}}} for i in range(9000)}, '$ref': '#/$defs/A0'}}",
        "{'json': {'$defs': {f'A{i}': {'properties': {'l': {'$ref': f'#/$defs/A{i+1}'}}} for i in range(280)}, '$ref': '#/$defs/A0'}}",
        "{'json': {'$defs': {f'A{i}': {'allOf': [{'$ref': f'#/$defs/A{i+1}'}] * 2} for i in range(280)}, '$ref': '#/$defs/A0'}}",
        "{'json': {'$defs': {'A': {'$ref': '#/$defs/A'}}, '$ref': '#/$defs/A'}}",
        "{'json': {'allOf': [{'anyOf': [{'properties': {f'p{i}{j}': {}}} for j in range(10)]} for i in range(12)]}}",
        "{'json': {'enum': ['x' * 400000, 'y' * 400000]}}",
        "{'json': {'enum': [{'a': i, 'b': [i]} for i in range(3000)]}}",
        "{'json': {'allOf': [{'type': 'integer', 'multipleOf': n} for n in (9973, 9967, 9949)]}}",
        "{'json': {'allOf': [{'type': 'integer', 'multipleOf': n} for n in (9973, 9967, 9949, 9941)]}}",
        "{'json': {'type': 'integer', 'multipleOf': 997, 'anyOf': [{'multipleOf': 991}, {'multipleOf': 983}]}}",
        "{'json': {'$defs': {'A': {'properties': {f'p{i}': {} for i in range(1500)}}}, '$ref': '#/$defs/A', 'minProperties': 1}}",
        "{'json': {'allOf': [{'patternProperties': {f'^x{i}y{j}-': {} for i in range(50)}} for j in range(12)]}}",
        "{'json': {'allOf': [{'pattern': f'^.*a.{{{i}}}$'} for i in range(3, 15)]}}",
        "{'json': {'$ref': '#'}}",
        "{'json': {'type': 'number', 'minimum': 1e-300, 'maximum': 1e300}}",
    ],
)  # fmt: skip
def test_hostile_structure_neither_ends_nor_blocks_the_process(guided: str) -> None:
    child = subprocess.run([sys.executable, "-c", _HOSTILE, guided], capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr[-2000:]
    assert child.stdout.startswith(("guided", "refused: generation.guided_decoding", "failed: "))
