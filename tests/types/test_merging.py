"""Adjacent messages of one role become one message."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, Message
from asyncinfer.types.merging import merged_messages

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PICTURE = {"type": "image_url", "content": "https://x.example/cat.png"}


def messages(*given: dict[str, Any]) -> list[Message]:
    return Conversation.from_dict({"messages": list(given)}).messages


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def test_adjacent_messages_become_one_list_of_items() -> None:
    given = messages(user("a"), user([{"type": "text", "text": "b"}, PICTURE]), user("c"))
    [merged] = merged_messages(given)
    assert [item.content for item in merged.content_items] == ["a", "b", PICTURE["content"], "c"]


def test_texts_can_be_joined_line_by_line() -> None:
    [merged] = merged_messages(messages(user("a"), user([{"type": "text", "text": "b"}])), as_text=True)
    assert merged.content == "a\nb"
    [with_image] = merged_messages(messages(user("a"), user([PICTURE])), as_text=True)
    assert len(with_image.content_items) == 2


def test_reasoning_of_merged_answers_is_kept() -> None:
    answers = [{"role": "assistant", "content": "a", "reasoning_content": "A."}, {"role": "assistant", "content": "b"}]
    [merged] = merged_messages(messages(*answers))
    assert merged.reasoning_content == "A."


@pytest.mark.parametrize(
    "given",
    [
        [],
        [user("a")],
        [user("a"), {"role": "assistant", "content": "b"}, user("c")],
        [user("a", name="ann"), user("b", name="bo")],
        [user("a", cache_control={"type": "ephemeral"}), user("b")],
        [{"role": "assistant", "tool_calls": [CALL]}, {"role": "assistant", "content": "b"}],
        [{"role": "tool", "tool_call_id": "c", "content": "1"}, {"role": "tool", "tool_call_id": "d", "content": "2"}],
    ],
)
def test_messages_that_are_not_merged_are_returned_unchanged(given: list[dict[str, Any]]) -> None:
    before = messages(*given)
    assert merged_messages(before) is before


def test_merging_does_not_change_the_messages() -> None:
    given = messages(user("a"), user("b"))
    merged_messages(given)
    assert [message.content for message in given] == ["a", "b"]
