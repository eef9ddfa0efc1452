"""Encodes a conversation for Anthropic's Messages API: a system prompt, and turns of content blocks.

Sources: Anthropic's API reference ("Create a Message"), "Vision", "PDF support", "Define tools", "Extended
thinking: preserving thinking blocks", and anthropic-python 2.14, November 2026.
"""

from __future__ import annotations

import re
from typing import Any, cast

from asyncinfer.dialects.anthropic.json_schema import supported_schema
from asyncinfer.dialects.json_schema.growth import schema_of_tool
from asyncinfer.dialects.json_schema.tool_schema import object_schema
from asyncinfer.dialects.media import file_of
from asyncinfer.dialects.sent_back import known_blocks
from asyncinfer.dialects.tools import arguments_of, portable_id
from asyncinfer.dialects.turns import Turn, is_blank, merged_turns, without_trailing_space
from asyncinfer.dialects.unsent_keys import SentKeys
from asyncinfer.errors import invalid_request
from asyncinfer.types.content import ContentItem
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import FunctionDefinition, ToolCall, ToolDefinition

Json = dict[str, Any]
THINKING = "thinking_blocks"
# The blocks of the reasoning in an answer, and their fields.
THOUGHTS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
# Additional keys that the API accepts in each kind of part. It refuses others, such as OpenAI's `detail`.
_TEXT_KEYS = ("cache_control", "citations")
_IMAGE_KEYS = ("cache_control", "transformations")
_DOCUMENT_KEYS = ("cache_control", "citations", "context", "title")
_RESULT_KEYS = ("is_error",)
_TOOL_KEYS = ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")
SENT_KEYS = SentKeys(
    message=frozenset({"cache_control", THINKING, *_RESULT_KEYS}),
    text=frozenset(_TEXT_KEYS),
    image=frozenset(_IMAGE_KEYS),
    document=frozenset(_DOCUMENT_KEYS),
    tool=frozenset(_TOOL_KEYS),
)
_MOST_MARKS = 4  # The cache settings that a request may have.
_IDS = re.compile("[a-zA-Z0-9_-]+")  # The ids of calls that the API accepts.
_ROLES = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def system_prompt(messages: list[Message]) -> str | list[Json] | None:
    """Return the system messages: one text, or blocks if one of them has cache settings, or None."""
    given = [block for message in messages if message.role is Role.SYSTEM for block in _blocks(message)]
    blocks = [block for block in given if not is_blank(block)]
    if any(block["type"] != "text" for block in blocks):
        raise invalid_request("this API accepts only text in the system prompt")
    if any(len(block) > 2 for block in blocks):
        return blocks
    return "\n\n".join(block["text"] for block in blocks) or None


def turns(messages: list[Message]) -> list[Json]:
    """Return the turns of user and assistant. Adjacent messages of the same role become one turn.

    Raises:
        RequestError: The API does not support a message.
    """
    others = (message for message in messages if message.role is not Role.SYSTEM)
    encoded = merged_turns(Turn(_ROLES[message.role], _blocks(message)) for message in others)
    return [{"role": turn.role, "content": _content(turn)} for turn in without_trailing_space(encoded)]


def allows_automatic_caching(body: Json) -> bool:
    """Whether the request itself may have `cache_control`, which marks the last block.

    A request may have at most four marks, and the last block at most one.
    """
    groups = [body.get("system"), body.get("tools"), *(turn["content"] for turn in body["messages"])]
    blocks = [block for group in groups if isinstance(group, list) for block in cast(list[Json], group)]
    marks = sum("cache_control" in block for block in blocks)
    if not marks:
        return True
    last = body["messages"][-1]["content"] if body["messages"] else None
    return marks < _MOST_MARKS and not (isinstance(last, list) and "cache_control" in last[-1])


