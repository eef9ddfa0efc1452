"""The parts of a message: texts, images and documents."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

from asyncinfer.types.field_types import Accepts
from asyncinfer.types.markdown import item_markdown
from asyncinfer.types.masking import mask_options
from asyncinfer.types.short_repr import Shown, short_fields


class Type(StrEnum):
    """The kind of a content item."""

    TEXT = "text"
    IMAGE_PATH = "image_path"
    IMAGE_URL = "image_url"
    IMAGE_BINARY = "image_binary"
    DOCUMENT_PATH = "document_path"
    DOCUMENT_URL = "document_url"
    DOCUMENT_BINARY = "document_binary"


if TYPE_CHECKING:
    _Type = Accepts[
        Type,
        Type
        | Literal[
            "text", "image_path", "image_url", "image_binary", "document_path", "document_url", "document_binary"
        ],
    ]
else:
    _Type = Type

# The items whose file must be read before it can be sent.
FILE_PATHS = frozenset({Type.IMAGE_PATH, Type.DOCUMENT_PATH})
_BINARIES = frozenset({Type.IMAGE_BINARY, Type.DOCUMENT_BINARY})
_IMAGES = frozenset({Type.IMAGE_PATH, Type.IMAGE_URL, Type.IMAGE_BINARY})


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        # Some encoders insert line breaks. An empty string means that there is no image.
        return base64.b64decode("".join(value.split()), validate=True) or None
    except ValueError as error:
        raise ValueError(f"binary is not base64: {error}") from None


def _to_base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode("ascii") if value is not None else None


_Binary = Annotated[
    bytes | None,
    BeforeValidator(_from_base64),
    PlainSerializer(_to_base64, return_type=str | None, when_used="json"),
]


class ContentItem(BaseModel):
    """One part of a message: a text, an image or a PDF document.

    Images and documents are given by path, by URL or as bytes (base64 in JSON). OpenAI's format is accepted too:
    `{"type": "text", "text": ...}` and `{"type": "image_url", "image_url": {"url": ..., "detail": ...}}`. `detail` then
    becomes a key of the item.
    """

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    type: _Type
    content: str | None = None
    binary: _Binary = None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in short_fields(self, super().__repr_args__()):
            # The URL of a file may contain credentials.
            yield name, Shown(mask_options(str(value))) if name == "content" and not self.is_text() else value

    def _repr_markdown_(self) -> str:
        return item_markdown(self)

    @model_validator(mode="before")
    @classmethod
    def _from_openai(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        item = cast(dict[str, Any], data)
        if item.get("content") is not None:
            return item
        if item.get("type") == Type.TEXT and "text" in item:
            return {**_without(item, "text"), "content": item["text"]}
        if item.get("type") == "file" and isinstance(item.get("file"), dict):
            file = cast(dict[str, Any], item["file"])
            kept = {**_without(item, "file"), **_without(file, "file_data")}
            return {**kept, "type": Type.DOCUMENT_URL, "content": file.get("file_data")}
        if item.get("type") == Type.IMAGE_URL and "image_url" in item:
            given = item["image_url"]
            image = cast(dict[str, Any], given) if isinstance(given, dict) else {"url": given}
            return {**_without(image, "url"), **_without(item, "image_url"), "content": image.get("url")}
        return item

    @model_validator(mode="after")
    def _check_content_of_type(self) -> ContentItem:
        if self.type in _BINARIES:
            if not self.binary:
                raise ValueError(f"an item of type {self.type} needs `binary`")
        elif self.type != Type.TEXT:
            if not self.content:
                raise ValueError(f"an item of type {self.type} needs `content`")
        elif self.content is None or self.binary is not None:
            raise ValueError("a text item needs `content`, and no `binary`")
        return self

    def is_image(self) -> bool:
        return self.type in _IMAGES

    def is_document(self) -> bool:
        return not self.is_text() and not self.is_image()

    def is_text(self) -> bool:
        return self.type == Type.TEXT


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k != key}


class ContentItemCounts(NamedTuple):
    """The number of items in a message, by kind. Documents count only in the total."""

    total_items: int
    text_items: int
    image_items: int
