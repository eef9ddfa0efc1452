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

from asyncinfer.types import (
    Completion,
    ContentItem,
    Conversation,
    FinishReason,
    FunctionCall,
    Message,
    Role,
    ToolCall,
    Type,
    Usage,
)

Json = dict[str, Any]


def some(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(kind, min_size=1, max_size=2)


def fields(_optional: Json | None = None, /, **required: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Objects with the keys in `required`, some of `_optional`, and sometimes a key that no model knows."""
    return st.fixed_dictionaries(required, optional={**(_optional or {}), "x-unknown": values})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
items = (
    fields(type=st.just("text"), content=texts)
    | fields(type=st.sampled_from(["image_url", "image_path"]), content=st.text("abc", min_size=1))
    | fields(type=st.just("image_binary"), binary=st.just("aGk="))
)
calls = fields(id=texts, type=st.just("function"), function=fields(name=texts, arguments=texts))
tools = fields(
    type=st.just("function"),
    function=fields({"description": texts, "parameters": st.dictionaries(texts, values)}, name=texts),
)
messages = (
    fields({"id": texts, "name": texts}, role=st.sampled_from(list(Role)).map(str), content=texts)
    | fields(role=st.just("user"), content=st.lists(items, max_size=3))
    | fields(role=st.just("assistant"), content=st.none(), tool_calls=some(calls))
    | fields(role=st.just("tool"), content=texts, tool_call_id=texts)
    | fields({"content": texts}, role=st.just("assistant"), reasoning_content=texts, tool_calls=some(calls))
)
conversations = fields(
    {"conversation_id": texts, "metadata": st.dictionaries(texts, values, max_size=3), "tools": some(tools)},
    messages=st.lists(messages, max_size=4),
)


def user(content: Any = "hello") -> Conversation:
    return Conversation(messages=[Message(role=Role.USER, content=content)])


class TestRoundTrip:
    @given(conversations)
    def test_json_round_trip_is_lossless(self, data: Json) -> None:
        conversation = Conversation.from_json(json.dumps(data))
        for message in data["messages"]:
            message.setdefault("content", None)  # the one thing that is added

        assert conversation.to_dict() == data
        assert json.loads(conversation.to_json()) == data
        assert Conversation.from_dict(data) == conversation

    @given(conversations)
    def test_pickled_and_copied_conversation_is_equal(self, data: Json) -> None:
        conversation = Conversation.from_dict(data)

        assert pickle.loads(pickle.dumps(conversation)) == conversation
        assert copy.deepcopy(conversation).to_json() == conversation.to_json()

    def test_json_is_one_line(self) -> None:
        assert user("two\nlines").to_json() == '{"messages":[{"role":"user","content":"two\\nlines"}]}'

    def test_nan_is_kept(self) -> None:
        line = '{"messages":[],"metadata":{"score":NaN,"bound":-Infinity}}'
        assert Conversation.from_json(line).to_json() == line

    def test_unset_fields_are_not_written(self) -> None:
        message = Message(role=Role.USER, content="hi", id=None, tool_calls=None)
        assert Conversation(messages=[message], tools=None).to_dict() == {
            "messages": [{"role": "user", "content": "hi"}]
        }

    def test_answer_is_written_with_all_fields(self) -> None:
        given = user()
        answered = Completion(Message(role=Role.ASSISTANT, content="hi"), FinishReason.STOP, Usage(1, 2, 3)).append_to(
            given
        )

        assert json.loads(answered.to_json()) == {
            "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}],
            "metadata": {
                "finish_reason": "stop",
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            },
        }
        assert given == user()

    def test_metadata_filled_in_place_is_written(self) -> None:
        conversation = user()
        conversation.metadata["source"] = "web"

        assert conversation.to_dict()["metadata"] == {"source": "web"}
        assert json.loads(conversation.to_json())["metadata"] == {"source": "web"}

    def test_message_with_only_tool_calls_has_null_content(self) -> None:
        call = ToolCall(id="1", function=FunctionCall(name="f", arguments="{}"))
        conversation = Conversation(messages=[Message(role=Role.ASSISTANT, tool_calls=[call])])

        assert conversation.to_dict()["messages"][0]["content"] is None
        assert json.loads(conversation.to_json()) == conversation.to_dict()


class TestContent:
    def test_items_in_openai_format_are_read(self) -> None:
        image = {"url": "data:image/png;base64,aGk=", "detail": "low"}
        message = user([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": image}])[0]

        text, picture = message.content_items
        assert (text.type, text.content) == (Type.TEXT, "What is this?")
        assert (picture.type, picture.content) == (Type.IMAGE_URL, "data:image/png;base64,aGk=")
        assert picture.model_extra == {"detail": "low"}

    def test_image_url_can_be_a_string(self) -> None:
        item = ContentItem.model_validate({"type": "image_url", "image_url": "https://example.com/a.png"})
        assert item == ContentItem(type=Type.IMAGE_URL, content="https://example.com/a.png")

    def test_bytes_are_base64_in_json(self) -> None:
        conversation = user([ContentItem(type=Type.IMAGE_BINARY, binary=b"\x89PNG")])
        assert '"binary":"iVBORw=="' in conversation.to_json()
        assert Conversation.from_json(conversation.to_json()) == conversation

    def test_base64_can_contain_line_breaks_and_empty_base64_is_no_image(self) -> None:
        assert ContentItem.model_validate({"type": "image_binary", "binary": "aG\nk="}).binary == b"hi"
        assert ContentItem.model_validate({"type": "text", "content": "a", "binary": ""}).binary is None

    def test_image_bytes_are_not_in_the_repr(self) -> None:
        assert "aaaa" not in repr(user([ContentItem(type=Type.IMAGE_BINARY, binary=b"aaaa")]))

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "tool", "content": "12 degrees", "tool_call_id": "1"},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]},
            {"role": "assistant", "content": None, "reasoning_content": "Hm."},
            {"role": "user", "content": ""},
        ],
    )
    def test_valid_message_is_accepted(self, message: Json) -> None:
        assert Message.model_validate(message).role == message["role"]

    @pytest.mark.parametrize(
        ("message", "said"),
        [
            ({"role": "user"}, "needs `content` or `tool_calls`"),
            ({"role": "assistant", "content": None, "tool_calls": []}, "needs `content` or `tool_calls`"),
            ({"role": "user", "content": 5}, "must be a string, a list of items, or null"),
            ({"role": "boss", "content": "x"}, "role"),
            ({"content": "x"}, "role"),
            ({"role": "user", "content": [{"type": "image_binary", "binary": "%%%"}]}, "not base64"),
            ({"role": "user", "content": [{"type": "image_binary", "binary": "é"}]}, "not base64"),
            ({"role": "user", "content": [{"type": "image_binary", "binary": ""}]}, "needs `binary`"),
            ({"role": "user", "content": [{"type": "image_path"}]}, "needs `content`"),
            ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "needs `content`"),
            ({"role": "user", "content": [{"type": "text", "content": "a", "binary": "aGk="}]}, "no `binary`"),
        ],
    )
    def test_invalid_message_is_refused(self, message: Json, said: str) -> None:
        with pytest.raises(ValidationError, match=said) as caught:
            Message.model_validate(message)
        assert caught.value.error_count() == 1

    def test_messages_and_items_are_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            user()[0].content = "other"  # type: ignore[misc]


class TestHelpers:
    conversation = Conversation.from_dict(
        {
            "messages": [
                {"role": "system", "content": "0"},
                {"role": "user", "content": "1"},
                {"role": "assistant", "content": "2"},
                {"role": "user", "content": "3"},
            ]
        }
    )

    def test_conversation_returns_its_first_last_and_filtered_messages(self) -> None:
        c = self.conversation
        assert c.first_message() == c[0]
        assert c.first_message(Role.USER) == c[1]
        assert c.last_message(Role.USER) == c.last_message() == c[-1]
        assert c.first_message(Role.TOOL) is c.last_message(Role.TOOL) is None
        assert c.filter_messages(role=Role.USER) == [c[1], c[3]]
        assert c.filter_messages(filter_fn=lambda m: m.content in ("0", "3")) == [c[0], c[3]]

    def test_string_content_is_one_text_item(self) -> None:
        message = self.conversation[1]
        assert message.content_items == [ContentItem(type=Type.TEXT, content="1")]
        assert message.compute_flattened_text_content() == "1"
        assert message.count_content_items() == (1, 1, 0)

    def test_text_and_image_items_are_separated(self) -> None:
        text = {"type": "text", "content": "a"}
        message = user([text, {"type": "image_path", "content": "/a.png"}, text])[0]
        assert message.compute_flattened_text_content("-") == "a-a"
        assert [item.content for item in message.image_content_items] == ["/a.png"]
        assert message.contains_images()
        assert message.contains_text()
        assert message.count_content_items() == (3, 2, 1)

    def test_missing_content_has_no_items(self) -> None:
        message = Message(role=Role.ASSISTANT, reasoning_content="Hm.")
        assert message.content_items == []
        assert not message.contains_text()
        assert not message.contains_images()

    @pytest.mark.parametrize(
        ("content", "only_texts", "only_images", "one_text", "one_image"),
        [
            ("a", True, False, True, False),
            ([{"type": "text", "content": "a"}] * 2, True, False, False, False),
            ([{"type": "image_url", "content": "u"}], False, True, False, True),
            ([{"type": "image_url", "content": "u"}] * 2, False, True, False, False),
            ([{"type": "text", "content": "a"}, {"type": "image_url", "content": "u"}], False, False, False, False),
            ([{"type": "text", "content": "a"}, {"type": "document_url", "content": "u"}], False, False, False, False),
            ([], False, False, False, False),
        ],
    )
    def test_kinds_of_content_are_told_apart(
        self, content: Any, only_texts: bool, only_images: bool, one_text: bool, one_image: bool
    ) -> None:
        message = Message(role=Role.USER, content=content)
        assert message.contains_text_content_items_only() is only_texts
        assert message.contains_image_content_items_only() is only_images
        assert message.contains_single_text_content_item_only() is one_text
        assert message.contains_single_image_content_item_only() is one_image

    def test_message_can_be_read_like_a_dict(self) -> None:
        message = Message.model_validate({"role": "user", "content": "a", "mark": 1})
        assert (message.get("content"), message.get("mark"), message.get("name", "x")) == ("a", 1, None)
        assert (message.get("get"), message.get("missing", "x")) == (None, "x")

    def test_id_is_appended_to_a_message(self) -> None:
        named, unnamed = user().model_copy(update={"conversation_id": "c1"}), user()
        assert named.append_id_to_string("too long. ") == "too long. Conversation id: c1."
        assert named.append_id_to_string("") == "Conversation id: c1."
        assert unnamed.append_id_to_string("too long. ") == "too long. "


class TestText:
    def test_text_of_a_message_is_its_content_or_its_text_items(self) -> None:
        items = [ContentItem(type=Type.TEXT, content="a"), ContentItem(type=Type.TEXT, content="b")]
        assert Message(role=Role.USER, content="hi").text == "hi"
        assert Message(role=Role.USER, content=items).text == "a b"

    def test_text_of_a_conversation_is_its_last_answer(self) -> None:
        roles = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
        messages = [{"role": role, "content": text} for role, text in roles]
        assert Conversation.from_dict({"messages": messages}).text == "d"
        assert Conversation.from_dict({"messages": messages[:1]}).text == ""


class TestRepr:
    def test_fields_that_are_not_set_are_left_out(self) -> None:
        message = Message(role=Role.USER, content="hi")
        assert repr(message) == "Message(role='user', content='hi')"
        assert repr(Conversation(messages=[])) == "Conversation(messages=[])"

    def test_keys_of_the_user_are_shown(self) -> None:
        assert repr(Message.model_validate({"role": "user", "content": "hi", "x": None})).endswith("x=None)")
