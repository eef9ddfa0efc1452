"""Encodes messages for Amazon Bedrock's Converse: turns of content blocks.

Sources: the Bedrock API reference (`ContentBlock`, `SystemContentBlock`) and botocore 1.44's service model
`bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NoReturn, cast

from pydantic import BaseModel

from asyncinfer.dialects.media import IMAGES, PDF, bytes_or_url, inline_data
from asyncinfer.dialects.tools import arguments_of
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role
from asyncinfer.types.tools import ToolCall

Block = dict[str, Any]

# The formats of files on S3, by the extension of their name.
_IMAGES = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}
_DOCUMENTS = frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"})


def system_blocks(conversation: Conversation) -> list[Block]:
    """Return the system messages, from any place in the conversation. Converse refuses empty texts."""
    blocks: list[Block] = []
    for message in conversation.filter_messages(role=Role.SYSTEM):
        for item in message.content_items:
            if not item.is_text():
                raise invalid_request(
                    f"a system message has an item of type {item.type}; Bedrock accepts only text there"
                )
            blocks += [{"text": item.content}] if item.content else []
            blocks += cache_point(item)
        blocks += cache_point(message)
    return blocks


def turns(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the turns of user and assistant. Adjacent messages of the same role become one turn. Tool results
    belong to the user's turns.

    Raises:
        RequestError: Bedrock does not support a message.
    """
    names, turns = _DocumentNames(), list[dict[str, Any]]()
    for message in conversation.messages:
        if message.role == Role.SYSTEM:
            continue
        role = "assistant" if message.role == Role.ASSISTANT else "user"
        content = list(_blocks(message, names))
        if not content and role == "assistant":
            continue  # An assistant message may be empty after a tool result. Converse refuses empty turns.
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    return [{**turn, "content": _without_empty_text(turn["content"])} for turn in turns]


def _without_empty_text(content: list[Block]) -> list[Block]:
    """Return the blocks without empty texts, which Converse refuses. If there is nothing else, they are kept."""
    others = [part for part in content if not _is_empty(part)]
    return others if any("cachePoint" not in part for part in others) else content


def _is_empty(part: Block) -> bool:
    return part.get("text") is not None and not part["text"].strip()


def uses_tools(turns: Iterable[Mapping[str, Any]]) -> bool:
    """Whether tools were called in these turns."""
    return any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"])


def cache_point(marked: BaseModel) -> list[Block]:
    """Return the block that requests caching of everything before it, if an item, message or tool has a cache mark.

    The mark is Bedrock's `cachePoint` or Anthropic's `cache_control`.
    """
    extra = marked.model_extra or {}
    if isinstance(point := extra.get("cachePoint"), dict):
        return [{"cachePoint": point}]
    if isinstance(control := extra.get("cache_control"), dict):
        ttl = {key: value for key, value in cast(dict[str, Any], control).items() if key == "ttl"}
        return [{"cachePoint": {"type": "default", **ttl}}]
    return []


class _DocumentNames:
    """Makes the names of the documents in a conversation.

    Converse requires a unique name for each document, and allows only a few characters.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, given: Any) -> str:
        plain = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", given.removesuffix(".pdf") if isinstance(given, str) else "")
        first = plain.strip()[:190] or "document"
        names = (f"{first} {number}" if number > 1 else first for number in count(1))
        self._taken.add(name := next(name for name in names if name not in self._taken))
        return name


def _blocks(message: Message, names: _DocumentNames) -> Iterator[Block]:
    """Yield the blocks of a message. Empty texts of an assistant are left out, so it may have no blocks."""
    items = [block for item in message.content_items for block in _item(item, names)]
    if message.role == Role.TOOL:
        yield _result(message, items)
    else:
        parts = [*_reasoning(message), *items, *[_call(call) for call in message.tool_calls or ()]]
        yield from (part for part in parts if message.role != Role.ASSISTANT or not _is_empty(part))
    yield from cache_point(message)


def _result(message: Message, content: list[Block]) -> Block:
    if not message.tool_call_id:
        raise invalid_request("a tool message needs tool_call_id, the id of the call that it answers")
    failed = {"status": "error"} if (message.model_extra or {}).get("is_error") else {}
    return {"toolResult": {"toolUseId": message.tool_call_id, "content": content or [{"text": ""}], **failed}}


def _reasoning(message: Message) -> list[Block]:
    """Return the reasoning blocks to send back to the model, as they were received (see `response.answer`)."""
    passthrough = (message.model_extra or {}).get("thinking_blocks")
    blocks = cast(list[Any], passthrough) if isinstance(passthrough, list) and message.role == Role.ASSISTANT else []
    return [block for block in blocks if isinstance(block, dict) and "reasoningContent" in block]


def _call(call: ToolCall) -> Block:
    return {"toolUse": {"toolUseId": call.id, "name": call.function.name, "input": arguments_of(call)}}


def _item(item: ContentItem, names: _DocumentNames) -> list[Block]:
    return [{"text": item.content} if item.is_text() else _file(item, names), *cache_point(item)]


def _file(item: ContentItem, names: _DocumentNames) -> Block:
    kind = "document" if item.is_document() else "image"
    file = bytes_or_url(item)
    if isinstance(file, str) and file.startswith("s3://"):
        shape = {"format": _format(file, kind), "source": {"s3Location": {"uri": file}}}
    else:
        found, data = inline_data(file) or _by_url(file, kind)
        if found not in ({PDF} if item.is_document() else IMAGES):
            raise invalid_request(f"an item of type {item.type} holds {found!r}, which Bedrock does not accept there")
        shape = {"format": found.partition("/")[2], "source": {"bytes": data}}
    if kind == "document":
        extra = item.model_extra or {}
        shape["name"] = names.name(extra.get("filename") or extra.get("name"))
    return {kind: shape}


def _format(uri: str, kind: str) -> str:
    ending = uri.rpartition(".")[2].lower()
    if kind == "document" and ending in _DOCUMENTS:
        return ending
    if kind == "image" and ending in _IMAGES:
        return _IMAGES[ending]
    raise invalid_request(
        f"{uri!r} should end with the extension of its {kind} format, such as .{'pdf' if kind == 'document' else 'png'}"
    )


def _by_url(url: bytes | str, kind: str) -> NoReturn:
    problem = f"Bedrock does not accept {kind}s by URL ({url[:100]!r})"
    raise invalid_request(f"{problem}; use a path, bytes, a data: URL or an s3:// URL")
