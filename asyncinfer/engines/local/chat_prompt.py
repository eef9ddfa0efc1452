"""Render a conversation into the text a model continues, with a Jinja chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import ConfigError, RequestError, invalid_request
from asyncinfer.types.conversation import ContentItem, Message
from asyncinfer.types.paths import expanded, is_file, read_text
from asyncinfer.types.tools import ToolCall

Render = Callable[..., str]
Content = Callable[[Message], Any]
# The formats of known models, by the names that `model.chat_template` may give them.
TEMPLATES = Path(__file__).parent / "templates"
_PROBE = "6d756368"


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
    path = expanded(setting, "model.chat_template")
    if not is_file(path):
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
    text = read_text(path, "model.chat_template") if path is not None else params.chat_template
    return params.model_copy(update={"chat_template": None if text == "auto" else text})


def given_to_template(request: Request) -> dict[str, Any]:
    """What a template is given besides the messages."""
    return {"tools": request.tools or None, **(request.model.chat_template_kwargs or {})}


def _place(_: ContentItem) -> dict[str, Any]:
    return {"type": "image"}


def in_text(message: Message, *, who: str = "this model reads") -> str:
    """The content of a message for a model of text. Raises RequestError if there is more than text in it."""
    if not all(item.is_text() for item in message.content_items):
        what = "images" if message.contains_images() else "documents"
        raise invalid_request(f"{who} text only, and the conversation contains {what}")
    return message.compute_flattened_text_content()


def in_parts(message: Message, image: Callable[[ContentItem], dict[str, Any]] = _place) -> list[dict[str, Any]]:
    """The content of a message for a model that sees: its texts, and what `image` makes of its images. By default that
    says where they are; their pixels are given to the model apart.

    Raises:
        RequestError: there is something else in it.
    """
    if any(item.is_document() for item in message.content_items):
        raise invalid_request("this model reads text and images, and the conversation contains documents")
    return [
        image(item) if item.is_image() else {"type": "text", "text": item.content} for item in message.content_items
    ]


def prompt_for(request: Request, render: Render, *, takes_tools: bool, content: Content = in_text) -> str:
    """The prompt. `content` makes of a message what the template takes for its content.

    Raises:
        RequestError: the template, or `content`, cannot take this conversation.
    """
    given = given_to_template(request)
    if given["tools"] and not takes_tools:
        raise takes_no_tools()
    messages = [_plain(message, content) for message in request.conversation.messages]
    try:
        return render(messages=messages, **given)
    except Exception as error:
        raise invalid_request(f"the chat template rejects this conversation: {error}") from error


def takes_no_tools() -> RequestError:
    """Why a conversation with tools is refused where the template writes none."""
    return invalid_request(
        "this model's chat template takes no tools; set model.chat_template to one that does, "
        "or generation.tool_choice to 'none'"
    )


def parts_or_text(request: Request, render: Render) -> Content:
    """What makes the contents of messages for a model that sees: parts, if its template knows what to do with them."""
    if takes_parts(render, **given_to_template(request)):
        return in_parts
    return partial(in_text, who="this model's chat template writes")


def takes_text(render: Render, **given: Any) -> bool:
    """Whether the template writes a content that is a string."""
    return _writes(render, _PROBE, given)


def takes_parts(render: Render, **given: Any) -> bool:
    """Whether the template writes the text of a content that is a list of parts."""
    return _writes(render, [{"type": "text", "text": _PROBE}], given)


def _writes(render: Render, content: Any, given: Mapping[str, Any]) -> bool:
    try:
        shown = render(messages=[{"role": "user", "content": content}], **given)
    except Exception:  # What a template rejects is told to the row that it rejects.
        return False
    # Some write a list as Python shows it.
    return _PROBE in shown and re.search(rf"text['\"]: ['\"]{_PROBE}", shown) is None


def _plain(message: Message, content: Content) -> dict[str, Any]:
    """A message as templates expect it."""
    plain: dict[str, Any] = {"role": message.role.value, "content": content(message)}
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        plain["reasoning_content"] = message.reasoning_content
    return plain


def _plain_call(call: ToolCall) -> dict[str, Any]:
    """Templates write the arguments with `tojson`, and so want them as an object."""
    plain = call.model_dump(mode="json", exclude_none=True)
    with suppress(ValueError, RecursionError):  # They may be nested deeper than can be read.
        plain["function"]["arguments"] = json.loads(call.function.arguments)
    return plain
