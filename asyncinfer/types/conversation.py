"""A conversation and its parts. Unknown keys are kept, so that what is read is written again.

Validation of plain text messages runs in pydantic's compiled core alone: a file of a million rows
passes through here twice.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic_core import to_json

from asyncinfer.types.tools import ToolCall, ToolDefinition


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Type(StrEnum):
    """What a content item holds."""

    TEXT = "text"
    IMAGE_PATH = "image_path"
    IMAGE_URL = "image_url"
    IMAGE_BINARY = "image_binary"


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True) or None
    except binascii.Error as error:
        raise ValueError(f"binary is not base64: {error}") from None


def _to_base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode("ascii") if value is not None else None


Binary = Annotated[
    bytes | None, BeforeValidator(_from_base64), PlainSerializer(_to_base64, return_type=str | None, when_used="json")
]


class ContentItem(BaseModel):
    """One part of a message: text, or an image by path, by URL or as bytes (base64 in JSON).

    The OpenAI spelling is accepted too: `{"type": "text", "text": ...}` and
    `{"type": "image_url", "image_url": {"url": ..., "detail": ...}}`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Type
    content: str | None = None
    binary: Binary = None

    @model_validator(mode="before")
    @classmethod
    def _from_openai(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "content" in data:
            return data
        item = dict(cast(dict[str, Any], data))
        if item.get("type") == "text" and "text" in item:
            item["content"] = item.pop("text")
        elif item.get("type") == "image_url" and "image_url" in item:
            image = item.pop("image_url")
            image = dict(cast(dict[str, Any], image)) if isinstance(image, dict) else {"url": image}
            item["content"] = image.pop("url", None)
            item.update(image)
        return item

    @model_validator(mode="after")
    def _holds_what_its_type_says(self) -> ContentItem:
        if self.type == Type.IMAGE_BINARY and not self.binary:
            raise ValueError("an image_binary item needs `binary`")
        if self.type in (Type.IMAGE_PATH, Type.IMAGE_URL) and not self.content:
            raise ValueError(f"an {self.type} item needs `content`")
        if self.type == Type.TEXT and (self.content is None or self.binary is not None):
            raise ValueError("a text item needs `content`, and no `binary`")
        return self

    def is_image(self) -> bool:
        return self.type != Type.TEXT

    def is_text(self) -> bool:
        return self.type == Type.TEXT


class ContentItemCounts(NamedTuple):
    """How many items a message has, by kind."""

    total_items: int
    text_items: int
    image_items: int


def _without_content(value: None, info: ValidationInfo) -> None:
    if not (info.data.get("tool_calls") or info.data.get("reasoning_content")):
        raise ValueError("a message needs `content` or `tool_calls`")


class Message(BaseModel):
    """One turn. `content` may be None where an assistant only calls tools or only reasons."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str | None = None
    role: Role
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    # The last field, so that the check of its None branch sees the others; a string runs no Python.
    content: str | list[ContentItem] | Annotated[None, AfterValidator(_without_content)] = Field(
        default=None, union_mode="left_to_right", validate_default=True
    )

    @property
    def content_items(self) -> list[ContentItem]:
        """The content as items; a string is one text item."""
        if isinstance(self.content, str):
            return [ContentItem(type=Type.TEXT, content=self.content)]
        return list(self.content or ())

    @property
    def text_content_items(self) -> list[ContentItem]:
        return [item for item in self.content_items if item.is_text()]

    @property
    def image_content_items(self) -> list[ContentItem]:
        return [item for item in self.content_items if item.is_image()]

    def count_content_items(self) -> ContentItemCounts:
        items = self.content_items
        images = sum(item.is_image() for item in items)
        return ContentItemCounts(len(items), len(items) - images, images)

    def contains_images(self) -> bool:
        return bool(self.image_content_items)

    def contains_text(self) -> bool:
        return bool(self.text_content_items)

    def compute_flattened_text_content(self, separator: str = " ") -> str:
        """All text, joined."""
        if isinstance(self.content, str):
            return self.content
        return separator.join(item.content or "" for item in self.text_content_items)


def _as_definitions(tools: Any) -> Any:
    if not isinstance(tools, list):
        return tools
    return [
        ToolDefinition.from_callable(tool) if callable(tool) and not isinstance(tool, ToolDefinition) else tool
        for tool in cast(list[Any], tools)
    ]


class Conversation(BaseModel):
    """Messages in order, with the tools the model may use. `tools` takes definitions, their dicts, or
    Python functions with type hints.
    """

    model_config = ConfigDict(extra="allow")

    conversation_id: str | None = None
    messages: list[Message]
    metadata: dict[str, Any] = Field(default_factory=dict)
    tools: Annotated[list[ToolDefinition], BeforeValidator(_as_definitions)] | None = None

    def __getitem__(self, index: int) -> Message:
        return self.messages[index]

    def first_message(self, role: Role | None = None) -> Message | None:
        """The first message, or the first of `role`."""
        return next(self._of(role), None)

    def last_message(self, role: Role | None = None) -> Message | None:
        """The last message, or the last of `role`."""
        return next((m for m in reversed(self.messages) if role is None or m.role == role), None)

    def filter_messages(
        self, *, role: Role | None = None, filter_fn: Callable[[Message], bool] | None = None
    ) -> list[Message]:
        """The messages of `role` for which `filter_fn` holds."""
        return [m for m in self._of(role) if filter_fn is None or filter_fn(m)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without what was not set."""
        data = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        for message, shown in zip(self.messages, data["messages"], strict=True):
            if message.content is None:
                # Chat templates and the OpenAI format want the key.
                shown["content"] = None
        return data

    def to_json(self) -> str:
        """As one line of JSON: what `to_dict` holds."""
        if any(message.content is None for message in self.messages):
            return to_json(self.to_dict()).decode()
        return self.__pydantic_serializer__.to_json(self, exclude_unset=True, exclude_none=True).decode()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Conversation:
        return cls.model_validate(data)

    @classmethod
    def from_json(cls, data: str | bytes) -> Conversation:
        return cls.model_validate_json(data)

    def _of(self, role: Role | None) -> Iterator[Message]:
        return (m for m in self.messages if role is None or m.role == role)