def tool(definition: ToolDefinition) -> Json:
    """Return a tool, with the additional keys that the API accepts."""
    function = definition.function
    fields: Json = {"name": function.name, "input_schema": input_schema(function)}
    if function.description is not None:
        fields["description"] = function.description
    if function.strict is not None:
        fields["strict"] = function.strict
    return {**fields, **_known(function.model_extra, _TOOL_KEYS), **_known(definition.model_extra, _TOOL_KEYS)}


def input_schema(function: FunctionDefinition) -> Json:
    """Return the schema of a tool's arguments as Claude accepts it.

    Raises:
        RequestError: The schema is too large in this form.
    """
    with schema_of_tool(function.name):
        schema = object_schema(function.parameters or {})
        return supported_schema(schema) if function.strict else schema


def _content(turn: Turn) -> str | list[Json]:
    """Return the content of a turn. A single plain text is a string."""
    if len(turn.blocks) == 1 and turn.blocks[0].keys() == {"type", "text"}:
        return turn.blocks[0]["text"]
    # The API requires the results first.
    return sorted(turn.blocks, key=lambda block: block.get("type") != "tool_result")


def _blocks(message: Message) -> list[Json]:
    extra = message.model_extra or {}
    if message.role is Role.TOOL:
        blocks = [_result(message)]
    else:
        thoughts = _thoughts(extra.get(THINKING)) if message.role is Role.ASSISTANT else []
        blocks = [*thoughts, *_contents(message), *map(_use, message.tool_calls or ())]
    return _marked(blocks, extra["cache_control"]) if "cache_control" in extra else blocks


def _marked(blocks: list[Json], cache_control: Any) -> list[Json]:
    """Return the blocks of a message with its cache settings. They belong to its last block, but not to a thought."""
    filled = [block for block in blocks if not is_blank(block)]
    if filled and filled[-1].get("type") not in THOUGHTS:
        filled[-1] = {**filled[-1], "cache_control": cache_control}
    return filled


def _thoughts(blocks: Any) -> list[Json]:
    """Return the thinking blocks of an earlier answer, with their signatures. Blocks of other types are left out."""
    if blocks is None:
        return []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in cast(list[Any], blocks)):
        raise invalid_request(f"{THINKING} must be a list of blocks, as in an earlier answer")
    return known_blocks(blocks, THOUGHTS)


def _contents(message: Message) -> list[Json]:
    """Return texts, images and documents."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [_item(item) for item in message.content or ()]


def _item(item: ContentItem) -> Json:
    if item.is_text():
        return {"type": "text", "text": item.content, **_known(item.model_extra, _TEXT_KEYS)}
    if item.is_image():
        return {"type": "image", "source": _source(item), **_known(item.model_extra, _IMAGE_KEYS)}
    return {"type": "document", "source": _source(item), **_known(item.model_extra, _DOCUMENT_KEYS)}


def _source(item: ContentItem) -> Json:
    """Return the source of an image or a document: its URL, or its data."""
    file = file_of(item)
    if isinstance(file, str):
        return {"type": "url", "url": file}
    return {"type": "base64", "media_type": file.media_type, "data": file.base64}


def _use(call: ToolCall) -> Json:
    return {
        "type": "tool_use",
        "id": portable_id(call.id, _IDS),
        "name": call.function.name,
        "input": arguments_of(call),
    }


def _result(message: Message) -> Json:
    if message.tool_call_id is None:
        raise invalid_request("a tool message needs `tool_call_id`, the id of the call that it answers")
    content = [block for block in _contents(message) if not is_blank(block)]
    is_text = isinstance(message.content, str) and content
    block = {
        "type": "tool_result",
        "tool_use_id": portable_id(message.tool_call_id, _IDS),
        "content": message.content if is_text else content or "",
    }
    return {**block, **_known(message.model_extra, _RESULT_KEYS)}


def _known(extra: Json | None, names: tuple[str, ...]) -> Json:
    return {name: extra[name] for name in names if name in extra} if extra else {}
