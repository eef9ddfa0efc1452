"""A conversation is rendered to a prompt, by simple templates in Python."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.engines.local.chat_prompt import render_prompt, text_content, vision_content
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
