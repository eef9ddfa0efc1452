"""Conversations: what loads, what round-trips, what is refused."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asyncinfer import ContentItem, Conversation, Message, Role, ToolDefinition, Type

texts = st.text(max_size=20)
items = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "content": texts}),
    st.fixed_dictionaries({"type": st.just("image_url"), "content": st.just("https://example.com/a.png")}),
    st.fixed_dictionaries({"type": st.just("image_binary"), "binary": st.just("aGk=")}),
)
calls = st.fixed_dictionaries(
    {"id": texts, "type": st.just("function"), "function": st.fixed_dictionaries({"name": texts, "arguments": texts})}
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(items, max_size=3)}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none(), "tool_calls": st.lists(calls, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "content": texts, "tool_call_id": texts}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": texts, "reasoning_content": texts, "extra": texts}),
)
conversations = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=4)},
    optional={
        "conversation_id": texts,
        "metadata": st.dictionaries(texts, st.one_of(texts, st.integers(-5, 5), st.lists(st.booleans())), max_size=3),
        "annotator": texts,
    },
)


@given(conversations)
def test_round_trip_is_lossless(data: dict[str, Any]) -> None:
    line = json.dumps(data)
    conversation = Conversation.from_json(line)
    assert json.loads(conversation.to_json()) == data
    assert conversation.to_dict() == data
    assert Conversation.from_dict(data) == conversation
    assert pickle.loads(pickle.dumps(conversation)) == copy.deepcopy(conversation) == conversation


def test_openai_content_loads() -> None:
    message = Message.model_validate(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
            ],
        }
    )
    assert message.compute_flattened_text_content() == "What is this?"
    assert message.image_content_items[0].content == "https://example.com/a.png"
    assert message.contains_images()
    assert message.count_content_items() == (2, 1, 1)


def test_binary_is_base64_in_json() -> None:
    item = ContentItem(type=Type.IMAGE_BINARY, binary=b"\x89PNG")
    message = Message(role=Role.USER, content=[item])
    again = Message.model_validate_json(message.model_dump_json(exclude_none=True))
    assert again.image_content_items[0].binary == b"\x89PNG"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user"}, "needs `content`"),
        ({"role": "assistant", "tool_calls": []}, "needs `content`"),
        ({"role": "boss", "content": "x"}, "role"),
        ({"role": "user", "content": [{"type": "image_binary", "binary": "%%%"}]}, "not base64"),
        ({"role": "user", "content": [{"type": "image_path"}]}, "needs `content`"),
        ({"role": "user", "content": [{"type": "text", "content": "a", "binary": "aGk="}]}, "no `binary`"),
    ],
)
def test_what_cannot_be_a_message(message: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Message.model_validate(message)


def test_helpers() -> None:
    conversation = Conversation.from_dict(
        {"messages": [{"role": r, "content": f"{i}"} for i, r in enumerate(["system", "user", "assistant", "user"])]}
    )
    assert conversation[0].role == Role.SYSTEM
    assert conversation.first_message(Role.USER) == conversation[1]
    assert conversation.last_message(Role.USER) == conversation.last_message() == conversation[3]
    assert conversation.last_message(Role.TOOL) is None
    assert conversation.filter_messages(role=Role.USER, filter_fn=lambda m: m.content == "3") == [conversation[3]]


def test_python_functions_are_tools() -> None:
    def get_weather(city: str, days: int = 1) -> str:
        """Tell the weather.

        Args:
            city: The city's name,
                as people write it.
            days (int): How far ahead.

        Returns:
            Text.
        """
        return city * days

    conversation = Conversation(messages=[Message(role=Role.USER, content="?")], tools=[get_weather])  # type: ignore[list-item]
    assert conversation.tools is not None
    function = conversation.tools[0].function
    assert (function.name, function.description) == ("get_weather", "Tell the weather.")
    assert function.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name, as people write it."},
            "days": {"type": "integer", "description": "How far ahead.", "default": 1},
        },
        "required": ["city"],
    }


def test_a_function_without_hints_is_no_tool() -> None:
    def bare(x):  # type: ignore[no-untyped-def]
        return x

    with pytest.raises(ValueError, match="argument 'x' has no type hint"):
        ToolDefinition.from_callable(bare)  # pyright: ignore[reportUnknownArgumentType]


def test_tool_arguments() -> None:
    message = Message.model_validate(
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}]}
    )
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.get_arguments_dict() == {"a": 1}
