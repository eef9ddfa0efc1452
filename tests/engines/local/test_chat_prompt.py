"""How a conversation becomes a prompt, with templates that do as they are told."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer import Conversation, GenerationParams, ModelParams, RequestError
from asyncinfer.engines.local.chat_prompt import in_text as as_text
from asyncinfer.engines.local.chat_prompt import parts_or_text, prompt_for
from asyncinfer.engines.local.request import Request

IMAGE = {"type": "image_url", "content": "data:,"}
DOCUMENT = {"type": "document_binary", "binary": b"%PDF-"}
TEXT = {"type": "text", "content": "What?"}


def asked(*items: dict[str, Any], role: str = "user") -> Request:
    conversation = Conversation.from_dict({"messages": [{"role": role, "content": list(items)}]})
    return Request(conversation, GenerationParams(), ModelParams(chat_template_kwargs={"ending": "!"}))


def prompt(request: Request, render: Any, takes_images: bool) -> str:
    content = parts_or_text(request, render) if takes_images else as_text
    return prompt_for(request, render, takes_tools=False, content=content)


def in_text(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    """As `{{ message.content }}` writes it, which writes a list too."""
    return f"{messages[0]['content']}{ending}"


def in_json(*, messages: list[dict[str, Any]], **_: Any) -> str:
    return str(messages).replace("'", '"')


def strict(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    return messages[0]["content"] + ending


def in_parts(*, messages: list[dict[str, Any]], ending: str, **_: Any) -> str:
    return "".join(part.get("text", "<image>") for part in messages[0]["content"]) + ending


@pytest.mark.parametrize("render", [in_text, strict])
@pytest.mark.parametrize("takes_images", [True, False])
def test_a_template_of_texts_gets_texts(render: Any, takes_images: bool) -> None:
    assert prompt(asked(TEXT), render, takes_images) == "What?!"


def test_a_template_of_parts_gets_parts() -> None:
    written = prompt(asked(IMAGE, TEXT), in_parts, takes_images=True)
    assert written == "<image>What?!"


@pytest.mark.parametrize(
    ("render", "takes_images", "item", "why"),
    [
        (in_text, False, IMAGE, "model reads text only, and the conversation contains images"),
        (in_text, False, DOCUMENT, "model reads text only, and the conversation contains documents"),
        (in_text, True, IMAGE, "template writes text only, and the conversation contains images"),
        (in_json, True, IMAGE, "template writes text only, and the conversation contains images"),
        (strict, True, DOCUMENT, "template writes text only, and the conversation contains documents"),
        (in_parts, True, DOCUMENT, "reads text and images, and the conversation contains documents"),
    ],
)
def test_what_cannot_be_written_is_told(render: Any, takes_images: bool, item: dict[str, Any], why: str) -> None:
    with pytest.raises(RequestError, match=why):
        prompt(asked(item, TEXT), render, takes_images)
