"""Encodes a conversation for Anthropic's Messages API: a system prompt, and turns of content blocks.

Sources: Anthropic's API reference ("Create a Message"), "Vision", "PDF support", "Define tools", "Extended
thinking: preserving thinking blocks", and anthropic-python 2.14, November 2026.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.anthropic.json_schema import forbid_extra
from asyncinfer.dialects.media import IMAGES, PDF, bytes_or_url, inline_data
from asyncinfer.dialects.tools import NO_PARAMETERS, arguments_of
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import ContentItem, Message, Role
from asyncinfer.types.tools import ToolCall, ToolDefinition

Json = dict[str, Any]
THINKING = "thinking_blocks"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
# Additional keys that the API accepts in each kind of part. It refuses others, such as OpenAI's `detail`.
_TEXT_KEYS = ("cache_control", "citations")
_IMAGE_KEYS = ("cache_control", "transformations")
_DOCUMENT_KEYS = ("cache_control", "citations", "context", "title")
_RESULT_KEYS = ("is_error",)
_TOOL_KEYS = ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")
_ROLES = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def system_prompt(messages: list[Message]) -> str | list[Json] | None:
    """Return the system messages: one text, or blocks if one of them has cache settings, or None."""
    blocks = [block for message in messages if message.role is Role.SYSTEM for block in _blocks(message)]
    if any(block["type"] != "text" for block in blocks):
        raise invalid_request("this API accepts only text in the system prompt")
    if any(len(block) > 2 for block in blocks):
        return blocks
    return "\n\n".join(block["text"] for block in blocks) or None


class _EncodedMessage(NamedTuple):
    """A message, the API's name of its role, and its content blocks."""

    role: str
    message: Message
    blocks: list[Json]


def turns(messages: list[Message]) -> list[Json]:
    """Return the turns of user and assistant. Adjacent messages of the same role become one turn.

    Raises:
        RequestError: The API does not support a message.
    """
    others = [message for message in messages if message.role is not Role.SYSTEM]
    encoded = [_EncodedMessage(_ROLES[message.role], message, _blocks(message)) for message in others]
    # An assistant message may be empty after a tool result. It is left out, because the API refuses empty turns.
    encoded = [one for one in encoded if one.blocks or one.role == "user"]
    return [{"role": role, "content": _turn(list(group))} for role, group in groupby(encoded, lambda one: one.role)]


def tool(definition: ToolDefinition) -> Json:
    """Return a tool, with the additional keys that the API accepts."""
    function = definition.function
    fields: Json = {"name": function.name, "input_schema": function.parameters or NO_PARAMETERS}
    if function.description is not None:
        fields["description"] = function.description
    if function.strict is not None:
        fields["strict"] = function.strict
    if function.strict:
        fields["input_schema"] = forbid_extra(fields["input_schema"])
    return {**fields, **_known(function.model_extra, _TOOL_KEYS), **_known(definition.model_extra, _TOOL_KEYS)}


def _turn(messages: list[_EncodedMessage]) -> str | list[Json]:
    """Return the content of a turn. A single plain text stays a plain text."""
    content = messages[0].message.content
    if (
        len(messages) == 1
        and isinstance(content, str)
        and messages[0].blocks in ([], [{"type": "text", "text": content}])
    ):
        return content
    blocks = [block for message in messages for block in message.blocks]
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")  # The API requires the results first.


def _blocks(message: Message) -> list[Json]:
    extra = message.model_extra or {}
    if message.role is Role.TOOL:
        blocks = [_result(message)]
    else:
        blocks = [*_thoughts(extra.get(THINKING)), *_contents(message), *map(_use, message.tool_calls or ())]
    if "cache_control" in extra and blocks and blocks[-1].get("type") not in _THOUGHTS:
        blocks[-1] = {**blocks[-1], "cache_control": extra["cache_control"]}
    return blocks


def _thoughts(blocks: Any) -> list[Json]:
    """Return the thinking blocks of an earlier answer, unchanged, with their signatures."""
    if blocks is None:
        return []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in cast(list[Any], blocks)):
        raise invalid_request(f"{THINKING} must be a list of blocks, as in an earlier answer")
    return cast(list[Json], blocks)


def _contents(message: Message) -> list[Json]:
    """Return texts, images and documents. Empty texts are left out, because the API refuses them."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [_item(item) for item in message.content or () if item.content != "" or not item.is_text()]


def _item(item: ContentItem) -> Json:
    if item.is_text():
        return {"type": "text", "text": item.content, **_known(item.model_extra, _TEXT_KEYS)}
    if item.is_image():
        return {"type": "image", "source": _source(item), **_known(item.model_extra, _IMAGE_KEYS)}
    return {"type": "document", "source": _source(item), **_known(item.model_extra, _DOCUMENT_KEYS)}


def _source(item: ContentItem) -> Json:
    """Return the source of an image or a document: its URL, or its data."""
    file = bytes_or_url(item)
    if (inline := inline_data(file)) is None:
        return {"type": "url", "url": file}
    kind, data = inline
    if kind not in (IMAGES if item.is_image() else {PDF}):
        raise invalid_request(f"an item of type {item.type} holds {kind!r}, which this API does not accept")
    return {"type": "base64", "media_type": kind, "data": data}


def _use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments_of(call)}


def _result(message: Message) -> Json:
    if message.tool_call_id is None:
        raise invalid_request("a tool message needs `tool_call_id`, the id of the call that it answers")
    content = message.content if isinstance(message.content, str | None) else _contents(message)
    block = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content or ""}
    return {**block, **_known(message.model_extra, _RESULT_KEYS)}


def _known(extra: Json | None, names: tuple[str, ...]) -> Json:
    return {name: extra[name] for name in names if name in extra} if extra else {}
