"""Finished answers are checked against their schemas."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.dialects.json_schema import violation as module
from asyncinfer.dialects.json_schema.violation import UncheckableError, violation
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.structured.constraint import Constraint, ReducedStructure
from asyncinfer.engines.local.structured.structure import Structure
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import FunctionCall, ToolCall

if find_spec("jsonschema") is None or find_spec("regex") is None:
    pytest.skip("needs the extra llamacpp", allow_module_level=True)


def doubling(depth: int) -> dict[str, Any]:
    """Each definition evaluates the next one twice."""
    twice = {f"A{n}": {"allOf": [{"$ref": f"#/$defs/A{n + 1}"}] * 2} for n in range(depth)}
    return {"$defs": {**twice, f"A{depth}": {}}, "$ref": "#/$defs/A0"}


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A regular expression that takes for ever ends after 50 ms."""
    monkeypatch.setattr(module, "REGEX_SECONDS", 0.05)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "array", "uniqueItems": True}, [1, 2]),
        ({"not": {"type": "string"}}, 1),
        ({"pattern": "(?=a)\\w"}, "ab"),
        ({"properties": {"a": {}}, "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"a": 1, "x1": 2}),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}, 4),
    ],
)  # fmt: skip
def test_valid_answer_has_no_violation(schema: dict[str, Any], answer: Any) -> None:
    assert violation(json.dumps(schema), answer) is None


@pytest.mark.parametrize(
    ("schema", "answer", "where"),
    [
        ({"uniqueItems": True}, [1, 1], "$: [1, 1] has non-unique elements"),
        ({"properties": {"a": {"maxLength": 2}}}, {"a": "abc"}, "$.a: 'abc' is too long"),
        ({"pattern": "^(?!a)"}, "ab", "$: 'ab' does not match"),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"x1": "b"}, "$.x1: 'b' is not of type"),
        ({"patternProperties": {"^x": True}, "additionalProperties": False}, {"y": 1}, "not allowed: 'y'"),
        ({"additionalProperties": {"type": "integer"}}, {"a": "b"}, "$.a: 'b' is not of type"),
    ],
)
def test_violation_is_reported_with_its_path(schema: dict[str, Any], answer: Any, where: str) -> None:
    assert where in str(violation(json.dumps(schema), answer))


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (doubling(60), {}),
        ({"pattern": "^(a|a)*$"}, "a" * 60 + "b"),
        ({"patternProperties": {"^(a|a)*$": False}}, {"a" * 60 + "b": 1}),
        ({"patternProperties": {"^(a|a)*$": True}, "additionalProperties": False}, {"a" * 60 + "b": 1}),
        ({"$ref": "#"}, {}),
        ({"maxLength": "5"}, "a"),
        ({"type": "nonsense"}, "a"),
        ({"pattern": "("}, "a"),
        ({"$ref": "#/$defs/none"}, "a"),
    ],
    ids=["doubling", "pattern", "patternProperties", "names", "endless", "length", "type", "regex", "reference"],
)
@pytest.mark.usefixtures("short_timeout")
def test_schema_that_cannot_be_checked_in_time_is_an_error(schema: dict[str, Any], answer: Any) -> None:
    with pytest.raises(UncheckableError, match="^it cannot be checked: "):
        violation(json.dumps(schema), answer)


@pytest.mark.parametrize(
    "version", ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"]
)
@pytest.mark.usefixtures("short_timeout")
def test_version_within_a_schema_lifts_no_limit(version: str) -> None:
    slow = {"pattern": "^(a|a)*$"}
    with pytest.raises(UncheckableError, match="TimeoutError"):
        violation(json.dumps({"properties": {"b": {"$schema": version, **slow}}}), {"b": "a" * 60 + "b"})
    recursive = {"$schema": version, "properties": {"next": {"$ref": "#"}, "b": slow}}
    with pytest.raises(UncheckableError, match="TimeoutError"):
        violation(json.dumps(recursive), {"next": {"b": "a" * 60 + "b"}})


def test_each_check_has_the_whole_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 100)
    schema = json.dumps({"items": {"type": "integer"}})
    for _ in range(3):
        assert violation(schema, [1] * 60) is None
        assert str(violation(schema, [1] * 60 + ["a"])).startswith("$[60]: 'a' is not of type")
        with pytest.raises(UncheckableError, match="it takes more than 100 steps"):
            violation(schema, [1] * 101)


def completion(content: str | None, reason: FinishReason, *calls: FunctionCall) -> Completion:
    made = [ToolCall(id="1", function=call) for call in calls]
    return Completion(Message(role=Role.ASSISTANT, content=content, tool_calls=made or None), reason)


@pytest.mark.parametrize(
    ("is_call", "answer", "violates"),
    [
        (False, completion('{"a": 1}', FinishReason.STOP), True),
        (False, completion('{"a": "b"}', FinishReason.STOP), False),
        (False, completion('{"a": 1}', FinishReason.LENGTH), False),
        (False, completion('{"a": 1', FinishReason.STOP), False),
        (True, completion(None, FinishReason.TOOL_CALLS, FunctionCall(name="a", arguments='{"a": 1}')), True),
        (True, completion(None, FinishReason.TOOL_CALLS, FunctionCall(name="b", arguments='{"a": "b"}')), False),
        (True, completion("cut off", FinishReason.LENGTH), False),
    ],
)
def test_complete_answer_is_checked(is_call: bool, answer: Completion, violates: bool) -> None:
    schema: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
    if is_call:
        schema = {"properties": {"arguments": schema}}
    structure = Structure("generation.x", schema="{}", is_call=is_call)
    constraint = Constraint(ReducedStructure(structure, full_schema=json.dumps(schema)))
    request = Request(Conversation(messages=[]), GenerationParams(), ModelParams())
    assert (constraint.check(request.generation, answer) is not None) is violates


@pytest.mark.parametrize(
    ("given", "is_retryable"),
    [
        ({}, False),
        ({"temperature": 0.7}, True),
        ({"temperature": None}, True),
        ({"temperature": 1e-9}, False),
        ({"temperature": 0.7, "seed": 1}, False),
        ({"temperature": None, "seed": 1}, False),
    ],
)
def test_answer_is_tried_again_only_if_it_was_drawn_at_random(given: dict[str, Any], is_retryable: bool) -> None:
    structure = ReducedStructure(Structure("generation.x", schema="{}"), full_schema='{"type": "string"}')
    error = Constraint(structure).check(GenerationParams(**given), completion("1", FinishReason.STOP))
    assert error is not None
    assert error.is_retryable is is_retryable


def test_answer_that_cannot_be_checked_is_not_tried_again() -> None:
    structure = ReducedStructure(Structure("generation.x", schema="{}"), full_schema='{"$ref": "#"}')
    error = Constraint(structure).check(GenerationParams(temperature=0.7), completion("1", FinishReason.STOP))
    assert error is not None
    assert str(error).startswith(
        "generation.x: the answer may violate the schema: it cannot be checked: RecursionError"
    )
    assert not error.is_retryable
