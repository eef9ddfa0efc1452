"""A conversation as Anthropic's Messages API takes it: a system prompt, and turns of content blocks.

Written after Anthropic's API reference ("Create a Message"), "Vision", "PDF support", "Define tools", "Extended
thinking: preserving thinking blocks", and anthropic-python 2.13, November 2026.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.anthropic.json_schema import forbid_extra
from asyncinfer.dialects.media import IMAGES, PDF, file_of, held
from asyncinfer.dialects.tools import NO_PARAMETERS, arguments_of
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import ContentItem, Message, Role
from asyncinfer.types.tools import ToolCall, ToolDefinition

Json = dict[str, Any]
THINKING = "thinking_blocks"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
# The keys beyond ours that each part may have; others, such as OpenAI's `detail`, would be refused.
_OF_TEXT = ("cache_control", "citations")
_OF_IMAGE = ("cache_control", "transformations")
_OF_DOCUMENT = ("cache_control", "citations", "context", "title")
_OF_RESULT = ("is_error",)
_OF_TOOL = ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")
_SIDES = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def system_prompt(messages: list[Message]) -> str | list[Json] | None:
    """The system messages as one text; as blocks, where one of them says how it is cached."""
    blocks = [block for message in messages if message.role is Role.SYSTEM for block in _blocks(message)]
    if any(block["type"] != "text" for block in blocks):
        raise invalid_request("this API takes a system prompt of text only")
    if any(len(block) > 2 for block in blocks):
        return blocks
    return "\n\n".join(block["text"] for block in blocks) or None


class _Said(NamedTuple):
    """One message, and the blocks that it makes."""

    side: str
    message: Message
    blocks: list[Json]


def turns(messages: list[Message]) -> list[Json]:
    """What user and assistant said in turn: messages of one side that follow each other are one turn.

    Raises:
        RequestError: the API cannot be told.
    """
    others = [message for message in messages if message.role is not Role.SYSTEM]
    said = [_Said(_SIDES[message.role], message, _blocks(message)) for message in others]
    # An assistant that said nothing, as it may after a tool's result, takes no turn: the API refuses empty ones.
    said = [one for one in said if one.blocks or one.side == "user"]
    return [{"role": side, "content": _turn(list(group))} for side, group in groupby(said, lambda one: one.side)]


def tool(definition: ToolDefinition) -> Json:
    """A tool, with the keys that the API knows beyond ours."""
    function = definition.function
    told: Json = {"name": function.name, "input_schema": function.parameters or NO_PARAMETERS}
    if function.description is not None:
        told["description"] = function.description
    if function.strict is not None:
        told["strict"] = function.strict
    if function.strict:
        told["input_schema"] = forbid_extra(told["input_schema"])
    return {**told, **_known(function.model_extra, _OF_TOOL), **_known(definition.model_extra, _OF_TOOL)}


def _turn(said: list[_Said]) -> str | list[Json]:
    """The content of a turn; a single plain text stays one."""
    content = said[0].message.content
    if len(said) == 1 and isinstance(content, str) and said[0].blocks in ([], [{"type": "text", "text": content}]):
        return content
    blocks = [block for one in said for block in one.blocks]
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")  # the API wants the results first


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
    """The model's thinking, as it came with its signatures."""
    if blocks is None:
        return []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in cast(list[Any], blocks)):
        raise invalid_request(f"{THINKING} should be a list of blocks, as an earlier answer had them")
    return cast(list[Json], blocks)


def _contents(message: Message) -> list[Json]:
    """Text, images and documents. Empty texts say nothing, and the API refuses them."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [_item(item) for item in message.content or () if item.content != "" or not item.is_text()]


def _item(item: ContentItem) -> Json:
    if item.is_text():
        return {"type": "text", "text": item.content, **_known(item.model_extra, _OF_TEXT)}
    if item.is_image():
        return {"type": "image", "source": _source(item), **_known(item.model_extra, _OF_IMAGE)}
    return {"type": "document", "source": _source(item), **_known(item.model_extra, _OF_DOCUMENT)}


def _source(item: ContentItem) -> Json:
    """Where an image or a document is, or what it is."""
    file = file_of(item)
    if (inline := held(file)) is None:
        return {"type": "url", "url": file}
    kind, data = inline
    if kind not in (IMAGES if item.is_image() else {PDF}):
        raise invalid_request(f"an item of type {item.type} holds {kind!r}, which this API does not take")
    return {"type": "base64", "media_type": kind, "data": data}


def _use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments_of(call)}


def _result(message: Message) -> Json:
    if message.tool_call_id is None:
        raise invalid_request("a tool's message needs `tool_call_id`: which call it answers")
    content = message.content if isinstance(message.content, str | None) else _contents(message)
    told = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content or ""}
    return {**told, **_known(message.model_extra, _OF_RESULT)}


def _known(extra: Json | None, names: tuple[str, ...]) -> Json:
    return {name: extra[name] for name in names if name in extra} if extra else {}
