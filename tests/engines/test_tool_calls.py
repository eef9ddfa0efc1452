"""Tool calls nested deeper than Python reads, in an answer and in a conversation."""

from __future__ import annotations

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines import tool_calls
from asyncinfer.engines.chat_prompt import prompt_for
from asyncinfer.engines.stepper import blaming_the_row
from asyncinfer.errors import RequestError
from asyncinfer.run.request import Request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceErrorType

DEEP = "[" * 100_000


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

    refused = pytest.raises(RequestError, match="the library cannot do what is asked: odd")
    with refused as caught, blaming_the_row("the library"):
        raise Panic("odd")
    assert caught.value.error_type == InferenceErrorType.CONFIG
