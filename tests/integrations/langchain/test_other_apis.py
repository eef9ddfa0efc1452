"""The chat model over APIs with another wire format: Anthropic's, and OpenAI's Responses API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessageChunk, HumanMessage, ToolMessage

from asyncinfer import AnthropicInferenceEngine, ModelParams, OpenAIInferenceEngine, RemoteParams
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.recorder import MESSAGE, Recorder

THINKING = {"type": "thinking", "thinking": "Let me look.", "signature": "s1"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
DATA = "iVBORw0KGgo="


def weather(city: str) -> str:
    """Report the weather."""
    return f"It is sunny in {city}."


def events() -> list[bytes]:
    """The answer with `THINKING` and `USE`, as a stream."""
    start = {**MESSAGE, "content": [], "stop_reason": None}
    delta = "content_block_delta"
    given: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": delta, "index": 0, "delta": {"type": "thinking_delta", "thinking": "Let me "}},
        {"type": delta, "index": 0, "delta": {"type": "thinking_delta", "thinking": "look."}},
        {"type": delta, "index": 0, "delta": {"type": "signature_delta", "signature": "s1"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {**USE, "input": {}}},
        {"type": delta, "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city": '}},
        {"type": delta, "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Rome"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in given]


async def answer_of(model: Any, api: Recorder, method: str) -> AIMessage:
    if method == "ainvoke":
        api.answers({**MESSAGE, "content": [THINKING, USE], "stop_reason": "tool_use"})
        return await model.ainvoke("Weather in Rome?")
    api.streams(*events())
    full: BaseMessageChunk | None = None
    async for chunk in model.astream("Weather in Rome?"):
        full = chunk if full is None else full + chunk
    assert isinstance(full, AIMessage)
    return full


@pytest.mark.parametrize("method", ["ainvoke", "astream"])
async def test_signed_reasoning_and_images_of_tools_are_sent_back_to_claude(method: str) -> None:
    async with Recorder() as api:
        params = RemoteParams(api_url=f"{api.url}/messages", api_key="k")
        engine = AnthropicInferenceEngine(ModelParams(model_name="claude"), remote_params=params)
        model = AsyncInferChatModel(engine=engine).bind_tools([weather])
        answer = await answer_of(model, api, method)
        assert answer.content_blocks[0] == {
            "type": "reasoning",
            "reasoning": "Let me look.",
            "extras": {"signature": "s1"},
        }
        picture = {"type": "image", "base64": DATA, "mime_type": "image/png"}
        result = ToolMessage([{"type": "text", "text": "no"}, picture], tool_call_id="toolu_1", status="error")
        api.answers(MESSAGE)
        await model.ainvoke([HumanMessage("Weather in Rome?"), answer, result])
        await engine.aclose()
    _, assistant, user = api.sent[-1].body["messages"]
    assert assistant["content"] == [THINKING, USE]
    [sent] = user["content"]
    assert (sent["type"], sent["tool_use_id"], sent["is_error"]) == ("tool_result", "toolu_1", True)
    assert [part["type"] for part in sent["content"]] == ["text", "image"]


@pytest.mark.parametrize("arguments", ['{"city":"Rome"}', '{ "city": "R\\u00f4me" }', ""])
async def test_items_of_the_responses_api_are_sent_back_in_their_order(arguments: str) -> None:
    """LangChain parses the arguments of calls, so that they come back in another form."""
    part = {"type": "output_text", "text": "Wait.", "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "weather", "arguments": arguments}
    first, second = (
        {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "x"} for number in (1, 2)
    )
    output = [first, message, second, call]
    async with Recorder() as api:
        api.answers({"object": "response", "status": "completed", "output": output})
        params = RemoteParams(api_url=f"{api.url}/v1/responses", api_key="k", api="responses")
        engine = OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=params)
        model = AsyncInferChatModel(engine=engine).bind_tools([weather])
        answer = await model.ainvoke("Weather in Rome?")
        await model.ainvoke([HumanMessage("Weather in Rome?"), answer, ToolMessage("Sunny.", tool_call_id="c")])
        await engine.aclose()
    assert api.sent[-1].body["input"][1:-1] == output
