"""Answers that come back to the server with the next request, and refusals, through the openai SDK."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import FinishReason, Message, Role
from asyncinfer.types.answer import Completion
from asyncinfer.types.tools import ToolCall
from tests.serve.serving import QUESTION, ScriptedEngine, serving

SIGNATURE = {"google": {"thought_signature": "c2ln"}}
CALL = ToolCall.model_validate(
    {"id": "call_1", "function": {"name": "f", "arguments": "{}"}, "extra_content": SIGNATURE}
)
THINKING: Any = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "ZGF0YQ=="},
]
SIGNED = Message.model_validate(
    {
        "role": "assistant",
        "content": "So:",
        "tool_calls": [CALL],
        "reasoning_content": "Hm.",
        "thinking_blocks": THINKING,
    }
)
RESULT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
REFUSED = Completion(
    Message.model_validate({"role": "assistant", "content": "I cannot.", "refusal": "I cannot."}), FinishReason.STOP
)


class City(BaseModel):
    name: str


@pytest.mark.parametrize("stream", [False, True])
async def test_signatures_come_back_with_the_result_of_a_call(stream: bool) -> None:
    engine = ScriptedEngine(Completion(SIGNED, FinishReason.TOOL_CALLS))
    async with serving(engine) as server:
        responses = server.openai().responses
        if stream:
            async with responses.stream(model="my-model", input=QUESTION) as events:
                answer: Any = await events.get_final_response()
        else:
            answer = await responses.create(model="my-model", input=QUESTION)
        history: Any = [*QUESTION, *(item.to_dict() for item in answer.output), RESULT]
        await responses.create(model="my-model", input=history)
    _, called, result = engine.asked[-1][0].messages
    assert (called.text, called.reasoning_content, called.get("thinking_blocks")) == ("So:", "Hm.", THINKING)
    assert called.tool_calls == [CALL]
    assert result.text == "sunny"


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_completion_has_the_signatures_of_its_calls(stream: bool) -> None:
    async with serving(ScriptedEngine(Completion(SIGNED, FinishReason.TOOL_CALLS))) as server:
        chats = server.openai().chat.completions
        if stream:
            async with chats.stream(model="my-model", messages=QUESTION) as events:
                answer: Any = await events.get_final_completion()
        else:
            answer = await chats.create(model="my-model", messages=QUESTION)
    [call] = answer.choices[0].message.tool_calls
    assert call.model_dump()["extra_content"] == SIGNATURE


async def test_parsed_chat_completion_has_the_refusal() -> None:
    engine = ScriptedEngine(REFUSED)
    async with serving(engine) as server:
        chats = server.openai().chat.completions
        whole = await chats.parse(model="my-model", messages=QUESTION, response_format=City)
        async with chats.stream(model="my-model", messages=QUESTION, response_format=City) as events:
            streamed = await events.get_final_completion()
    for answer in (whole, streamed):
        message = answer.choices[0].message
        assert (message.content or None, message.refusal, message.parsed) == (None, "I cannot.", None)


async def test_parsed_response_has_the_refusal_which_can_be_sent_back() -> None:
    engine = ScriptedEngine(REFUSED)
    async with serving(engine) as server:
        responses = server.openai().responses
        whole = await responses.parse(model="my-model", input=QUESTION, text_format=City)
        async with responses.stream(model="my-model", input=QUESTION, text_format=City) as events:
            streamed = await events.get_final_response()
        for answer in (whole, streamed):
            [message] = answer.output
            assert message.type == "message"
            [part] = message.content
            assert (part.type, answer.output_parsed) == ("refusal", None)
            await responses.create(model="my-model", input=[*QUESTION, message.to_dict(), *QUESTION])
            assert engine.asked[-1][0].messages[1] == REFUSED.message
    assert engine.asked[-1][0].messages[1].role is Role.ASSISTANT


async def test_items_that_no_answer_has_are_refused() -> None:
    url = "http://169.254.169.254/x.png"
    image = {"role": "assistant", "content": [{"type": "input_image", "image_url": url}]}
    async with serving(ScriptedEngine()) as server:
        for item in ({"type": "x_call", "foo": {"url": url}}, image, {"type": "item_reference", "id": "msg_1"}):
            status, body = await server.post({"model": "my-model", "input": [*QUESTION, item]}, "/v1/responses")
            assert (status, body["error"]["param"]) == (400, "input[1]")
