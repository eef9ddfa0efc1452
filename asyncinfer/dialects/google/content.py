"""Messages, files and tools in the format of Gemini's own API. `request.py` names the sources.

Signatures are stored under `extra_content`, where Google's OpenAI-compatible endpoint puts them, so that a conversation
can continue over either endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from asyncinfer.dialects.google.schemas import supported_schema
from asyncinfer.dialects.google.thoughts import of_google
from asyncinfer.dialects.json_schema.growth import schema_of_tool
from asyncinfer.dialects.media import GOOGLE_IMAGES, file_of
from asyncinfer.dialects.tools import arguments_of
from asyncinfer.dialects.turns import Turn, is_blank, merged_turns
from asyncinfer.errors import invalid_request
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.json_object import json_object
from asyncinfer.types.media_types import PDF
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall, ToolDefinition

_ROLES = {"assistant": "model"}
# The types of images that Gemini accepts, by file extension. For other URLs, Google determines the type.
_KINDS = {kind: f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif")} | {"jpg": "image/jpeg"}
_IN_FILES = "The result is in the attached files."
_DETAIL = {name: f"MEDIA_RESOLUTION_{name.upper()}" for name in ("low", "medium", "high")}


def system_parts(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the parts of the system messages."""
    parts = (part for message in conversation.filter_messages(role=Role.SYSTEM) for part in _parts(message))
    return [part for part in parts if not is_blank(part)]


def contents(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the turns. Adjacent messages of the same role become one turn. Adjacent tool results become one turn of
    their own, because it must have as many parts as the turn before it has calls. System messages are not turns.
    """
    turns = merged_turns(_turns(messages))
    return [{"role": _ROLES.get(turn.role, "user"), "parts": turn.blocks} for turn in turns]


def _turns(messages: Sequence[Message]) -> Iterator[Turn]:
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.function.name for call in message.tool_calls or ()}
        if message.role is Role.TOOL:
            yield Turn("tool", [_result(message, names)])
        elif message.role is not Role.SYSTEM:
            yield Turn(message.role.value, _parts(message))


def _parts(message: Message) -> list[dict[str, Any]]:
    """Return the parts of a message. The signature of a message belongs to its last text."""
    parts = [_part(item) for item in message.content_items]
    if signature := _signature(message):
        if not parts or "text" not in parts[-1]:
            parts.append({"text": ""})
        parts[-1] |= signature
    return [*parts, *(_call(call) for call in message.tool_calls or ())]


def _part(item: ContentItem) -> dict[str, Any]:
    if item.is_text():
        return {"text": item.content}
    level = _DETAIL.get(str((item.model_extra or {}).get("detail")))
    return {**_file(item), **({"mediaResolution": {"level": level}} if level is not None else {})}


def _file(item: ContentItem) -> dict[str, Any]:
    file = file_of(item, GOOGLE_IMAGES)
    if not isinstance(file, str):
        return {"inlineData": {"mimeType": file.media_type, "data": file.base64}}
    kind = PDF if item.is_document() else _KINDS.get(_path(file).rpartition(".")[2].lower())
    return {"fileData": {"fileUri": file, **({"mimeType": kind} if kind else {})}}


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # An invalid IPv6 address.
        raise invalid_request(f"{url[:100]!r} is not a valid URL") from None


def _call(call: ToolCall) -> dict[str, Any]:
    fields = {"id": call.id, "name": call.function.name, "args": arguments_of(call)}
    return {"functionCall": fields, **_signature(call)}


def _result(message: Message, names: dict[str, str]) -> dict[str, Any]:
    """Return the result of a tool: its JSON object, or its text under `output`, and its files."""
    name = names.get(message.tool_call_id or "") or message.name
    if name is None:
        raise invalid_request(f"a tool message answers {message.tool_call_id!r}, but no earlier message has this call")
    files = [_part(item) for item in message.content_items if not item.is_text()]
    text = message.compute_flattened_text_content("\n")
    identity = {"id": message.tool_call_id} if message.tool_call_id is not None else {}
    response = json_object(text)
    output = {"output": text or (_IN_FILES if files else "")} if response is None else response
    parts = {"parts": files} if files else {}
    return {"functionResponse": {**identity, "name": name, "response": output, **parts}}


def _signature(signed: Message | ToolCall) -> dict[str, Any]:
    """Return the field for the signature of the thought behind a message or a call."""
    signature = of_google(signed.model_extra or {}).get("thought_signature")
    return {"thoughtSignature": signature} if isinstance(signature, str) and signature else {}


def declaration(tool: ToolDefinition) -> dict[str, Any]:
    """Return the declaration of a tool."""
    function = tool.function
    declared: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        declared["description"] = function.description
    if function.parameters is not None:
        with schema_of_tool(function.name):
            declared["parametersJsonSchema"] = supported_schema(function.parameters)
    return declared
