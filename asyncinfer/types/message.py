"""One message of a conversation, and who wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    ValidationInfo,
)

from asyncinfer.types.content import ContentItem, ContentItemCounts, Type
from asyncinfer.types.field_types import Accepts
from asyncinfer.types.markdown import message_markdown
from asyncinfer.types.short_repr import short_fields
from asyncinfer.types.tools import ToolCall


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


if TYPE_CHECKING:
    _Role = Accepts[Role, Role | Literal["system", "user", "assistant", "tool"]]
else:
    _Role = Role


def _may_be_missing(value: None, info: ValidationInfo) -> None:
    if not (info.data.get("tool_calls") or info.data.get("reasoning_content")):
        raise ValueError("a message needs `content` or `tool_calls`")


def _kind(content: Any) -> str | None:
    if isinstance(content, str):
        return "text"
    if isinstance(content, list | tuple):
        return "items"
    return "missing" if content is None else None


# `_kind` selects one alternative, so that an error is about this one and not about all three.
_Content = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[ContentItem], Tag("items")]
    | Annotated[None, AfterValidator(_may_be_missing), Tag("missing")],
    Discriminator(
        _kind,
        custom_error_type="content_type",
        custom_error_message="`content` must be a string, a list of items, or null",
    ),
]


class Message(BaseModel):
    """One message. `content` may be None if an assistant only calls tools or only reasons."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    id: str | None = None
    role: _Role
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    # The last field, so that `_may_be_missing` sees the others. `SerializeAsAny` avoids another call of `_kind`, which
    # would make writing a quarter slower.
    content: SerializeAsAny[_Content] = Field(default=None, validate_default=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())

    def _repr_markdown_(self) -> str:
        return message_markdown(self)

    @property
    def text(self) -> str:
        """The text of the message: `content`, or the texts in its items, joined with spaces."""
        return self.compute_flattened_text_content()

    @property
    def content_items(self) -> list[ContentItem]:
        """The content as a list of items. A string becomes one text item."""
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
        texts, images = len(self.text_content_items), len(self.image_content_items)
        return ContentItemCounts(len(items), texts, images)

    def contains_images(self) -> bool:
        return bool(self.image_content_items)

    def contains_text(self) -> bool:
        return bool(self.text_content_items)

    def contains_text_content_items_only(self) -> bool:
        """Whether there is at least one text, and nothing else."""
        counts = self.count_content_items()
        return 0 < counts.text_items == counts.total_items

    def contains_image_content_items_only(self) -> bool:
        """Whether there is at least one image, and nothing else."""
        counts = self.count_content_items()
        return 0 < counts.image_items == counts.total_items

    def contains_single_text_content_item_only(self) -> bool:
        """Whether there is exactly one text, and nothing else."""
        counts = self.count_content_items()
        return counts.text_items == 1 == counts.total_items

    def contains_single_image_content_item_only(self) -> bool:
        """Whether there is exactly one image, and nothing else."""
        counts = self.count_content_items()
        return counts.image_items == 1 == counts.total_items

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field or an unknown key by name, as `dict.get` does. Some chat templates read messages this way.

        A name that is neither, such as that of a method, gives `default`.
        """
        if key in type(self).model_fields:
            return getattr(self, key)
        return (self.model_extra or {}).get(key, default)

    def compute_flattened_text_content(self, separator: str = " ") -> str:
        """Return all texts, joined with `separator`."""
        if isinstance(self.content, str):
            return self.content
        return separator.join(item.content or "" for item in self.text_content_items)
