"""A conversation is rendered to a prompt, by simple templates in Python."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.engines.local.chat_prompt import (
    check_effort,
    render_prompt,
    template_variables,
    text_content,
    vision_content,
)
from asyncinfer.engines.local.request import Request

IMAGE = {"type": "image_url", "content": "data:,"}
DOCUMENT = {"type": "document_binary", "binary": b"%PDF-"}
TEXT = {"type": "text", "content": "What?"}


def request_with(*items: dict[str, Any], role: str = "user") -> Request:
    conversation = Conversation.from_dict({"messages": [{"role": role, "content": list(items)}]})
    return Request(conversation, GenerationParams(), ModelParams(chat_template_kwargs={"ending": "!"}))


def prompt(request: Request, render: Any, takes_images: bool) -> str:
    content = vision_content(request, render) if takes_images else text_content
    return render_prompt(request, render, supports_tools=False, content=content)


def in_text(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    """As `{{ message.content }}`, which also writes a list."""
    return f"{messages[0]['content']}{ending}"


def in_json(*, messages: list[dict[str, Any]], **_: Any) -> str:
    return str(messages).replace("'", '"')


def strict(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    return messages[0]["content"] + ending


def in_parts(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    return "".join(part.get("text", "<image>") for part in messages[0]["content"]) + ending


@pytest.mark.parametrize("render", [in_text, strict])
@pytest.mark.parametrize("takes_images", [True, False])
def test_template_that_supports_text_gets_text(render: Any, takes_images: bool) -> None:
    assert prompt(request_with(TEXT), render, takes_images) == "What?!"


def test_template_that_supports_parts_gets_parts() -> None:
    written = prompt(request_with(IMAGE, TEXT), in_parts, takes_images=True)
    assert written == "<image>What?!"


@pytest.mark.parametrize(
    ("render", "takes_images", "item", "message"),
    [
        (in_text, False, IMAGE, "model reads text only, and the conversation contains images"),
        (in_text, False, DOCUMENT, "model reads text only, and the conversation contains documents"),
        (in_text, True, IMAGE, "template writes text only, and the conversation contains images"),
        (in_json, True, IMAGE, "template writes text only, and the conversation contains images"),
        (strict, True, DOCUMENT, "template writes text only, and the conversation contains documents"),
        (in_parts, True, DOCUMENT, "reads text and images, and the conversation contains documents"),
    ],
)
def test_unsupported_content_is_rejected(render: Any, takes_images: bool, item: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        prompt(request_with(item, TEXT), render, takes_images)


def test_template_gets_the_name_and_the_additional_keys_of_a_message() -> None:
    message = {"role": "user", "content": "a", "name": "ann", "mood": "merry", "reasoning_details": [{}]}
    request = Request(Conversation.from_dict({"messages": [message]}), GenerationParams(), ModelParams())
    written = prompt(request, lambda *, messages, **_: str(messages), takes_images=False)
    assert written == str([{"mood": "merry", "role": "user", "content": "a", "name": "ann"}])


def said(*messages: tuple[str, Any]) -> Request:
    plain = [{"role": role, "content": content} for role, content in messages]
    return Request(Conversation.from_dict({"messages": plain}), GenerationParams(), ModelParams())


def lines(messages: list[dict[str, Any]]) -> str:
    return "; ".join(f"{message['role']}: {message['content']}" for message in messages)


def in_any_order(*, messages: list[dict[str, Any]], **_: Any) -> str:
    return lines(messages)


def alternating(*, messages: list[dict[str, Any]], **_: Any) -> str:
    """As the templates of Mistral and Gemma."""
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2):
        raise ValueError("Conversation roles must alternate user/assistant/user/assistant/...")
    return lines(messages)


TWO_QUESTIONS = said(
    ("system", "S"), ("user", "a"), ("user", [TEXT]), ("assistant", "b"), ("assistant", "c"), ("user", "d")
)


def test_adjacent_messages_are_merged_if_the_template_rejects_them() -> None:
    assert (
        prompt(TWO_QUESTIONS, alternating, takes_images=False) == "system: S; user: a\nWhat?; assistant: b\nc; user: d"
    )


def test_adjacent_messages_stay_apart_if_the_template_accepts_them() -> None:
    written = prompt(TWO_QUESTIONS, in_any_order, takes_images=False)
    assert written == "system: S; user: a; user: What?; assistant: b; assistant: c; user: d"


def test_error_is_that_of_the_conversation_as_it_was_given() -> None:
    with pytest.raises(RequestError, match="rejects this conversation: Conversation roles must alternate"):
        prompt(said(("assistant", "a"), ("assistant", "b"), ("user", "c")), alternating, takes_images=False)


def test_reasoning_effort_is_a_variable_of_the_template() -> None:
    request = request_with(TEXT)
    effort = request._replace(generation=GenerationParams(reasoning_effort="low"))
    assert template_variables(effort) == {"tools": None, "reasoning_effort": "low", "ending": "!"}
    own = effort._replace(model=ModelParams(chat_template_kwargs={"reasoning_effort": "high"}))
    assert template_variables(own)["reasoning_effort"] == "high"
    assert "reasoning_effort" not in template_variables(request)


def test_effort_that_a_template_does_not_read_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    request = request_with(TEXT)._replace(generation=GenerationParams(reasoning_effort="low"))
    for _ in range(2):
        check_effort(request, "{{ no_effort_in_this_test }}")
        check_effort(request, "{{ reasoning_effort }}")
    assert [record.message for record in caplog.records] == [
        "generation.reasoning_effort: no effect, because the model's chat template has no variable 'reasoning_effort'"
    ]
