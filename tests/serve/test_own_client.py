"""The package's own client for the Responses API, with the package's own server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncinfer import (
    Conversation,
    FinishReason,
    GenerationParams,
    Message,
    RemoteInferenceEngine,
    Role,
    ToolCallDelta,
    Usage,
)
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall
from tests.serve.serving import ScriptedEngine, remote_engine, serving

CALLS = [
    ToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments='{"city": "Paris"}')),
    ToolCall(id="call_2", function=FunctionCall(name="get_time", arguments="{}")),
]
TOOLS = [{"type": "function", "function": {"name": call.function.name}} for call in CALLS]
ANSWER = Message(role=Role.ASSISTANT, content="Wait.", reasoning_content="Hm.", tool_calls=CALLS)
ANSWERED = Completion(ANSWER, FinishReason.TOOL_CALLS, Usage(3, 4, 7, cached_tokens=2, reasoning_tokens=1))


def client(url: str, generation: GenerationParams | None = None) -> RemoteInferenceEngine:
    return remote_engine(url, generation=generation, api="responses", max_retries=0)


async def pieces(_: Conversation) -> AsyncIterator[StreamDelta]:
    """The answer as a stream, in which the pieces of the calls alternate."""
    yield StreamDelta(reasoning_content="H")
    yield StreamDelta(reasoning_content="m.")
    yield StreamDelta("Wa")
    yield StreamDelta("it.")
    yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, "call_1", "get_weather", '{"city": '),))
    yield StreamDelta(tool_call_deltas=(ToolCallDelta(1, "call_2", "get_time", "{"),))
    yield StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='"Paris"}'), ToolCallDelta(1, arguments="}")))
    yield StreamDelta.last(CALLS, FinishReason.TOOL_CALLS, ANSWERED.usage, call_deltas=())


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_answer_arrives_as_the_engine_gave_it(streams: bool) -> None:
    engine = ScriptedEngine(ANSWERED)
    engine.deltas = pieces
    conversation = Conversation.model_validate({"messages": [{"role": "user", "content": "Weather?"}], "tools": TOOLS})
    async with serving(engine) as server, client(server.url) as own:
        if streams:
            async with own.astream(conversation) as deltas:
                answer = Completion.from_deltas([delta async for delta in deltas])
            message, usage = answer.message, answer.usage
        else:
            answered = await own.agenerate(conversation)
            message, usage = answered.messages[-1], Usage(**answered.metadata["usage"])
    assert (message.content, message.reasoning_content, message.tool_calls) == ("Wait.", "Hm.", CALLS)
    assert usage is not None
    assert (usage.total_tokens, usage.cached_tokens, usage.reasoning_tokens) == (7, 2, 1)


async def test_engine_behind_the_server_gets_the_whole_chat_back() -> None:
    engine = ScriptedEngine(ANSWERED)
    question = Message(role=Role.USER, content="Weather?")
    async with serving(engine) as server, client(server.url) as own:
        chat = await own.agenerate(Conversation.model_validate({"messages": [question], "tools": TOOLS}))
        results = [Message(role=Role.TOOL, tool_call_id=call.id, content="sunny") for call in CALLS]
        chat.messages.extend(results)
        await own.agenerate(chat)
    asked = engine.asked[-1][0]
    answer = asked.messages[1]
    assert [asked.messages[0], *asked.messages[2:]] == [question, *results]
    assert (answer.content, answer.reasoning_content, answer.tool_calls) == ("Wait.", "Hm.", CALLS)
    assert [tool.function.name for tool in asked.tools or ()] == ["get_weather", "get_time"]


async def test_settings_arrive_at_the_engine() -> None:
    engine = ScriptedEngine()
    given = GenerationParams(max_new_tokens=7, temperature=0.5, top_p=0.9, logprobs=True, top_logprobs=2)
    async with serving(engine) as server, client(server.url, given) as own:
        await own.agenerate("Hello?")
    arrived = engine.generation
    for name in ("max_new_tokens", "temperature", "top_p", "logprobs", "top_logprobs"):
        assert getattr(arrived, name) == getattr(given, name)
