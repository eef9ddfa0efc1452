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


def test_messages_with_the_same_name_are_merged() -> None:
    [merged] = merged_messages(messages(user("a", name="ann"), user("b", name="ann")))
    assert (merged.name, len(merged.content_items)) == ("ann", 2)


def test_additional_keys_that_are_not_sent_do_not_keep_messages_apart() -> None:
    given = messages(user("a", cache_control={"type": "ephemeral"}), user("b", foo=2), user("c", sent=None))
    [merged] = merged_messages(given, is_sent=lambda key: key == "sent")
    assert [item.content for item in merged.content_items] == ["a", "b", "c"]
    assert merged_messages(given, is_sent=lambda key: key == "foo")[0] is given[0]


def test_tool_calls_of_adjacent_answers_are_merged_after_their_texts() -> None:
    answer = {"role": "assistant", "content": "a"}
    with_call = {**answer, "content": "b", "tool_calls": [CALL]}
    call_alone = {"role": "assistant", "tool_calls": [{**CALL, "id": "d"}]}
    [merged] = merged_messages(messages(answer, with_call, call_alone))
    assert [item.content for item in merged.content_items] == ["a", "b"]
    assert [call.id for call in merged.tool_calls or ()] == ["c", "d"]
    [only_calls] = merged_messages(messages(call_alone, call_alone))
    assert (only_calls.content, len(only_calls.tool_calls or ())) == (None, 2)


def test_empty_texts_stay_a_text() -> None:
    [merged] = merged_messages(messages(user(""), user("")), as_text=True)
    assert not (merged.content or "").strip()
    assert merged.content is not None


def test_text_after_tool_calls_stays_apart_from_all_calls_before_it() -> None:
    call = {"role": "assistant", "tool_calls": [CALL]}
    text = {"role": "assistant", "content": "b"}
    assert len(merged_messages(messages(call, call, text))) == 2


def test_merging_does_not_change_the_messages() -> None:
    given = messages(user("a"), user("b"))
    merged_messages(given)
    assert [message.content for message in given] == ["a", "b"]
