"""What the tests of real servers ask, and how."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from asyncinfer import BaseInferenceEngine, Conversation, GenerationParams, InferenceConfig
from asyncinfer.types.results import FailureDetail, StreamDelta
from tests.fakes import question

CAPITAL = question("What is the capital of France?")
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,  # vLLM holds a forced call to its parameters only then.
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"type": "function", "function": {"name": "weather"}}
ASKED_FOR_WEATHER = question("What is the weather in Paris?", tools=[WEATHER])
SEVERAL_TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "You answer in one word."},
    {"role": "user", "content": "My name is Zo\u00eb \U0001f600. Remember it."},
    {"role": "assistant", "content": "I will."},
    {"role": "user", "content": "What is my name?"},
]


class City(BaseModel):
    name: str
    big: bool


def config(**generation: Any) -> InferenceConfig:
    return InferenceConfig(generation=GenerationParams.model_validate({"max_new_tokens": 16, **generation}))


async def answer(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> Conversation:
    async with engine:
        [answered] = await engine.ainfer([asked], config(**generation))
    return answered


async def streamed(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> list[StreamDelta]:
    async with engine, engine.astream(asked, config(**generation)) as stream:
        return [delta async for delta in stream]


async def failure(engine: BaseInferenceEngine, asked: Conversation = CAPITAL, **generation: Any) -> FailureDetail:
    async with engine:
        result = await engine.ainfer_partial([asked], config(**generation))
    return result.failures[0]


def said(conversation: Conversation) -> str:
    content = conversation.messages[-1].content
    assert isinstance(content, str)
    return content


def with_result(called: Conversation, content: str) -> Conversation:
    """`called`, which ends with a tool call, and what the tool gave."""
    [call] = called.messages[-1].tool_calls or []
    result = {"role": "tool", "tool_call_id": call.id, "content": content}
    return Conversation.from_dict({"messages": [*called.to_dict()["messages"], result], "tools": [WEATHER]})
