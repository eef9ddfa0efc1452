"""Answers in a pipeline of Ray Data."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import InferenceConfig, InputError, ModelParams, RemoteParams
from asyncinfer.integrations.ray_data import AnswerRows
from tests.faults import Ask, Fault, FaultServer, status


def config_for(server: FaultServer) -> InferenceConfig:
    remote = RemoteParams(api_url=server.url, max_retries=0)
    return InferenceConfig(ModelParams(model_name="m"), engine="REMOTE", remote_params=remote)


async def answered(server: FaultServer, batch: dict[str, Any], **options: str) -> dict[str, Any]:
    [result] = [result async for result in AnswerRows(config_for(server), **options)(batch)]
    assert isinstance(result, dict)
    return result


async def test_answers_are_added_as_a_column() -> None:
    async with FaultServer() as server:
        result = await answered(server, {"id": [1, 2], "messages": ["one", "two"]})
    assert result == {
        "id": [1, 2],
        "messages": ["one", "two"],
        "answer": ["answer to one", "answer to two"],
        "error": [None, None],
    }


@pytest.mark.parametrize(
    "value",
    [
        "one",
        [{"role": "user", "content": "one", "name": None}],
        {"messages": [{"role": "user", "content": "one"}]},
        '{"messages": [{"role": "user", "content": "one"}]}',
    ],
)
async def test_conversation_may_have_any_form(value: object) -> None:
    async with FaultServer() as server:
        result = await answered(server, {"q": [value]}, column="q", answer_column="a")
    assert result["a"] == ["answer to one"]


def refuse_two(ask: Ask) -> Fault | None:
    return status(400, "this row is wrong") if ask.question == "two" else None


async def test_row_that_fails_has_a_reason_and_the_others_an_answer() -> None:
    async with FaultServer(refuse_two) as server:
        result = await answered(server, {"messages": ["one", "two", "three"]})
    assert result["answer"] == ["answer to one", None, "answer to three"]
    assert "this row is wrong" in result["error"][1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{not JSON", "JSON"),
        ("{\ud800}", "JSON"),
        ({"messages": 1}, "messages: Input should be a valid list"),
        ({"role": "user", "content": "one"}, "this is one message; a conversation is a list of messages"),
        (None, "should be a Conversation"),
    ],
)
async def test_value_that_is_no_conversation_fails_alone(value: object, why: str) -> None:
    async with FaultServer() as server:
        result = await answered(server, {"messages": [value, "one"]})
    assert result["answer"] == [None, "answer to one"]
    assert why in result["error"][0]
    assert "pydantic" not in result["error"][0]


async def test_missing_column_is_named() -> None:
    async with FaultServer() as server:
        with pytest.raises(InputError, match="there is no column 'messages'; the columns are text"):
            await answered(server, {"text": ["one"]})
