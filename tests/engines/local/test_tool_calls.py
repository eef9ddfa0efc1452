"""Tool calls as local models write them."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, InferenceErrorType, ModelParams, RequestError
from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.chat_prompt import prompt_for
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import blaming_the_row

TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
# Nested deeper than Python reads.
DEEP = "[" * 100_000


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_no_call_is_forced_where_the_model_may_choose(choice: str | None) -> None:
    assert tool_calls.forced(choice, TOOLS) is None
    assert tool_calls.forced("required", []) is None


@pytest.mark.parametrize(
    ("choice", "names"), [("required", ["a", "b"]), ({"type": "function", "function": {"name": "b"}}, ["b"])]
)
def test_a_forced_call_is_one_of_the_tools_or_the_one_that_is_named(choice: Any, names: list[str]) -> None:
    schema = tool_calls.forced(choice, TOOLS)
    assert schema is not None
    assert [one["properties"]["name"]["const"] for one in schema["oneOf"]] == names


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "c"}}, {"function": "a"}, "a"])
def test_a_tool_that_is_not_there_is_refused(choice: Any) -> None:
    with pytest.raises(RequestError, match=r"generation\.tool_choice: .* names none of the tools: a, b"):
        tool_calls.forced(choice, TOOLS)


def test_calls_are_told_from_the_text_before_them() -> None:
    said = 'Well.<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call><tool_call>{"name": "b", "arguments": {}}'
    text, calls = tool_calls.parse(said)
    assert text == "Well."
    assert [(call.function.name, call.function.arguments) for call in calls] == [("a", '{"x": 1}'), ("b", "{}")]


@pytest.mark.parametrize("said", ["<tool_call>{", "<tool_call>[]</tool_call>", '<tool_call>{"name": 3}</tool_call>'])
def test_what_is_no_call_is_text(said: str) -> None:
    assert tool_calls.parse(said) == (said, [])


@pytest.mark.parametrize(("parallel", "stops"), [(True, ["x"]), (False, ["x", "</tool_call>"])])
def test_the_first_call_ends_the_answer_where_it_may_hold_one_only(parallel: bool, stops: list[str]) -> None:
    asked = GenerationParams(stop_strings=["x", ""], parallel_tool_calls=parallel)
    assert tool_calls.stops(asked, TOOLS) == stops


def test_brackets_that_a_model_opens_for_ever_are_text() -> None:
    text = f'<tool_call>\n{{"name": "f", "arguments": {DEEP}'
    assert tool_calls.parse(text) == (text, [])


def test_arguments_too_deep_to_be_read_are_given_to_the_template_as_they_are() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": DEEP}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "Go on."}]
    request = Request(Conversation.from_dict({"messages": messages}), GenerationParams(), ModelParams())
    assert DEEP in prompt_for(request, lambda **values: str(values), takes_tools=True)


def test_whatever_fails_before_the_model_is_touched_fails_the_row_alone() -> None:
    class Panic(BaseException):
        pass

    refused = pytest.raises(RequestError, match="the library cannot process this row: odd")
    with refused as caught, blaming_the_row("the library"):
        raise Panic("odd")
    assert caught.value.error_type == InferenceErrorType.CONFIG
