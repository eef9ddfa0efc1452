"""Tool calls in the text of local models."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, InferenceErrorType, ModelParams, RequestError
from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.chat_prompt import render_prompt
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import row_errors

TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
# Nested more deeply than Python can parse.
DEEP = "[" * 100_000


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_no_call_is_required_if_the_model_may_choose(choice: str | None) -> None:
    assert tool_calls.forced_call_schema(choice, TOOLS) is None
    assert tool_calls.forced_call_schema("required", []) is None


@pytest.mark.parametrize(
    ("choice", "names"), [("required", ["a", "b"]), ({"type": "function", "function": {"name": "b"}}, ["b"])]
)
def test_required_call_is_one_of_the_tools_or_the_named_tool(choice: Any, names: list[str]) -> None:
    schema = tool_calls.forced_call_schema(choice, TOOLS)
    assert schema is not None
    assert [one["properties"]["name"]["const"] for one in schema["oneOf"]] == names


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "c"}}, {"function": "a"}, "a"])
def test_unknown_tool_is_rejected(choice: Any) -> None:
    with pytest.raises(RequestError, match=r"generation\.tool_choice: .* names none of the tools: a, b"):
        tool_calls.forced_call_schema(choice, TOOLS)


def test_answer_is_split_into_text_and_calls() -> None:
    answer = 'Well.<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call><tool_call>{"name": "b", "arguments": {}}'
    text, calls = tool_calls.parse(answer)
    assert text == "Well."
    assert [(call.function.name, call.function.arguments) for call in calls] == [("a", '{"x": 1}'), ("b", "{}")]


@pytest.mark.parametrize("text", ["<tool_call>{", "<tool_call>[]</tool_call>", '<tool_call>{"name": 3}</tool_call>'])
def test_invalid_call_is_text(text: str) -> None:
    assert tool_calls.parse(text) == (text, [])


@pytest.mark.parametrize(("parallel", "stops"), [(True, ["x"]), (False, ["x", "</tool_call>"])])
def test_without_parallel_calls_the_first_call_ends_the_answer(parallel: bool, stops: list[str]) -> None:
    generation = GenerationParams(stop_strings=["x", ""], parallel_tool_calls=parallel)
    assert tool_calls.stop_strings(generation, TOOLS) == stops


def test_endlessly_nested_call_is_text() -> None:
    text = f'<tool_call>\n{{"name": "f", "arguments": {DEEP}'
    assert tool_calls.parse(text) == (text, [])


def test_arguments_that_cannot_be_parsed_are_passed_to_the_template_as_text() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": DEEP}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "Go on."}]
    request = Request(Conversation.from_dict({"messages": messages}), GenerationParams(), ModelParams())
    assert DEEP in render_prompt(request, lambda **values: str(values), supports_tools=True)


def test_any_exception_inside_row_errors_is_a_request_error() -> None:
    class Panic(BaseException):
        pass

    expected = pytest.raises(RequestError, match="the library cannot process this row: odd")
    with expected as caught, row_errors("the library"):
        raise Panic("odd")
    assert caught.value.error_type == InferenceErrorType.CONFIG
