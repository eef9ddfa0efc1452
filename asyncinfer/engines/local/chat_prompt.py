"""Renders a conversation into the prompt of a model, with a Jinja chat template."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from asyncinfer.config import ModelParams
from asyncinfer.dialects.unsent_keys import OF_ANSWERS
from asyncinfer.engines.local.request import Request
from asyncinfer.errors import ConfigError, RequestError, invalid_request
from asyncinfer.types.content import ContentItem
from asyncinfer.types.merging import merged_messages
from asyncinfer.types.message import Message
from asyncinfer.types.paths import expanded, is_file, read_text
from asyncinfer.types.tools import ToolCall

log = logging.getLogger("asyncinfer")

Render = Callable[..., str]
Content = Callable[[Message], Any]
# Renders the conversation of a request to text. Takes the request, and for `apply_chat_template` further arguments of
# the template, which take precedence over those of the request.
ConversationRenderer = Callable[..., str]
# The built-in templates, by the names that `model.chat_template` accepts.
TEMPLATES = Path(__file__).parent / "templates"
_PROBE = "6d756368"
# The variable of a template for `generation.reasoning_effort`, as in the templates of gpt-oss.
EFFORT = "reasoning_effort"


def template_file(setting: str | None) -> Path | None:
    """The file that `model.chat_template` names: a built-in template or the user's. None if the setting is the
    text of a template, or means the model's own.

    Raises:
        ConfigError: There is no such file.
    """
    if setting is None or setting == "auto" or "{" in setting:
        return None
    if (builtin := template_names().get(setting.lower())) is not None:
        return builtin
    path = expanded(setting, "model.chat_template")
    if not is_file(path):
        raise ConfigError(
            f"model.chat_template: {setting!r} is neither a Jinja template, nor an existing file, nor one of "
            f"{', '.join(template_names())}"
        )
    return path


@cache
def template_names() -> dict[str, Path]:
    """The files of the built-in templates, by name."""
    return {path.stem: path for path in sorted(TEMPLATES.glob("*.jinja"))}


def resolve_chat_template(params: ModelParams) -> ModelParams:
    """`params` with the text of its chat template; None for the model's own. Reads a file."""
    path = template_file(params.chat_template)
    text = read_text(path, "model.chat_template") if path is not None else params.chat_template
    return params.model_copy(update={"chat_template": None if text == "auto" else text})


def template_variables(request: Request) -> dict[str, Any]:
    """The variables of a template besides the messages."""
    effort = request.generation.reasoning_effort
    own = {} if effort is None else {EFFORT: effort}
    return {"tools": request.tools or None, **own, **(request.model.chat_template_kwargs or {})}


def check_effort(request: Request, template: str | None) -> None:
    """Log a warning if the request sets a reasoning effort that its template does not read. Once for each template."""
    if request.generation.reasoning_effort is not None and EFFORT not in (template or ""):
        _warn_of_unread_effort(template)


@lru_cache(maxsize=8)
def _warn_of_unread_effort(template: str | None) -> None:
    log.warning("generation.reasoning_effort: no effect, because the model's chat template has no variable %r", EFFORT)


def _image_placeholder(_: ContentItem) -> dict[str, Any]:
    return {"type": "image"}


def text_content(message: Message, *, subject: str = "this model reads") -> str:
    """The content of a message as text.

    Args:
        subject: Begins the error message, before "text only".

    Raises:
        RequestError: The message contains more than text.
    """
    if not all(item.is_text() for item in message.content_items):
        what = "images" if message.contains_images() else "documents"
        raise invalid_request(f"{subject} text only, and the conversation contains {what}")
    return message.compute_flattened_text_content()


def content_parts(
    message: Message, image: Callable[[ContentItem], dict[str, Any]] = _image_placeholder
) -> list[dict[str, Any]]:
    """The content of a message as a list of texts and images, for a vision model.

    Args:
        image: Converts an image. By default to a placeholder; the model then receives the pixels separately.

    Raises:
        RequestError: The message contains documents.
    """
    if any(item.is_document() for item in message.content_items):
        raise invalid_request("this model reads text and images, and the conversation contains documents")
    return [
        image(item) if item.is_image() else {"type": "text", "text": item.content} for item in message.content_items
    ]


def render_prompt(request: Request, render: Render, *, supports_tools: bool, content: Content = text_content) -> str:
    """The prompt. If the template rejects the conversation, its adjacent messages of one role are merged.

    Args:
        content: Converts a message to what the template expects as its content.

    Raises:
        RequestError: The template, or `content`, does not support this conversation.
    """
    variables = template_variables(request)
    if variables["tools"] and not supports_tools:
        raise tools_unsupported()
    messages = request.conversation.messages
    plain = [_template_message(message, content) for message in messages]
    try:
        return render(messages=plain, **variables)
    except Exception as error:
        # Many templates reject two adjacent messages of one role.
        merged = merged_messages(messages, as_text=True)
        with suppress(Exception):
            if merged is not messages:
                return render(messages=[_template_message(message, content) for message in merged], **variables)
        raise invalid_request(f"the chat template rejects this conversation: {error}") from error


def tools_unsupported() -> RequestError:
    """The error for a conversation with tools if the chat template does not render tools."""
    return invalid_request(
        "this model's chat template does not support tools; set model.chat_template to one that does, "
        "or generation.tool_choice to 'none'"
    )


def vision_content(request: Request, render: Render) -> Content:
    """The function that converts messages for a vision model: to parts if its template supports them, else to text."""
    if supports_parts(render, **template_variables(request)):
        return content_parts
    return partial(text_content, subject="this model's chat template writes")


def any_content(request: Request, render: Render) -> Content:
    """The function that converts messages if it is not known whether the model reads images. Only messages with images
    are converted to parts, unless the template supports nothing else.
    """
    variables = template_variables(request)
    needs_parts = not supports_text(render, **variables) and supports_parts(render, **variables)
    return content_parts if needs_parts else _parts_or_text


def _parts_or_text(message: Message) -> Any:
    return content_parts(message) if message.contains_images() else text_content(message)


def supports_text(render: Render, **variables: Any) -> bool:
    """Whether the template writes content that is a string."""
    return _writes_content(render, _PROBE, variables)


def supports_parts(render: Render, **variables: Any) -> bool:
    """Whether the template writes the text of content that is a list of parts."""
    return _writes_content(render, [{"type": "text", "text": _PROBE}], variables)


def _writes_content(render: Render, content: Any, variables: Mapping[str, Any]) -> bool:
    try:
        text = render(messages=[{"role": "user", "content": content}], **variables)
    except Exception:  # The template rejects it. A row that is rejected gets the reason later.
        return False
    # Some templates write a list in Python's notation.
    return _PROBE in text and re.search(rf"text['\"]: ['\"]{_PROBE}", text) is None


def _template_message(message: Message, content: Content) -> dict[str, Any]:
    """A message as templates expect it. Templates may use its name and its additional keys."""
    extra = {key: value for key, value in (message.model_extra or {}).items() if key not in OF_ANSWERS}
    plain: dict[str, Any] = {**extra, "role": message.role.value, "content": content(message)}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = [_template_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        plain["reasoning_content"] = message.reasoning_content
    return plain


def _template_call(call: ToolCall) -> dict[str, Any]:
    """A tool call as templates expect it: they write the arguments with `tojson`, so these must be an object."""
    plain = call.model_dump(mode="json", exclude_none=True)
    with suppress(ValueError, RecursionError):  # They may be nested too deeply to parse.
        plain["function"]["arguments"] = json.loads(call.function.arguments)
    return plain
