"""LangChain's messages as messages of a conversation."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from asyncinfer import InputError, Message, Role, Type
from asyncinfer.integrations.langchain.messages import messages_of

DATA = "iVBORw0KGgo="


def only(message: BaseMessage) -> Message:
    [converted] = messages_of([message])
    return converted


def items(*blocks: Any) -> list[tuple[Type, str | None, dict[str, Any]]]:
    content = only(HumanMessage(content=list(blocks))).content
    assert isinstance(content, list)
    return [(item.type, item.content, item.model_extra or {}) for item in content]


def test_each_kind_of_message_gets_its_role() -> None:
    given = [SystemMessage("a"), HumanMessage("b", name="Ann"), AIMessage("c"), ToolMessage("d", tool_call_id="1")]
    converted = messages_of([*given, ChatMessage(content="e", role="user")])
    assert [message.role for message in converted] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL, Role.USER]
    assert [message.content for message in converted] == ["a", "b", "c", "d", "e"]
    assert converted[1].name == "Ann"
    assert converted[3].tool_call_id == "1"


@pytest.mark.parametrize("message", [RemoveMessage(id="1"), ChatMessage(content="x", role="critic")])
def test_other_kinds_of_messages_are_refused(message: BaseMessage) -> None:
    with pytest.raises(InputError, match=f"a {type(message).__name__} cannot be sent to a model"):
        messages_of([message])


def test_texts_become_one_text() -> None:
    assert only(HumanMessage([{"type": "text", "text": "a"}, "b"])).content == "a\nb"


def test_additional_keys_of_a_text_are_kept() -> None:
    [(_, text, extra)] = items({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}})
    assert (text, extra) == ("a", {"cache_control": {"type": "ephemeral"}})


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": DATA, "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        {"type": "file", "base64": DATA, "mime_type": "image/png"},
    ],
    ids=["version 1", "version 0", "OpenAI", "Anthropic", "file"],
)
def test_image_with_its_data_is_read_in_every_format(block: dict[str, Any]) -> None:
    assert items(block) == [(Type.IMAGE_URL, f"data:image/png;base64,{DATA}", {})]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ],
    ids=["version 1", "version 0", "OpenAI", "OpenAI, short", "Anthropic"],
)
def test_image_by_url_is_read_in_every_format(block: dict[str, Any]) -> None:
    assert items(block) == [(Type.IMAGE_URL, "https://example.com/a.png", {})]


def test_detail_of_an_image_is_kept() -> None:
    [(_, _, extra)] = items({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}})
    assert extra == {"detail": "low"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "base64": DATA, "mime_type": "application/pdf", "filename": "a.pdf"},
        {"type": "file", "source_type": "base64", "data": DATA, "mime_type": "application/pdf", "filename": "a.pdf"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"}},
    ],
    ids=["version 1", "version 0", "OpenAI"],
)
def test_pdf_document_is_read_in_every_format(block: dict[str, Any]) -> None:
    assert items(block) == [(Type.DOCUMENT_URL, f"data:application/pdf;base64,{DATA}", {"filename": "a.pdf"})]


def test_pdf_document_by_url_keeps_its_url() -> None:
    block = {"type": "file", "url": "https://example.com/a.pdf", "mime_type": "application/pdf"}
    assert items(block) == [(Type.DOCUMENT_URL, "https://example.com/a.pdf", {})]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text-plain", "text": "hello", "mime_type": "text/plain"},
        {"type": "file", "base64": "aGVsbG8=", "mime_type": "text/plain"},
    ],
)
def test_text_file_becomes_a_text(block: dict[str, Any]) -> None:
    assert only(HumanMessage(content=[block])).content == "hello"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"type": "audio", "base64": DATA, "mime_type": "audio/wav"}, "type 'audio', which cannot be sent"),
        ({"type": "file", "base64": DATA, "mime_type": "video/mp4"}, "a file of type video/mp4 cannot be sent"),
        ({"type": "file", "base64": "/w==", "mime_type": "text/plain"}, "not UTF-8 in base64"),
        ({"type": "file", "base64": "?", "mime_type": "text/plain"}, "not UTF-8 in base64"),
        ({"type": "image", "file_id": "file-1"}, "neither `base64` nor `url`"),
        ({"type": "odd", "x": 1}, "type 'odd', which cannot be sent"),
    ],
)
def test_block_that_no_engine_reads_is_refused(block: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        messages_of([HumanMessage(content=[block])])


def test_image_in_a_tool_result_is_kept() -> None:
    block = {"type": "image", "base64": DATA, "mime_type": "image/png"}
    result = only(ToolMessage(content=[block], tool_call_id="1", name="camera"))
    assert [item.type for item in result.content_items] == [Type.IMAGE_URL]


def test_result_of_a_failed_tool_is_marked_as_an_error() -> None:
    assert only(ToolMessage("no such city", tool_call_id="1", status="error")).model_extra == {"is_error": True}
    assert not only(ToolMessage("sunny", tool_call_id="1")).model_extra


def test_tool_results_within_a_user_message_become_tool_messages() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "sunny"}]}
    tool, user = messages_of([HumanMessage(content=[result, {"type": "text", "text": "And tomorrow?"}])])
    assert (tool.role, tool.tool_call_id, tool.content) == (Role.TOOL, "1", "sunny")
    assert (user.role, user.content) == (Role.USER, "And tomorrow?")


def test_tool_calls_of_an_answer_are_sent_back() -> None:
    call = {"name": "weather", "args": {"city": "Zürich"}, "id": "1"}
    broken = {"name": "weather", "args": '{"city', "id": "2", "error": None}
    answer = only(AIMessage("", tool_calls=[call], invalid_tool_calls=[broken]))
    assert answer.content is None
    assert [(one.id, one.function.name, one.function.arguments) for one in answer.tool_calls or ()] == [
        ("1", "weather", '{"city": "Zürich"}'),
        ("2", "weather", '{"city'),
    ]


def test_tool_calls_that_only_the_content_has_are_sent_back() -> None:
    use = {"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Rome"}}
    answer = only(AIMessage([{"type": "text", "text": "I look."}, use]))
    assert answer.content == "I look."
    assert [one.function.arguments for one in answer.tool_calls or ()] == ['{"city": "Rome"}']


def test_signed_reasoning_of_another_integration_is_sent_back() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    redacted = {"type": "redacted_thinking", "data": "d"}
    answer = only(AIMessage([thinking, redacted, {"type": "text", "text": "Hi."}]))
    assert (answer.content, answer.reasoning_content) == ("Hi.", "Hm.")
    assert answer.model_extra == {"thinking_blocks": [thinking, redacted]}


def test_reasoning_block_with_a_signature_is_sent_back() -> None:
    block = {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "s"}}
    answer = only(AIMessage(content_blocks=[block, {"type": "text", "text": "Hi."}]))  # pyright: ignore
    assert answer.model_extra == {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]}


def test_content_that_no_model_accepts_back_is_left_out() -> None:
    search = {"type": "server_tool_call", "id": "1", "name": "web_search", "args": {}}
    assert only(AIMessage([search, {"type": "text", "text": "Found."}])).content == "Found."


def test_messages_of_the_caller_are_not_changed() -> None:
    message = HumanMessage(content=[{"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"}])
    before = message.model_copy(deep=True)
    messages_of([message])
    assert message == before


def test_json_block_is_sent_as_json() -> None:
    result = ToolMessage(content=[{"type": "json", "json": {"city": "Zürich", "dry": True}}], tool_call_id="1")
    assert only(result).content == '{"city": "Zürich", "dry": true}'


@pytest.mark.parametrize("kind", ["image", "file"])
def test_media_type_that_a_block_lacks_is_found_in_its_data(kind: str) -> None:
    data = base64.b64encode(b"\xff\xd8\xff" + bytes(3000)).decode()
    assert items({"type": kind, "base64": data}) == [(Type.IMAGE_URL, f"data:image/jpeg;base64,{data}", {})]


@pytest.mark.parametrize("kind", ["file", "text-plain"])
def test_text_file_with_its_data_becomes_a_text(kind: str) -> None:
    data = base64.b64encode("Zürich".encode()).decode()
    assert only(HumanMessage([{"type": kind, "base64": data, "mime_type": "text/plain"}])).content == "Zürich"


@pytest.mark.parametrize("kind", ["file", "text-plain"])
def test_error_says_how_to_send_a_text_file_that_has_only_a_url(kind: str) -> None:
    with pytest.raises(InputError, match=r"has only its URL or its id\. Send its text, or its data in `base64`"):
        only(HumanMessage([{"type": kind, "url": "https://example.com/a.txt", "mime_type": "text/plain"}]))
