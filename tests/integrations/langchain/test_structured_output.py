"""Structured output of the chat model."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field

from asyncinfer import FinishReason, RemoteInferenceEngine, StreamDelta
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.fakes import FakeEngine
from tests.integrations.delta_engine import DeltaEngine
from tests.integrations.obedient_chat import ObedientChat

QUESTION = "Where is 'Rome', in 3 words, with the keys 'name' and 'rank'?"


class City(BaseModel):
    """A city."""

    name: str
    rank: int = Field(description="its rank by size")


SCHEMA = City.model_json_schema()


@pytest.fixture
def model(engine: RemoteInferenceEngine) -> AsyncInferChatModel:
    return AsyncInferChatModel(engine=engine)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("strict", [None, True, False])
async def test_answer_is_an_instance_of_the_pydantic_model(
    model: AsyncInferChatModel, method: Any, strict: bool | None
) -> None:
    assert await model.with_structured_output(City, method=method, strict=strict).ainvoke(QUESTION) == City(
        name="Rome", rank=3
    )


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_answer_to_a_json_schema_is_a_dict(model: AsyncInferChatModel, method: Any) -> None:
    chain = model.with_structured_output(SCHEMA, method=method)
    assert await chain.ainvoke(QUESTION) == {"name": "Rome", "rank": 3}
    assert [part async for part in chain.astream(QUESTION)][-1] == {"name": "Rome", "rank": 3}


async def test_json_mode_needs_no_schema(model: AsyncInferChatModel) -> None:
    assert await model.with_structured_output(method="json_mode").ainvoke("The key 'name'") == {"name": "cat"}


async def test_schema_is_requested_as_strictly_as_asked(chat: ObedientChat, model: AsyncInferChatModel) -> None:
    await model.with_structured_output(City, method="json_schema", strict=True).ainvoke(QUESTION)
    assert chat.sent[-1].body["response_format"]["json_schema"]["strict"] is True
    await model.with_structured_output(City, method="function_calling", strict=True).ainvoke(QUESTION)
    assert chat.sent[-1].body["tools"][0]["function"]["strict"] is True
    assert chat.sent[-1].body["tool_choice"]["function"]["name"] == "City"


def test_default_method_is_function_calling_without_support_for_schemas(engine: RemoteInferenceEngine) -> None:
    def method(model: AsyncInferChatModel) -> str:
        bound: Any = model.with_structured_output(City)
        return bound.first.kwargs["ls_structured_output_format"]["kwargs"]["method"]

    assert method(AsyncInferChatModel(engine=engine)) == "json_schema"
    assert method(AsyncInferChatModel(engine=FakeEngine())) == "function_calling"


async def test_response_format_of_a_call_may_be_a_pydantic_model(
    chat: ObedientChat, model: AsyncInferChatModel
) -> None:
    answer = await model.ainvoke(QUESTION, response_format=City)
    assert City.model_validate_json(answer.text) == City(name="Rome", rank=3)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_include_raw_returns_the_answer_too(model: AsyncInferChatModel, method: Any) -> None:
    result = await model.with_structured_output(SCHEMA, method=method, include_raw=True).ainvoke(QUESTION)
    assert isinstance(result["raw"], AIMessage)
    assert set(result["parsed"]) >= {"name", "rank"}
    assert result["parsing_error"] is None


async def test_error_of_the_parser_is_raised_or_returned() -> None:
    model = AsyncInferChatModel(engine=DeltaEngine(StreamDelta("Rome", finish_reason=FinishReason.STOP)))
    with pytest.raises(OutputParserException):
        await model.with_structured_output(City, method="json_schema").ainvoke(QUESTION)
    result = await model.with_structured_output(City, method="json_schema", include_raw=True).ainvoke(QUESTION)
    assert isinstance(result["parsing_error"], OutputParserException)
    assert result["parsed"] is None
    assert result["raw"].text == "Rome"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_missing_schema_is_an_error(model: AsyncInferChatModel, method: Any) -> None:
    with pytest.raises(ValueError, match=f"the method {method} needs a schema"):
        model.with_structured_output(method=method)


def test_unknown_argument_is_an_error(model: AsyncInferChatModel) -> None:
    with pytest.raises(ValueError, match="has no argument retries"):
        model.with_structured_output(City, retries=3)
