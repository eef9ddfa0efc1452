"""Turns the content of user prompts and of tool results into content items: texts, images and documents.

Source: `pydantic_ai.messages` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    BinaryContent,
    CachePoint,
    DocumentUrl,
    FileUrl,
    ImageUrl,
    TextContent,
    ToolReturnPart,
    UserContent,
)
from pydantic_ai.models import download_item

from asyncinfer.integrations.pydantic_ai.compat import is_text_like_media_type
from asyncinfer.providers.features import Feature
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.media_types import PDF


class FormatTextFile(Protocol):
    """Marks the text of a file, so that the model can tell it from the text of the user."""

    def __call__(self, text: str, *, media_type: str, identifier: str) -> str: ...


@dataclass(frozen=True, slots=True)
class ContentEncoder:
    """Encodes content for one engine.

    Args:
        features: The features that the engine supports.
        marks_cache: Whether the API accepts `cache_control` in content items.
        format_text_file: Makes the text that is sent for a text file.
    """

    features: frozenset[Feature]
    marks_cache: bool
    format_text_file: FormatTextFile

    async def encode(self, content: str | Sequence[UserContent]) -> str | list[ContentItem]:
        """Return the content of a message.

        Files behind URLs are downloaded if the engine needs their data. Cache points become the `cache_control` of the
        item before them.

        Raises:
            UserError: The content has a file that no engine can read, such as audio.
        """
        if isinstance(content, str):
            return content
        items: list[ContentItem] = []
        for part in content:
            if not isinstance(part, CachePoint):
                items.append(await self._item(part))
            elif items and self.marks_cache:
                items[-1] = _marked(items[-1], part)
        return items

    async def encode_result(self, part: ToolReturnPart) -> str | list[ContentItem]:
        """Return the content of a tool result. A result without files is a text.

        Raises:
            UserError: The result has a file that no engine can read, such as audio.
        """
        return await self.encode(part.content_items(mode="str")) if part.files else part.model_response_str()

    async def _item(self, part: UserContent) -> ContentItem:
        match part:
            case str():
                return ContentItem(type=Type.TEXT, content=part)
            case TextContent():
                return ContentItem(type=Type.TEXT, content=part.content)
            case ImageUrl():
                return await self._image(part)
            case DocumentUrl():
                return await self._document(part)
            case BinaryContent():
                return self._binary(part)
            case _:
                raise UserError(
                    f"asyncinfer: {type(part).__name__} cannot be sent. Use texts, images, PDF documents and text files"
                )

    async def _image(self, part: ImageUrl) -> ContentItem:
        if self._is_sent_as_url(part, Feature.IMAGE_URLS):
            return ContentItem.model_validate({"type": Type.IMAGE_URL, "content": part.url, **_detail(part)})
        downloaded = await download_item(part, "bytes")
        return ContentItem.model_validate({"type": Type.IMAGE_BINARY, "binary": downloaded["data"], **_detail(part)})

    async def _document(self, part: DocumentUrl) -> ContentItem:
        if is_text_like_media_type(part.media_type):
            text = (await download_item(part, "text"))["data"]
            return self._text_file(text, part)
        if self._is_sent_as_url(part, Feature.PDF_URLS):
            return ContentItem(type=Type.DOCUMENT_URL, content=part.url)
        downloaded = await download_item(part, "bytes")
        return ContentItem(type=Type.DOCUMENT_BINARY, binary=downloaded["data"])

    def _binary(self, part: BinaryContent) -> ContentItem:
        if is_text_like_media_type(part.media_type):
            return self._text_file(part.data.decode(), part)
        if part.is_image:
            return ContentItem.model_validate({"type": Type.IMAGE_BINARY, "binary": part.data, **_detail(part)})
        if part.media_type == PDF:
            return ContentItem(type=Type.DOCUMENT_BINARY, binary=part.data)
        raise UserError(
            f"asyncinfer: a file of type {part.media_type} cannot be sent. Use images, PDF documents and text files"
        )

    def _is_sent_as_url(self, part: FileUrl, feature: Feature) -> bool:
        return part.url.startswith("data:") or (feature in self.features and not part.force_download)

    def _text_file(self, text: str, part: FileUrl | BinaryContent) -> ContentItem:
        marked = self.format_text_file(text, media_type=part.media_type, identifier=part.identifier)
        return ContentItem(type=Type.TEXT, content=marked)


def _detail(part: FileUrl | BinaryContent) -> dict[str, Any]:
    """Return OpenAI's `detail` of an image, if it is set."""
    detail = (part.vendor_metadata or {}).get("detail")
    return {} if detail is None else {"detail": detail}


def _marked(item: ContentItem, point: CachePoint) -> ContentItem:
    return item.model_copy(update={"cache_control": {"type": "ephemeral", "ttl": point.ttl}})
