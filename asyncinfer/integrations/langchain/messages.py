"""Turns LangChain's messages into the messages of a conversation.

Source: `langchain_core.messages` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from asyncinfer.errors import InputError
from asyncinfer.integrations.langchain.content import Block, blocks_of, content_of
from asyncinfer.integrations.langchain.passthrough import passthrough_of
from asyncinfer.types.content import ContentItem
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import FunctionCall, ToolCall

_ROLES = {role.value: role for role in Role if role is not Role.TOOL} | {"human": Role.USER, "ai": Role.ASSISTANT}
# Blocks of an answer that are its content. Others are sent back in other fields, or not at all.
_CONTENT = frozenset({"text", "text-plain", "image", "image_url", "file"})


def messages_of(messages: Iterable[BaseMessage]) -> list[Message]:
    """Return the messages of a conversation.

    In earlier answers, content that no model accepts back, such as the results of a provider's own tools, is left out.

    Raises:
        InputError: A message cannot be sent to a model.
    """
    return [converted for message in messages for converted in _of(message)]


def _of(message: BaseMessage) -> Iterator[Message]:
    match message:
        case AIMessage():
            yield _answer(message)
        case ToolMessage():
            failed = {"is_error": True} if message.status == "error" else {}
            yield _result(message.tool_call_id, content_of(blocks_of(message)), failed)
        case HumanMessage():
            yield from _of_user(message)
        case SystemMessage():
            yield _plain(message, Role.SYSTEM)
        case ChatMessage() if message.role in _ROLES:
            yield _plain(message, _ROLES[message.role])
        case _:
            raise InputError(
                f"a {type(message).__name__} cannot be sent to a model. Use system, human, AI and tool messages"
            )


def _plain(message: BaseMessage, role: Role) -> Message:
    return Message(role=role, name=message.name, content=_content(message))


def _content(message: BaseMessage) -> str | list[ContentItem]:
    return message.content if isinstance(message.content, str) else content_of(blocks_of(message))


def _of_user(message: HumanMessage) -> Iterator[Message]:
    """Yield the tool results in the message, which Anthropic's format has there, and then the rest."""
    if isinstance(message.content, str):
        yield _plain(message, Role.USER)
        return
    blocks = blocks_of(message)
    results = [block for block in blocks if block.get("type") == "tool_result"]
    for block in results:
        inner = ToolMessage(block.get("content") or "", tool_call_id=str(block.get("tool_use_id")))
        yield _result(inner.tool_call_id, _content(inner), {"is_error": True} if block.get("is_error") else {})
    others = [block for block in blocks if block.get("type") != "tool_result"]
    if others or not results:
        yield Message(role=Role.USER, name=message.name, content=content_of(others))


def _result(call_id: str, content: str | list[ContentItem], extra: Mapping[str, Any]) -> Message:
    return Message(role=Role.TOOL, tool_call_id=call_id, content=content, **extra)


def _answer(message: AIMessage) -> Message:
    """Return an earlier answer, with everything that its model needs to see again."""
    blocks = blocks_of(message)
    passthrough = passthrough_of(message, blocks)
    content = _answer_content(message, blocks)
    calls = [*_calls(message, passthrough.calls), *_calls_in_blocks(message, blocks)]
    return Message(
        role=Role.ASSISTANT,
        name=message.name,
        content=content if content or not calls else None,
        tool_calls=calls or None,
        reasoning_content=passthrough.reasoning or None,
        **passthrough.message,
    )


def _answer_content(message: AIMessage, blocks: Sequence[Block]) -> str | list[ContentItem]:
    if isinstance(message.content, str):
        return message.content
    content = content_of(block for block in blocks if block.get("type") in _CONTENT)
    return content if isinstance(content, list) else str(message.text)


def _calls(message: AIMessage, extras: Mapping[str, Any]) -> Iterator[ToolCall]:
    """Yield the tool calls, those with malformed arguments included."""
    for call in message.tool_calls:
        arguments = json.dumps(call["args"], ensure_ascii=False)
        yield _call(call["id"], call["name"], arguments, extras)
    for broken in message.invalid_tool_calls:
        yield _call(broken["id"], broken["name"] or "", broken["args"] or "", extras)


def _calls_in_blocks(message: AIMessage, blocks: Iterable[Block]) -> Iterator[ToolCall]:
    """Yield the tool calls that only the content has, in Anthropic's format."""
    known = {call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls)}
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("id") not in known:
            yield _call(block.get("id"), str(block.get("name")), json.dumps(block.get("input") or {}), {})


def _call(call_id: str | None, name: str, arguments: str, extras: Mapping[str, Any]) -> ToolCall:
    extra = cast(dict[str, Any], extras.get(call_id or "") or {})
    return ToolCall(id=call_id or f"call_{name}", function=FunctionCall(name=name, arguments=arguments), **extra)
