"""Conversations of rows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import ContentItem, InputParams, Type
from asyncinfer.data import openai_batch
from asyncinfer.data.row_prompt import RowPrompt
from asyncinfer.errors import InputError


def conversation(values: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return RowPrompt(InputParams(**settings), keeps_metadata=True).conversation(values).to_dict()


def test_prompt_and_system_prompt_are_messages() -> None:
    assert conversation({"text": "a", "who": "Ada"}, prompt="Say {{ text }}", system="You are {{ who }}") == {
        "messages": [{"role": "system", "content": "You are Ada"}, {"role": "user", "content": "Say a"}]
    }


def test_empty_system_prompt_is_left_out() -> None:
    assert len(conversation({"who": None}, prompt="a", system="{{ who }}")["messages"]) == 1


def test_ids_become_text() -> None:
    assert conversation({"n": 7}, prompt="a", id="n")["conversation_id"] == "7"
    assert "conversation_id" not in conversation({"n": None}, prompt="a", id="n")


def test_kept_columns_are_metadata() -> None:
    kept = conversation({"a": b"\xff", "b": [1.5], "c": 1}, prompt="x", keep=["a", "b"])
    assert kept["metadata"] == {"a": "/w==", "b": [1.5]}


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("photo.png", [(Type.IMAGE_PATH, "photo.png")]),
        (Path("photo.png"), [(Type.IMAGE_PATH, "photo.png")]),
        ("https://example.com/a.png", [(Type.IMAGE_URL, "https://example.com/a.png")]),
        ("data:image/png;base64,AAAA", [(Type.IMAGE_URL, "data:image/png;base64,AAAA")]),
        (b"\x89PNG", [(Type.IMAGE_BINARY, b"\x89PNG")]),
        ({"bytes": b"\x89PNG", "path": "a.png"}, [(Type.IMAGE_BINARY, b"\x89PNG")]),
        ({"bytes": None, "path": "a.png"}, [(Type.IMAGE_PATH, "a.png")]),
        (["a.png", b"x"], [(Type.IMAGE_PATH, "a.png"), (Type.IMAGE_BINARY, b"x")]),
    ],
)
def test_images_come_before_the_text(value: object, items: list[tuple[Type, Any]]) -> None:
    prompt = RowPrompt(InputParams(prompt="What is it?", images="photo"))
    content = prompt.conversation({"photo": value}).messages[0].content
    if not items:
        assert content == "What is it?"
        return
    assert isinstance(content, list)
    *images, text = content
    assert text == ContentItem(type=Type.TEXT, content="What is it?")
    assert [(item.type, item.binary or item.content) for item in images] == items


def test_image_of_another_type_is_a_bad_row() -> None:
    with pytest.raises(InputError, match="input.images: an image should be a path, a URL or bytes"):
        conversation({"photo": 3}, prompt="a", images="photo")


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{{ x }}"},
        {"prompt": "a", "system": "{{ x }}"},
        {"prompt": "a", "images": "x"},
        {"prompt": "a", "id": "x"},
        {"prompt": "a", "keep": ["x"]},
    ],
)
def test_missing_column_names_the_setting_and_the_columns(settings: dict[str, Any]) -> None:
    prompt = RowPrompt(InputParams(**settings), keeps_metadata=True)
    expected = "input.(prompt|system|images|id|keep): there is no column 'x'; the columns are a, b"
    with pytest.raises(InputError, match=f"data.csv: {expected}"):
        prompt.check_columns(("a", "b"), "data.csv")
    with pytest.raises(InputError, match=expected):
        prompt.conversation({"a": 1, "b": 2})


def test_rows_without_a_prompt_are_conversations() -> None:
    row = {
        "conversation_id": 5,
        "messages": [{"role": "user", "content": "Hi", "name": None}, {"role": "assistant", "content": "Ho"}],
        "metadata": {"topic": "a"},
        "label": "other columns are not part of it",
    }
    assert conversation(row) == {
        "conversation_id": "5",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "metadata": {"topic": "a"},
    }


def test_messages_may_be_json_text() -> None:
    assert conversation({"messages": '[{"role": "user", "content": "Hi"}]'})["messages"][0]["content"] == "Hi"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "there is no column 'messages', so set input.prompt; the columns are text"),
        ({"messages": "hello"}, "column 'messages': not valid JSON"),
        ({"messages": [{"role": "boss", "content": "a"}]}, "messages.0.role: "),
    ],
)
def test_row_that_is_no_conversation_is_a_bad_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        conversation(row)


def request(**body: Any) -> dict[str, Any]:
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    return {
        "custom_id": "r1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-5-mini", "messages": messages, **body},
    }


def test_requests_of_openai_batch_files_are_conversations() -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    found = conversation(request(tools=[{"type": "function", "function": function}]), format="openai_batch")
    assert found["conversation_id"] == "r1"
    assert [message["role"] for message in found["messages"]] == ["system", "user"]
    assert found["tools"][0]["function"]["name"] == "f"


def test_settings_of_batch_requests_are_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_batch, "_warned", set())
    with caplog.at_level(logging.WARNING, "asyncinfer"):
        for _ in range(3):
            conversation(request(temperature=0, max_tokens=5), format="openai_batch")
    [record] = caplog.records
    assert "max_tokens, temperature" in record.message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "should have `custom_id` and `body`"),
        ({**request(), "url": "/v1/embeddings"}, "the request is for /v1/embeddings"),
        (request(messages="x"), "body.messages should be a list"),
        (request(messages=[{"role": "user"}]), "body.messages.0"),
    ],
)
def test_other_batch_requests_are_bad_rows(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        conversation(row, format="openai_batch")


# Settings of single rows


def test_columns_may_have_settings_of_the_row() -> None:
    settings: dict[str, Any] = {
        "prompt": "a",
        "model_name": "model",
        "generation": {"temperature": "heat", "stop_strings": "stop"},
    }
    found = conversation({"model": "big", "heat": "0.5", "stop": '["x"]'}, **settings)
    assert (found["model_name"], found["generation"]) == ("big", {"temperature": "0.5", "stop_strings": ["x"]})
    assert set(conversation({"model": None, "heat": "", "stop": None}, **settings)) == {"messages"}


def test_columns_of_conversations_have_their_settings() -> None:
    row = {"messages": '[{"role": "user", "content": "a"}]', "generation": '{"seed": 1}', "model_name": "7"}
    found = conversation(row, id="model_name")
    assert (found["model_name"], found["generation"]) == ("7", {"seed": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_name": "m"}, "input.model_name: there is no column 'm'; the columns are a"),
        ({"generation": {"seed": "s"}}, "input.generation: there is no column 's'"),
    ],
)
def test_missing_column_of_a_setting_is_an_error(settings: dict[str, Any], message: str) -> None:
    prompt = RowPrompt(InputParams(prompt="x", **settings))
    with pytest.raises(InputError, match=message):
        prompt.check_columns(("a",), "in.csv")
    with pytest.raises(InputError, match=message):
        prompt.conversation({"a": 1})


def test_other_settings_give_another_fingerprint() -> None:
    params: list[dict[str, Any]] = [{}, {"model_name": "a"}, {"generation": {"seed": "a"}}, {"id": "a"}]
    assert len({RowPrompt(InputParams(prompt="x", **own)).fingerprint for own in params}) == 4
