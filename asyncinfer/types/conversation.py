"""A conversation. Unknown keys are kept, so that reading and writing a file loses nothing.

Every row of a run is read and written here. Therefore pydantic's compiled core reads and writes plain text messages.
Python code runs only for images, tools and unknown keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from asyncinfer.types.field_types import NONE, Accepts
from asyncinfer.types.markdown import conversation_markdown
from asyncinfer.types.message import Message, Role
from asyncinfer.types.parsed import PARSED, ParsedAnswer, ParsedT
from asyncinfer.types.short_repr import short_fields
from asyncinfer.types.tools import ToolDefinition


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
