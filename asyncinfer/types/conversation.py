"""A conversation and its parts. Unknown keys are kept, so that reading and writing a file loses nothing.

Every row of a run is read and written here. Therefore pydantic's compiled core reads and writes plain text messages.
Python code runs only for images, tools and unknown keys.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import to_json

from asyncinfer.types.field_types import NONE, Accepts
from asyncinfer.types.markdown import conversation_markdown, item_markdown, message_markdown
from asyncinfer.types.masking import mask_options
from asyncinfer.types.parsed import PARSED, ParsedAnswer, ParsedT
from asyncinfer.types.short_repr import Shown, short_fields
from asyncinfer.types.tools import ToolCall, ToolDefinition


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


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
    _Role = Accepts[Role, Role | Literal["system", "user", "assistant", "tool"]]
    _Type = Accepts[
        Type,
        Type
        | Literal[
            "text", "image_path", "image_url", "image_binary", "document_path", "document_url", "document_binary"
        ],
    ]
else:
    _Role, _Type = Role, Type

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


def _as_definitions(tools: Any) -> Any:
    if not isinstance(tools, list | tuple):
        return tools
    given = cast(Sequence[Any], tools)
    return [ToolDefinition.from_callable(tool) if callable(tool) else tool for tool in given]


_METADATA = {"metadata"}
_ANSWERED = frozenset({"messages", "metadata"})
if TYPE_CHECKING:
    _Messages = Accepts[list[Message], Sequence[Message | Mapping[str, Any]]]
    _Tools = Accepts[
        list[ToolDefinition] | None, Sequence[ToolDefinition | Mapping[str, Any] | Callable[..., Any]] | None
    ]
else:
    _Messages = list[Message]
    _Tools = Annotated[list[ToolDefinition], BeforeValidator(_as_definitions)] | None


class Conversation(ParsedAnswer[ParsedT], BaseModel):
    """Messages in order, and the tools that the model may use.

    `tools` accepts definitions, their dicts, or Python functions with type hints. `generation` (a mapping, such as
    `{"temperature": 1}`) and `model_name` are settings for this conversation, which override those of the call.
    """

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="constants")

    conversation_id: str | None = None
    messages: _Messages
    metadata: dict[str, Any] = Field(default_factory=dict)
    tools: _Tools = NONE
    # Any value is accepted, so that a wrong one fails its row only.
    generation: Any = None
    model_name: Any = None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())

    def _repr_markdown_(self) -> str:
        return conversation_markdown(self)

    @property
    def has_settings(self) -> bool:
        """Whether the conversation has settings of its own."""
        return self.generation is not None or self.model_name is not None

    @property
    def text(self) -> str:
        """The text of the last answer; empty text if there is no answer."""
        answer = self.last_message(Role.ASSISTANT)
        return answer.text if answer is not None else ""

    def __getitem__(self, index: int) -> Message:
        return self.messages[index]

    def first_message(self, role: Role | None = None) -> Message | None:
        """Return the first message, or the first one of `role`, or None."""
        return next(self._of(role), None)

    def last_message(self, role: Role | None = None) -> Message | None:
        """Return the last message, or the last one of `role`, or None."""
        return next((m for m in reversed(self.messages) if role is None or m.role == role), None)

    def filter_messages(
        self, *, role: Role | None = None, filter_fn: Callable[[Message], bool] | None = None
    ) -> list[Message]:
        """Return the messages of `role` for which `filter_fn` returns true."""
        return [m for m in self._of(role) if filter_fn is None or filter_fn(m)]

    def append_id_to_string(self, s: str) -> str:
        """Return `s` with the id of the conversation at its end, for messages; `s` itself if there is no id."""
        if not self.conversation_id:
            return s
        return f"{s.strip()} Conversation id: {self.conversation_id}.".lstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return data that JSON can represent, without None values. A message without content keeps `content: None`."""
        data = self.model_dump(mode="json", exclude_none=True, exclude=self._left_out())
        _restore_nulls(self, data)
        return data

    def to_json(self) -> str:
        """Return the data of `to_dict` as one line of JSON."""
        return self.to_json_bytes().decode()

    def to_json_bytes(self) -> bytes:
        """Return the text of `to_json` in UTF-8."""
        if not self._is_plain():
            return to_json(self.to_dict())
        return self.__pydantic_serializer__.to_json(self, exclude_none=True, exclude=self._left_out())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Conversation:
        """Return the conversation that `data` describes.

        Raises:
            ValueError: `data` does not describe a conversation. This is pydantic's `ValidationError`, which names the
                location.
        """
        return cls.model_validate(data)

    @classmethod
    def from_json(cls, data: str | bytes) -> Conversation:
        """Return the conversation that a JSON text describes.

        Raises:
            ValueError: As in `from_dict`, and if the text is not JSON.
        """
        return cls.model_validate_json(data)

    def _of(self, role: Role | None) -> Iterator[Message]:
        return (m for m in self.messages if role is None or m.role == role)

    def _is_plain(self) -> bool:
        """Whether all messages are texts with known keys, so that no nulls must be restored."""
        if self.tools or self.__pydantic_extra__:
            return False
        for message in self.messages:
            if not isinstance(message.content, str) or message.tool_calls or message.__pydantic_extra__:
                return False
        return True

    def _left_out(self) -> set[str] | None:
        """Return the fields to leave out. Empty metadata is written only if it was set."""
        return None if self.metadata or "metadata" in self.__pydantic_fields_set__ else _METADATA

    def with_answer(self, message: Message, metadata: dict[str, Any], parsed: Any = None) -> Conversation:
        """Return a new conversation, with `message` at its end and with this metadata.

        Takes half the time of `model_copy(update=...)`.

        Args:
            parsed: The parsed answer. That of an earlier answer is not kept.
        """
        new = type(self).__new__(type(self))
        fields = {**self.__dict__, "messages": [*self.messages, message], "metadata": metadata}
        if parsed is not None or PARSED in fields:
            fields[PARSED] = parsed
        object.__setattr__(new, "__dict__", fields)
        object.__setattr__(new, "__pydantic_fields_set__", self.__pydantic_fields_set__ | _ANSWERED)
        object.__setattr__(new, "__pydantic_extra__", self.__pydantic_extra__)
        object.__setattr__(new, "__pydantic_private__", None)
        return new

    def with_parsed(self, parsed: Any) -> Conversation:
        """Return a copy with this parsed answer; None: without one."""
        new = self.model_copy()
        object.__setattr__(new, "__dict__", {**new.__dict__, PARSED: parsed})
        return new


def _restore_nulls(value: Any, shown: Any) -> None:
    """Put the nulls that must be kept into `shown`, which is the dump of `value`.

    These are the nulls of unknown keys, and of missing content: OpenAI's format and chat templates require the key.
    """
    if isinstance(value, BaseModel):
        if value.model_extra:
            shown.update({key: None for key, extra in value.model_extra.items() if extra is None})
        if isinstance(value, Message) and value.content is None:
            shown["content"] = None
        for name, part in value.__dict__.items():
            if name in shown and not isinstance(part, str | dict):
                _restore_nulls(part, shown[name])
    elif isinstance(value, list):
        for one, one_shown in zip(cast(list[Any], value), shown, strict=True):
            _restore_nulls(one, one_shown)


# What methods accept as a conversation: a text is one user message. Messages may be their dicts, and so may a
# conversation.
ConversationLike = Conversation | str | Sequence[Message | Mapping[str, Any]] | Mapping[str, Any]
