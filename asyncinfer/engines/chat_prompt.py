"""Render a conversation into the text a model continues, with a Jinja chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.errors import ConfigError
from asyncinfer.run.request import Request
from asyncinfer.types.conversation import Message
from asyncinfer.types.results import unanswerable
from asyncinfer.types.tools import ToolCall

Render = Callable[..., str]
# The formats of known models, by the names that `model.chat_template` may give them.
TEMPLATES = Path(__file__).parent / "templates"


def template_file(setting: str | None) -> Path | None:
    """The file that `model.chat_template` names, one of ours or the user's; None if it is a template itself, or the
    model's own.

    Raises:
        ConfigError: there is no such file.
    """
    if setting is None or setting == "auto" or "{" in setting:
        return None
    if (ours := template_names().get(setting.lower())) is not None:
        return ours
    path = Path(setting).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"model.chat_template: {setting!r} is neither a Jinja template, nor an existing file, nor one of "
            f"{', '.join(template_names())}"
        )
    return path


@cache
def template_names() -> dict[str, Path]:
    """Where our templates are, by name."""
    return {path.stem: path for path in sorted(TEMPLATES.glob("*.jinja"))}


def with_template(params: ModelParams) -> ModelParams:
    """`params` with the text of the template that they mean; None for the model's own. Reads a file."""
    path = template_file(params.chat_template)
    text = path.read_text(encoding="utf-8") if path is not None else params.chat_template
    return params.model_copy(update={"chat_template": None if text == "auto" else text})


def tools_of(request: Request) -> list[dict[str, Any]]:
    """The tools that this answer may use."""
    if request.generation.tool_choice == "none":
        return []
    return [tool.model_dump(mode="json", exclude_none=True) for tool in request.conversation.tools or ()]


def prompt_for(request: Request, render: Render, *, takes_tools: bool, takes_images: bool = False) -> str:
    """The prompt. A model that `takes_images` gets messages as lists of parts.

    Raises:
        RequestError: the template, or a model of text, cannot take this conversation.
    """
    tools = tools_of(request)
    if tools and not takes_tools:
        raise unanswerable(
            "this model's chat template takes no tools; set model.chat_template to one that does, "
            "or generation.tool_choice to 'none'"
        )
    if not takes_images and any(message.contains_images() for message in request.conversation.messages):
        raise unanswerable("this model reads text only, and the conversation contains images")
    messages = [_plain(message, in_parts=takes_images) for message in request.conversation.messages]
    try:
        return render(messages=messages, tools=tools or None, **(request.model.chat_template_kwargs or {}))
    except Exception as error:
        raise unanswerable(f"the chat template rejects this conversation: {error}") from error


def _plain(message: Message, *, in_parts: bool = False) -> dict[str, Any]:
    """A message as templates expect it."""
    plain: dict[str, Any] = {
        "role": message.role.value,
        "content": _parts(message) if in_parts else message.compute_flattened_text_content(),
    }
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        plain["reasoning_content"] = message.reasoning_content
    return plain


def _parts(message: Message) -> list[dict[str, Any]]:
    """The images, of which the processor is given the pixels, and the texts between them."""
    if any(item.is_document() for item in message.content_items):
        raise unanswerable("this model reads text and images, and the conversation contains documents")
    return [
        {"type": "image"} if item.is_image() else {"type": "text", "text": item.content}
        for item in message.content_items
    ]


def _plain_call(call: ToolCall) -> dict[str, Any]:
    """Templates write the arguments with `tojson`, and so want them as an object."""
    plain = call.model_dump(mode="json", exclude_none=True)
    with suppress(ValueError, RecursionError):  # They may be nested deeper than can be read.
        plain["function"]["arguments"] = json.loads(call.function.arguments)
    return plain
