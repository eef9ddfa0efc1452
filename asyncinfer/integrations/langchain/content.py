"""Turns the content blocks of LangChain's messages into content items: texts, images and PDF documents.

Source: `langchain_core.messages.content` (blocks of version 1) and `block_translators`, which turn blocks of version 0
and blocks of OpenAI, Anthropic, Google and Bedrock into version 1; langchain-core 1.8, November 2026.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from langchain_core.messages import BaseMessage

from asyncinfer.errors import InputError
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.media_types import PDF, sniffed_type

Block = Mapping[str, Any]
# How many characters of base64 are decoded to find the media type. They are whole groups of four.
_SNIFFED = 2048
# Keys of a block that say where its data is, or that only LangChain uses.
_OWN_KEYS = frozenset(
    {"type", "text", "id", "index", "annotations", "extras", "base64", "url", "mime_type", "file_id", "metadata"}
)


def blocks_of(message: BaseMessage) -> list[Block]:
    """Return the content of a message as blocks. A block that LangChain does not know is returned as it was given."""
    blocks = cast(list[Block], message.content_blocks)
    return [block["value"] if block["type"] == "non_standard" else block for block in blocks]


def content_of(blocks: Iterable[Block]) -> str | list[ContentItem]:
    """Return the content of a message. Plain texts become one text, with line breaks between them.

    Raises:
        InputError: A block cannot be sent to a model.
    """
    items = [item_of(block) for block in blocks]
    if all(item.is_text() and not item.model_extra for item in items):
        return "\n".join(item.content or "" for item in items)
    return items


def item_of(block: Block) -> ContentItem:
    """Return the content item for one block.

    Raises:
        InputError: The block cannot be sent to a model.
    """
    match block.get("type"):
        case "text" | "text-plain":
            return ContentItem.model_validate({"type": Type.TEXT, "content": _text(block), **_extra(block)})
        case "image":
            return _file(block, Type.IMAGE_URL)
        case "image_url":
            return ContentItem.model_validate(block)
        case "file":
            return _document(block)
        case "json" if "json" in block:
            return ContentItem(type=Type.TEXT, content=json.dumps(block["json"], ensure_ascii=False))
        case other:
            raise InputError(
                f"a message has a content block of type {other!r}, which cannot be sent. Use texts, images, PDF "
                "documents and text files"
            )


def _document(block: Block) -> ContentItem:
    media_type = _media_type(block) or PDF
    if media_type.startswith("image/"):
        return _file(block, Type.IMAGE_URL)
    if media_type.startswith("text/"):
        return ContentItem.model_validate({"type": Type.TEXT, "content": _text(block), **_extra(block)})
    if media_type != PDF:
        raise InputError(f"a file of type {media_type} cannot be sent. Use images, PDF documents and text files")
    return _file(block, Type.DOCUMENT_URL)


def _text(block: Block) -> str:
    """Return the text of a block, or the text in its data."""
    if isinstance(text := block.get("text"), str):
        return text
    if not isinstance(data := block.get("base64"), str):
        raise InputError("a text file in a message has only its URL or its id. Send its text, or its data in `base64`")
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        raise InputError(f"a text file in a message is not UTF-8 in base64: {error}") from None


def _file(block: Block, kind: Type) -> ContentItem:
    """Return an image or a document, by its URL or with its data in a data URL."""
    url = block.get("url")
    if isinstance(data := block.get("base64"), str):
        default = "image/png" if kind is Type.IMAGE_URL else PDF
        url = f"data:{_media_type(block) or default};base64,{data}"
    if not isinstance(url, str):
        raise InputError(
            f"a content block of type {block['type']!r} has neither `base64` nor `url`. Files that were uploaded to an "
            "API cannot be sent by their id"
        )
    return ContentItem.model_validate({"type": kind, "content": url, **_extra(block)})


def _media_type(block: Block) -> str | None:
    """Return the media type of a block. If the block does not name it, it is found in the data; None if that fails."""
    if isinstance(given := block.get("mime_type"), str) and given:
        return given
    head = str(block.get("base64") or "")[:_SNIFFED]
    try:
        return sniffed_type(base64.b64decode(head))
    except ValueError:
        return None


def _extra(block: Block) -> dict[str, Any]:
    """Return the additional keys of a block, such as `cache_control` and `detail`."""
    extras = cast(dict[str, Any], block.get("extras") or {})
    return {name: value for name, value in {**block, **extras}.items() if name not in _OWN_KEYS}


def blocks_to_show(items: Iterable[ContentItem]) -> Iterator[dict[str, Any]]:
    """Yield the content items of an answer as blocks of version 1.

    Args:
        items: Texts, images and documents, by URL or with their data.
    """
    for item in items:
        if item.is_text():
            yield {"type": "text", "text": item.content or ""}
        elif item.binary is not None:
            kind = "image" if item.is_image() else "file"
            data = {"base64": base64.b64encode(item.binary).decode()}
            media_type = sniffed_type(item.binary)
            yield {"type": kind, **data, **({} if media_type is None else {"mime_type": media_type})}
        else:
            yield {"type": "image" if item.is_image() else "file", "url": item.content or ""}
