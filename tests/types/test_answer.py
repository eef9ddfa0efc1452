"""Reading what the metadata of an answered conversation say."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, Message, Role, Usage
from asyncinfer.types.answer import Completion, saved_usage

ANSWER = Message(role=Role.ASSISTANT, content="yes")
ASKED = Conversation(messages=[Message(role=Role.USER, content="yes?")])


def test_usage_and_cost_are_read_as_they_were_written() -> None:
    usage = Usage(3, 4, 7, cached_tokens=1, cost=0.5, details={"web_searches": 2})
    assert saved_usage(Completion(ANSWER, usage=usage).append_to(ASKED)) == usage


def test_answer_without_usage_has_none() -> None:
    assert saved_usage(Completion(ANSWER).append_to(ASKED)) is None


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        ({"usage": "7 tokens", "cost": 0.5}, None),
        ({"usage": {"prompt_tokens": "3", "completion_tokens": 4}, "cost": "free"}, Usage(0, 4)),
        ({"usage": {"prompt_tokens": 3.5, "completion_tokens": True}, "cost": None}, Usage()),
    ],
)
def test_edited_values_that_are_no_numbers_are_left_out(metadata: dict[str, Any], usage: Usage | None) -> None:
    assert saved_usage(ASKED.model_copy(update={"metadata": metadata})) == usage
