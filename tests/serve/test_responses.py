"""OpenAI's Responses API through the openai SDK: whole answers, events, tools, reasoning and structured output."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio.lowlevel
import openai
import pytest
from pydantic import BaseModel

from asyncinfer import (
    Conversation,
    FinishReason,
    InferenceErrorType,
    Message,
    RequestError,
    Role,
    ToolCallDelta,
    Usage,
)
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall
from tests.recorder import Recorder
from tests.serve.serving import ScriptedEngine, remote_engine, serving

ASK: Any = {"model": "my-model", "input": "What is the capital of Japan?"}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CALL = ToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments='{"city": "Paris"}'))


class City(BaseModel):
    name: str


async def test_whole_answer_has_text_usage_and_status() -> None:
    engine = ScriptedEngine()
    async with serving(engine) as server:
        answer = await server.openai().responses.create(
            **ASK, instructions="Be short.", max_output_tokens=20, temperature=0.5, store=True
        )
    assert (answer.output_text, answer.status, answer.model) == ("Hello.", "completed", "my-model")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)
    assert answer.instructions == "Be short."
    conversation, settings = engine.asked[0]
    assert [message.role for message in conversation.messages] == [Role.SYSTEM, Role.USER]
    assert (settings.generation.max_new_tokens, settings.generation.temperature) == (20, 0.5)


async def test_answer_that_is_cut_off_is_incomplete() -> None:
    message = Message(role=Role.ASSISTANT, content="Hel")
    async with serving(ScriptedEngine(Completion(message, FinishReason.LENGTH))) as server:
        answer = await server.openai().responses.create(**ASK)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_stream_has_reasoning_text_and_the_whole_response_at_its_end() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta(reasoning_content="Hm.")
        yield StreamDelta("Hel")
        yield StreamDelta("lo.")
        yield StreamDelta.last(None, FinishReason.STOP, Usage(3, 4, 7))

    engine.deltas = deltas
    async with serving(engine) as server:
        stream = await server.openai().responses.create(**ASK, stream=True)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Hello."
    assert last.response.usage is not None
    ids = {event.item.id for event in events if event.type == "response.output_item.added"}
    assert {item.id for item in last.response.output} == ids


async def test_helper_of_the_sdk_collects_text_and_calls() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta("So: ")
        yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, "call_1", "get_weather"),))
        yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='{"city": '),))
        rest = (ToolCallDelta(0, arguments='"Paris"}'),)
        yield StreamDelta.last([CALL], FinishReason.TOOL_CALLS, None, call_deltas=rest)

    engine.deltas = deltas
    async with serving(engine) as server, server.openai().responses.stream(**ASK, tools=[WEATHER]) as stream:
        answer = await stream.get_final_response()
    text, call = answer.output
    assert answer.output_text == "So: "
    assert text.type == "message"
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_1", "get_weather", '{"city": "Paris"}')


async def test_result_of_a_tool_and_the_reasoning_are_sent_back() -> None:
    reasoned = Message(role=Role.ASSISTANT, content=None, tool_calls=[CALL], reasoning_content="Hm.")
    engine = ScriptedEngine(Completion(reasoned, FinishReason.TOOL_CALLS))
    async with serving(engine) as server:
        client = server.openai()
        answer = await client.responses.create(**ASK, tools=[WEATHER], tool_choice="required")
        result: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
        history: Any = [{"role": "user", "content": ASK["input"]}, *answer.output, result]
        await client.responses.create(model="my-model", input=history, tools=[WEATHER])
    first, second = engine.asked
    assert first[1].generation.tool_choice == "required"
    _, called, tool = second[0].messages
    assert (called.tool_calls, called.reasoning_content) == ([CALL], "Hm.")
    assert (tool.role, tool.tool_call_id, tool.text) == (Role.TOOL, "call_1", "sunny")


async def test_parse_returns_a_model_and_sends_its_schema() -> None:
    engine = ScriptedEngine(Completion(Message(role=Role.ASSISTANT, content='{"name": "Tokyo"}'), FinishReason.STOP))
    async with serving(engine) as server:
        answer = await server.openai().responses.parse(**ASK, text_format=City)
    assert answer.output_parsed == City(name="Tokyo")
    guided = engine.generation.guided_decoding
    assert guided is not None
    assert "name" in guided.json["properties"]


async def test_error_within_a_stream_is_a_failed_response() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta("Hel")
        await anyio.lowlevel.checkpoint()
        raise RequestError("the model failed", error_type=InferenceErrorType.PARSE_ERROR)

    engine.deltas = deltas
    async with serving(engine) as server:
        events = [event async for event in await server.openai().responses.create(**ASK, stream=True)]
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "the model failed"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "web_search_call"}, {"type": "unknown"}]}, "input[1]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"include": 5}, "include"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
    ],
)
async def test_wrong_value_is_a_bad_request_that_names_the_field(fields: dict[str, Any], param: str) -> None:
    async with serving(ScriptedEngine()) as server:
        status, body = await server.post({**ASK, **fields}, "/v1/responses")
    assert (status, body["error"]["param"]) == (400, param), body


async def test_fields_for_the_api_of_the_engine_are_passed_on() -> None:
    async with Recorder() as api, serving(remote_engine(api.url), passed_fields=frozenset({"custom"})) as server:
        passed = {"prompt_cache_key": "key", "safety_identifier": "user", "top_k": 5, "custom": {"a": 1}}
        nested = {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}
        status, _ = await server.post({**ASK, **passed, **nested, "other": 1}, "/v1/responses")
    assert status == 200
    [sent] = api.sent
    assert sent.body.items() >= {**passed, "reasoning_effort": "low", "verbosity": "low"}.items()
    assert "other" not in sent.body


@pytest.mark.parametrize("instructions", [None, "Be brief."])
async def test_refused_image_is_named_by_its_location_in_the_input(instructions: str | None) -> None:
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    user = {"role": "user", "content": [{"type": "input_text", "text": "Look."}, image]}
    fields = {"model": "my-model", "instructions": instructions, "input": [{"role": "user", "content": "Hi"}, user]}
    async with serving(ScriptedEngine()) as server:
        status, body = await server.post(fields, "/v1/responses")
    assert (status, body["error"]["param"]) == (400, "input[1].content[1]")


async def test_file_of_the_server_is_refused() -> None:
    image = {"type": "input_image", "image_url": "file:///etc/passwd"}
    async with serving(ScriptedEngine()) as server:
        with pytest.raises(openai.BadRequestError, match="data URL"):
            await server.openai().responses.create(
                model="my-model",
                input=[{"role": "user", "content": [image]}],  # pyright: ignore
            )
