"""Encodes messages for Amazon Bedrock's Converse: turns of content blocks.

Sources: the Bedrock API reference (`ContentBlock`, `SystemContentBlock`) and botocore 1.44's service model
`bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, cast

from pydantic import BaseModel

from asyncinfer.dialects.fields import as_object, members_of, object_at
from asyncinfer.dialects.media import file_of
from asyncinfer.dialects.sent_back import plain_fields
from asyncinfer.dialects.tools import arguments_of, portable_id
from asyncinfer.dialects.turns import Block, Turn, is_blank, is_blank_text, merged_turns, without_trailing_space
from asyncinfer.dialects.unsent_keys import SentKeys
from asyncinfer.errors import invalid_request
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall

_IDS = re.compile("[a-zA-Z0-9_.:-]{1,64}")
_MARKS = frozenset({"cachePoint", "cache_control"})
SENT_KEYS = SentKeys(
    message=_MARKS | {"is_error", "thinking_blocks"}, text=_MARKS, image=_MARKS, document=_MARKS, tool=_MARKS
)
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
            blocks += [] if is_blank_text(item.content) else [{"text": item.content}]
            blocks += cache_point(item)
        blocks += cache_point(message)
    return _with_single_points(blocks)


def turns(conversation: Conversation) -> list[dict[str, Any]]:
    """Return the turns of user and assistant. Adjacent messages of the same role become one turn. Tool results
    belong to the user's turns.

    Raises:
        RequestError: Bedrock does not support a message.
    """
    names = _DocumentNames()
    others = (message for message in conversation.messages if message.role != Role.SYSTEM)
    encoded = merged_turns(Turn(_role(message), list(_blocks(message, names))) for message in others)
    return [
        {"role": turn.role, "content": _with_single_points(turn.blocks)} for turn in without_trailing_space(encoded)
    ]


def _with_single_points(blocks: list[Block]) -> list[Block]:
    """Return blocks in which no two cache points are adjacent. The last one of them is kept."""
    if sum("cachePoint" in block for block in blocks) < 2:
        return blocks
    following = [*blocks[1:], {}]
    return [
        one
        for one, after in zip(blocks, following, strict=True)
        if "cachePoint" not in one or "cachePoint" not in after
    ]


def _role(message: Message) -> str:
    return "assistant" if message.role == Role.ASSISTANT else "user"


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
    """Yield the blocks of a message."""
    items = [block for item in message.content_items for block in _item(item, names)]
    if message.role == Role.TOOL:
        yield _result(message, items)
    else:
        yield from (*_reasoning(message), *items, *map(_call, message.tool_calls or ()))
    yield from cache_point(message)


def _result(message: Message, content: list[Block]) -> Block:
    if not message.tool_call_id:
        raise invalid_request("a tool message needs tool_call_id, the id of the call that it answers")
    failed = {"status": "error"} if (message.model_extra or {}).get("is_error") else {}
    filled = [block for block in content if not is_blank(block)]
    return {
        "toolResult": {
            "toolUseId": portable_id(message.tool_call_id, _IDS),
            "content": filled or [{"text": ""}],
            **failed,
        }
    }


def _reasoning(message: Message) -> list[Block]:
    """Return the reasoning blocks to send back to the model, as they were received (see `response.answer`)."""
    if message.role != Role.ASSISTANT:
        return []
    kept = members_of((message.model_extra or {}).get("thinking_blocks"))
    found = (_reasoning_content(object_at(as_object(block), "reasoningContent")) for block in kept)
    return [{"reasoningContent": content} for content in found if content]


def _reasoning_content(content: Mapping[str, Any]) -> Block:
    """Return the signed or the redacted reasoning in a block; an empty dict if it has neither."""
    if text := plain_fields(object_at(content, "reasoningText"), ("text", "signature")):
        return {"reasoningText": text}
    return plain_fields(content, ("redactedContent",))


def _call(call: ToolCall) -> Block:
    return {
        "toolUse": {"toolUseId": portable_id(call.id, _IDS), "name": call.function.name, "input": arguments_of(call)}
    }


def _item(item: ContentItem, names: _DocumentNames) -> list[Block]:
    return [{"text": item.content} if item.is_text() else _file(item, names), *cache_point(item)]


def _file(item: ContentItem, names: _DocumentNames) -> Block:
    kind = "document" if item.is_document() else "image"
    file = file_of(item)
    if isinstance(file, str):
        shape = {"format": _format(_on_s3(file, kind), kind), "source": {"s3Location": {"uri": file}}}
    else:
        shape = {"format": file.media_type.partition("/")[2], "source": {"bytes": file.base64}}
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


def _on_s3(url: str, kind: str) -> str:
    """Return the URL if it is on S3.

    Raises:
        RequestError: It is another URL.
    """
    if url.startswith("s3://"):
        return url
    problem = f"Bedrock does not accept {kind}s by URL ({url[:100]!r})"
    raise invalid_request(f"{problem}; use a path, bytes, a data: URL or an s3:// URL")
