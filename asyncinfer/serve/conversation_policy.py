"""Reads the conversation of a request, and refuses what a client may not name: files and addresses of the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from asyncinfer.dialects.media import is_data_url
from asyncinfer.serve.api_errors import bad_request
from asyncinfer.serve.chat_messages import read_message, read_tool
from asyncinfer.serve.kept_fields import image_count
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.serve.url_policy import check_url
from asyncinfer.types.content import FILE_PATHS, ContentItem
from asyncinfer.types.conversation import Conversation


async def read_conversation(messages: Any, tools: Any, settings: ServerSettings) -> Conversation:
    """Return the conversation in the fields `messages` and `tools` of a request.

    Raises:
        ApiError: The fields are not valid, or name something that the client may not use.
    """
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages: should be a list of at least one message.", "messages")
    plain = [read_message(f"messages[{index}]", message) for index, message in enumerate(cast(list[Any], messages))]
    known = [read_tool(tool) for tool in cast(list[Any], tools)] if isinstance(tools, list) else tools
    conversation = _validated({"messages": plain, "tools": known or None})
    locations = [f"messages[{index}].content" for index in range(len(plain))]
    await check_content(conversation, settings, locations)
    return conversation


def _validated(fields: Mapping[str, Any]) -> Conversation:
    """Return the conversation that these fields describe.

    Raises:
        ApiError: They are not valid. The error names the location of the first problem.
    """
    try:
        return Conversation.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    location = _dotted(first["loc"])
    raise bad_request(f"{location}: {first['msg']}.", location)


async def check_content(conversation: Conversation, settings: ServerSettings, locations: Sequence[str]) -> None:
    """Check the images and documents of a conversation.

    Args:
        locations: Where the request has the content of each message, such as `messages[0].content`.

    Raises:
        ApiError: There are too many, or one of them is a file, a URL that is not allowed, or a local address.
    """
    field = locations[-1].partition("[")[0]
    count = sum(image_count(message.model_extra) for message in conversation.messages if message.model_extra)
    files = [(location, item) for location, item in _items(conversation, locations) if not item.is_text()]
    if count + len(files) > settings.max_images:
        raise bad_request(f"{field}: has more than {settings.max_images} images and documents.", field)
    for location, item in files:
        if item.type in FILE_PATHS:
            raise bad_request(f"{location}: the server reads no files; send the content as a data URL.", location)
        if item.binary is None and not is_data_url(item.content or ""):
            await check_url(location, item.content or "", settings)


def _items(conversation: Conversation, locations: Sequence[str]) -> Iterator[tuple[str, ContentItem]]:
    for message, location in zip(conversation.messages, locations, strict=True):
        if isinstance(message.content, list):
            for index, item in enumerate(message.content):
                yield f"{location}[{index}]", item


def _dotted(location: tuple[int | str, ...]) -> str:
    """Return a location as OpenAI writes it: `messages[0].content`. Names of alternatives are left out."""
    parts = [part for part in location if part not in ("text", "items", "missing")]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
