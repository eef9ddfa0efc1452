"""Messages as Amazon Bedrock's Converse wants them: turns of content blocks.

Written after the Bedrock API reference (`ContentBlock`, `SystemContentBlock`) and botocore 1.44's service model
`bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NoReturn, cast

from pydantic import BaseModel

from asyncinfer.dialects.media import IMAGES, PDF, file_of, held
from asyncinfer.dialects.tools import arguments_of
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role
from asyncinfer.types.tools import ToolCall

Block = dict[str, Any]

# The formats of what lies on S3, by how its name ends.
_IMAGES = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}
_DOCUMENTS = frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"})


def system_blocks(conversation: Conversation) -> list[Block]:
    """What the system messages say, wherever they stand; Converse refuses empty ones."""
    found: list[Block] = []
    for message in conversation.filter_messages(role=Role.SYSTEM):
        for item in message.content_items:
            if not item.is_text():
                raise invalid_request(
                    f"a system message holds an item of type {item.type}; Bedrock takes only text there"
                )
            found += [{"text": item.content}] if item.content else []
            found += cache_point(item)
        found += cache_point(message)
    return found


def turns(conversation: Conversation) -> list[dict[str, Any]]:
    """The other messages, of which neighbours by the same side are one turn. Tools speak for the user.

    Raises:
        RequestError: one of them cannot be sent.
    """
    names, made = _Names(), list[dict[str, Any]]()
    for message in conversation.messages:
        if message.role == Role.SYSTEM:
            continue
        role = "assistant" if message.role == Role.ASSISTANT else "user"
        content = list(_blocks(message, names))
        if not content and role == "assistant":
            continue  # It said nothing, as it may after a tool's result; Converse refuses an empty turn.
        if made and made[-1]["role"] == role:
            made[-1]["content"] += content
        else:
            made.append({"role": role, "content": content})
    return [{**turn, "content": _said(turn["content"])} for turn in made]


def _said(content: list[Block]) -> list[Block]:
    """Empty text is left out where there is something else; Converse refuses it."""
    said = [part for part in content if not _is_empty(part)]
    return said if any("cachePoint" not in part for part in said) else content


def _is_empty(part: Block) -> bool:
    return part.get("text") is not None and not part["text"].strip()


def uses_tools(turns: Iterable[Mapping[str, Any]]) -> bool:
    """Whether tools were called in these turns."""
    return any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"])


def cache_point(marked: BaseModel) -> list[Block]:
    """The block that asks to cache what comes before it, where an item, a message or a tool is marked so: with
    `cachePoint`, as Bedrock names it, or with Anthropic's `cache_control`.
    """
    extra = marked.model_extra or {}
    if isinstance(point := extra.get("cachePoint"), dict):
        return [{"cachePoint": point}]
    if isinstance(control := extra.get("cache_control"), dict):
        ttl = {key: value for key, value in cast(dict[str, Any], control).items() if key == "ttl"}
        return [{"cachePoint": {"type": "default", **ttl}}]
    return []


class _Names:
    """Names for a conversation's documents: Converse wants one for each, of few kinds of characters, and none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, given: Any) -> str:
        plain = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", given.removesuffix(".pdf") if isinstance(given, str) else "")
        first = plain.strip()[:190] or "document"
        names = (f"{first} {number}" if number > 1 else first for number in count(1))
        self._taken.add(name := next(name for name in names if name not in self._taken))
        return name


def _blocks(message: Message, names: _Names) -> Iterator[Block]:
    """What a message says; of an assistant without empty text, so that it may have said nothing."""
    items = [block for item in message.content_items for block in _item(item, names)]
    if message.role == Role.TOOL:
        yield _result(message, items)
    else:
        parts = [*_reasoning(message), *items, *[_call(call) for call in message.tool_calls or ()]]
        yield from (part for part in parts if message.role != Role.ASSISTANT or not _is_empty(part))
    yield from cache_point(message)


def _result(message: Message, content: list[Block]) -> Block:
    if not message.tool_call_id:
        raise invalid_request("a tool's message has no tool_call_id, which says what it answers")
    failed = {"status": "error"} if (message.model_extra or {}).get("is_error") else {}
    return {"toolResult": {"toolUseId": message.tool_call_id, "content": content or [{"text": ""}], **failed}}


def _reasoning(message: Message) -> list[Block]:
    """What the model must be given back of its reasoning, as it was received (see `bedrock_answer.answer`)."""
    passthrough = (message.model_extra or {}).get("thinking_blocks")
    blocks = cast(list[Any], passthrough) if isinstance(passthrough, list) and message.role == Role.ASSISTANT else []
    return [block for block in blocks if isinstance(block, dict) and "reasoningContent" in block]


def _call(call: ToolCall) -> Block:
    return {"toolUse": {"toolUseId": call.id, "name": call.function.name, "input": arguments_of(call)}}


def _item(item: ContentItem, names: _Names) -> list[Block]:
    return [{"text": item.content} if item.is_text() else _file(item, names), *cache_point(item)]


def _file(item: ContentItem, names: _Names) -> Block:
    kind = "document" if item.is_document() else "image"
    file = file_of(item)
    if isinstance(file, str) and file.startswith("s3://"):
        shape = {"format": _format(file, kind), "source": {"s3Location": {"uri": file}}}
    else:
        found, data = held(file) or _by_url(file, kind)
        if found not in ({PDF} if item.is_document() else IMAGES):
            raise invalid_request(f"an item of type {item.type} holds {found!r}, which Bedrock does not take there")
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
        f"{uri!r} does not end with the format of the {kind}, such as .{'pdf' if kind == 'document' else 'png'}"
    )


def _by_url(url: bytes | str, kind: str) -> NoReturn:
    what = f"Bedrock takes no {kind} by its URL ({url[:100]!r})"
    raise invalid_request(f"{what}; give a path, bytes, a data: URL, or an s3:// one")
