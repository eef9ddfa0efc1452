"""Chats through the openai SDK: whole answers, streams, tools, structured output and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio.lowlevel
import openai
import pytest
from pydantic import BaseModel

from asyncinfer import Conversation, FinishReason, InferenceErrorType, Message, RequestError, Role, ToolCallDelta, Usage
from asyncinfer.config import GenerationParams
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall
from tests.serve.serving import ASK, HELLO, QUESTION, ScriptedEngine, serving

WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = ToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments='{"city": "Paris"}'))
CALLS = Completion(
    Message(role=Role.ASSISTANT, content=None, tool_calls=[CALL]), FinishReason.TOOL_CALLS, Usage(3, 4, 7)
)
TOKEN = {"token": "Hello.", "logprob": -0.5, "bytes": None, "top_logprobs": []}


class City(BaseModel):
    name: str


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        ({}, {}, (None, None, True)),
        ({"max_new_tokens": 7, "temperature": 0.0}, {}, (7, 0.0, False)),
        ({"max_new_tokens": 1024}, {}, (1024, None, True)),
        ({"use_sampling": False}, {}, (None, None, False)),
        ({}, {"temperature": 0}, (None, 0.0, False)),
        ({}, {"temperature": 0.5}, (None, 0.5, True)),
    ],
)
async def test_parameters_that_nobody_has_set_have_the_defaults_of_openai(
    path: str, own: dict[str, Any], given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    engine = ScriptedEngine(generation=GenerationParams(**own))
    async with serving(engine) as server:
        assert (await server.post({**ASK, "input": "Hi", **given}, path))[0] == 200
    generation = engine.generation
    assert (generation.max_new_tokens, generation.temperature, generation.use_sampling) == expected


async def test_whole_answer_has_text_usage_and_finish_reason() -> None:
    async with serving(ScriptedEngine()) as server:
        answer = await server.openai().chat.completions.create(**ASK)
    [choice] = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == ("Hello.", "assistant", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 4, 7)
    assert answer.model == "my-model"
    assert answer.object == "chat.completion"


async def test_settings_of_a_request_reach_the_engine_and_no_others_are_set() -> None:
    engine = ScriptedEngine()
    async with serving(engine) as server:
        await server.openai().chat.completions.create(
            **ASK, temperature=0.5, max_completion_tokens=9, stop=["END"], seed=7, presence_penalty=0.25, user="u"
        )
    generation = engine.generation
    assert (generation.temperature, generation.max_new_tokens, generation.seed) == (0.5, 9, 7)
    assert (generation.stop_strings, generation.presence_penalty) == (["END"], 0.25)
    assert generation.top_p is None


async def test_stream_has_role_text_finish_reason_and_usage() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta(reasoning_content="Hm. ")
        yield StreamDelta("Hel")
        yield StreamDelta("lo.")
        yield StreamDelta.last(None, FinishReason.LENGTH, Usage(3, 4, 7))

    engine.deltas = deltas
    async with serving(engine) as server:
        stream = await server.openai().chat.completions.create(
            **ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    choices = [chunk.choices[0] for chunk in chunks[:-1]]
    assert choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices) == "Hello."
    assert "".join(getattr(choice.delta, "reasoning_content", "") for choice in choices) == "Hm. "
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7
    assert len({chunk.id for chunk in chunks}) == 1


async def test_stream_without_the_option_has_no_usage() -> None:
    async with serving(ScriptedEngine()) as server:
        stream = await server.openai().chat.completions.create(**ASK, stream=True)
        assert [chunk.usage async for chunk in stream] == [None] * 3


async def test_tool_calls_arrive_whole_and_the_result_is_sent_back() -> None:
    engine = ScriptedEngine(CALLS)
    async with serving(engine) as server:
        client = server.openai()
        answer = await client.chat.completions.create(**ASK, tools=[WEATHER], tool_choice="auto")
        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.id, call.function.name, call.function.arguments) == ("call_1", "get_weather", '{"city": "Paris"}')
        assert answer.choices[0].finish_reason == "tool_calls"
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        engine.answer = HELLO
        messages: Any = [*QUESTION, answer.choices[0].message, result]
        await client.chat.completions.create(model="my-model", messages=messages, tools=[WEATHER])
    conversation, settings = engine.asked[-1]
    assert conversation.messages[1].tool_calls == [CALL]
    assert conversation.messages[2].tool_call_id == "call_1"
    assert engine.asked[0][1].generation.tool_choice == "auto"
    assert settings.generation.tool_choice is None


async def test_streamed_tool_calls_arrive_in_pieces() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, "call_1", "get_weather"),))
        yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='{"city": '),))
        rest = (ToolCallDelta(0, arguments='"Paris"}'),)
        yield StreamDelta.last([CALL], FinishReason.TOOL_CALLS, None, call_deltas=rest)

    engine.deltas = deltas
    async with (
        serving(engine) as server,
        server.openai().chat.completions.stream(**ASK, tools=[WEATHER]) as stream,
    ):
        answer = await stream.get_final_completion()
    [call] = answer.choices[0].message.tool_calls or []
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "get_weather", '{"city": "Paris"}')
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_parse_returns_a_model_and_sends_its_schema() -> None:
    engine = ScriptedEngine(Completion(Message(role=Role.ASSISTANT, content='{"name": "Tokyo"}'), FinishReason.STOP))
    async with serving(engine) as server:
        answer = await server.openai().chat.completions.parse(**ASK, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Tokyo")
    guided = engine.generation.guided_decoding
    assert guided is not None
    assert guided.json["properties"] == {"name": {"title": "Name", "type": "string"}}
    assert guided.strict


async def test_several_choices_have_their_own_seeds_and_share_the_prompt_in_the_usage() -> None:
    engine = ScriptedEngine()
    async with serving(engine) as server:
        answer = await server.openai().chat.completions.create(**ASK, n=3, seed=10)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert sorted(settings.generation.seed or 0 for _, settings in engine.asked) == [10, 11, 12]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 12)


async def test_several_streamed_choices_are_each_complete() -> None:
    async with serving(ScriptedEngine()) as server:
        stream = await server.openai().chat.completions.create(**ASK, n=2, stream=True)
        chunks = [chunk.choices[0] async for chunk in stream]
    for index in (0, 1):
        own = [choice for choice in chunks if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == "Hello."
        assert own[-1].finish_reason == "stop"


async def test_log_probabilities_of_the_engine_are_returned() -> None:
    engine = ScriptedEngine(Completion(HELLO.message, FinishReason.STOP, metadata={"logprobs": [TOKEN]}))
    async with serving(engine) as server:
        answer = await server.openai().chat.completions.create(**ASK, logprobs=True, top_logprobs=2)
        stream = await server.openai().chat.completions.create(**ASK, logprobs=True, stream=True)
        streamed = [chunk.choices[0].logprobs async for chunk in stream]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert [token.logprob for token in logprobs.content or []] == [-0.5]
    assert [one.content[0].token for one in streamed if one is not None and one.content] == ["Hello."]
    assert engine.asked[0][1].generation.top_logprobs == 2


async def test_fields_of_a_message_that_must_be_sent_back_are_returned() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]
    fields: Any = {"thinking_blocks": blocks}
    message = Message(role=Role.ASSISTANT, content="Hello.", reasoning_content="Hm.", **fields)
    async with serving(ScriptedEngine(Completion(message, FinishReason.STOP))) as server:
        _, whole = await server.chat()
        stream = await server.openai().chat.completions.create(**ASK, stream=True)
        streamed = [chunk.choices[0].delta.model_extra or {} async for chunk in stream]
    assert whole["choices"][0]["message"]["thinking_blocks"] == blocks
    assert whole["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert [delta["thinking_blocks"] for delta in streamed if "thinking_blocks" in delta] == [blocks]


async def test_instructions_of_a_developer_are_a_system_message() -> None:
    engine = ScriptedEngine()
    async with serving(engine) as server:
        await server.chat(messages=[{"role": "developer", "content": "Be short."}, *QUESTION])
    assert engine.asked[0][0].messages[0].role == Role.SYSTEM


async def test_error_before_the_first_part_of_a_stream_has_its_own_status() -> None:
    async def refuse(_: Conversation, __: CallSettings) -> Completion:
        raise RequestError("the prompt is too long", error_type=InferenceErrorType.API_STATUS, status_code=400)

    async with serving(ScriptedEngine(refuse)) as server:
        with pytest.raises(openai.BadRequestError, match="the prompt is too long"):
            await server.openai().chat.completions.create(**ASK, stream=True)


async def test_error_within_a_stream_is_its_last_event() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        yield StreamDelta("Hel")
        await anyio.lowlevel.checkpoint()
        raise RequestError("the model failed", error_type=InferenceErrorType.RUNTIME)

    engine.deltas = deltas
    async with serving(engine) as server:
        stream = await server.openai().chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError, match="the model failed"):
            [chunk async for chunk in stream]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"n": True}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": 5}, "stream_options"),
        ({"model": 5}, "model"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"top_logprobs": 50}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
async def test_wrong_value_is_a_bad_request_that_names_the_field(fields: dict[str, Any], param: str) -> None:
    async with serving(ScriptedEngine()) as server:
        status, body = await server.chat(**fields)
    assert (status, body["error"]["param"], body["error"]["type"]) == (400, param, "invalid_request_error")


async def test_unknown_fields_are_ignored() -> None:
    async with serving(ScriptedEngine()) as server:
        status, _ = await server.chat(metadata={"a": "b"}, unknown_field=1, prediction=None, store=True)
    assert status == 200
