"""Reprs of conversations, results and settings show only what is set, and of long values only the beginning."""

from __future__ import annotations

import pytest

from asyncinfer import (
    Completion,
    ContentItem,
    Conversation,
    FailureDetail,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    InferenceResult,
    Message,
    Progress,
    RemoteParams,
    Role,
    RunSummary,
    StreamDelta,
    ToolCall,
    Type,
    Usage,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Usage(), "Usage()"),
        (Usage(1, 2, 3), "Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)"),
        (StreamDelta("a"), "StreamDelta(content='a')"),
        (FailureDetail("no"), "FailureDetail(error_message='no')"),
        (Progress(), "Progress()"),
        (InferenceConfig(), "InferenceConfig()"),
        (GenerationParams(temperature=0.5), "GenerationParams(temperature=0.5)"),
        (RemoteParams(num_workers=50), "RemoteParams()"),
    ],
)
def test_defaults_are_left_out(value: object, shown: str) -> None:
    assert repr(value) == shown


def test_parts_have_short_reprs_too() -> None:
    completion = Completion(Message(role=Role.ASSISTANT, content="b"), FinishReason.STOP)
    assert repr(completion) == ("Completion(message=Message(role='assistant', content='b'), finish_reason='stop')")


def test_long_text_is_shortened_and_has_its_length() -> None:
    shown = repr(Message(role=Role.USER, content="a" * 12_345))
    assert shown == f"Message(role='user', content=<{'a' * 160!r}..., 12,345 characters>)"
    assert repr(StreamDelta("b" * 200)).endswith("..., 200 characters>)")


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (ContentItem(type=Type.IMAGE_BINARY, binary=b"\xff\xd8\xff" + bytes(12_000)), "binary=<image/jpeg, 12 kB>"),
        (ContentItem(type=Type.DOCUMENT_BINARY, binary=b"?"), "binary=<bytes, 1 bytes>"),
        (
            ContentItem(type=Type.IMAGE_URL, content="data:image/png;base64," + "A" * 4_000_000),
            "content=<image/png, 3.0 MB>",
        ),
    ],
)
def test_files_are_shown_by_type_and_size(item: ContentItem, shown: str) -> None:
    assert repr(item) == f"ContentItem(type={item.type.value!r}, {shown})"


def test_credentials_are_not_shown() -> None:
    item = ContentItem(type=Type.IMAGE_URL, content="https://user:c4nary@example.com/a.png?token=c4nary")
    extra = {"metadata": {"api_key": "c4nary"}, "auth_token": "c4nary"}
    chat = Conversation.from_dict({"messages": [{"role": "user", "content": [item]}], **extra})
    assert "c4nary" not in repr(chat) + repr(item)
    assert "api_key" in repr(chat)


def test_long_conversation_shows_its_first_messages_and_the_number_of_the_others() -> None:
    shown = repr(Conversation(messages=[Message(role=Role.USER, content=str(n)) for n in range(1000)]))
    assert shown.endswith("content='5'), <994 more>])")


def test_deep_and_wide_metadata_is_shortened() -> None:
    deep: object = "end"
    for _ in range(50):
        deep = {"a": [deep] * 50}
    assert len(repr(Conversation(messages=[], metadata={"deep": deep}))) < 1000


def test_arguments_of_a_tool_call_are_shortened() -> None:
    call = ToolCall.model_validate({"id": "1", "function": {"name": "f", "arguments": "x" * 10_000}})
    assert len(repr(call)) < 300


def test_results_of_many_rows_have_short_reprs() -> None:
    rows = [(index, Conversation(messages=[])) for index in range(1000)]
    failures = {index: FailureDetail("no") for index in range(100)}
    shown = repr(InferenceResult(rows, failures))
    assert shown.startswith("InferenceResult(successful=<1,000 rows>, failures={0: FailureDetail(error_message='no'), ")
    assert shown.endswith("...: <94 more>})")
    summary = RunSummary(1000, 980, 20, 0, Usage(), 1.0, [(n, FailureDetail("x" * 5000)) for n in range(20)])
    assert len(repr(summary)) < 2500
