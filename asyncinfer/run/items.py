"""What the rows of a run are read from: lines of JSON, or objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast
from zlib import crc32

from pydantic import ValidationError
from pydantic_core import from_json

from asyncinfer.errors import InputError
from asyncinfer.scratch.format import UNREADABLE, is_readable
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.validation import validation_message

# `Conversation.model_validate_json` without its options: each of a million rows passes here twice.
_validate_json = Conversation.__pydantic_validator__.validate_json


class InputItem(Protocol):
    """One row as it is read."""

    @property
    def line(self) -> int | str | None:
        """The number of its line, from 1, and its file if there are several; None if it is not from a text file."""
        ...

    @property
    def checksum(self) -> int:
        """A CRC-32 that changes with the row."""
        ...

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other code refers to the conversation that `load` returns."""
        ...

    def load(self) -> Conversation:
        """The conversation.

        Raises:
            InputError: The row is not a valid conversation. The message says why.
        """
        ...

    def values(self) -> Mapping[str, Any]:
        """The values of the row by column, for an output of rows. Call it only for a row that is valid."""
        ...


class Item(NamedTuple):
    """One row as it is read: a conversation.

    Args:
        line: The number of its line, from 1; None for a row that is not from a file.
        checksum: The CRC-32 of its JSON.
        size: The bytes of its JSON.
        text: The JSON of a row from a file.
        given: The conversation of a row that is not from a file, or why the row is not valid.
    """

    line: int | None
    checksum: int
    size: int
    text: bytes
    given: Conversation | InputError | None = None

    def load(self) -> Conversation:
        """The conversation.

        Raises:
            InputError: The row is not a valid conversation. The message says why.
        """
        if isinstance(self.given, InputError):
            raise self.given
        conversation = parse(self.text) if self.given is None else self.given
        require_messages(conversation)
        return conversation

    @property
    def is_shared(self) -> bool:
        return self.given is not None

    def values(self) -> Mapping[str, Any]:
        """The keys of the conversation."""
        return self.given.to_dict() if isinstance(self.given, Conversation) else from_json(self.text)


def item_of(row: object) -> Item:
    """A row given as an object: anything that `as_conversation` takes, or the reason why there is none."""
    if isinstance(row, InputError):
        return Item(None, 0, 0, b"", row)
    try:
        conversation = as_conversation(row)
    except InputError as error:
        return Item(None, 0, 0, b"", error)
    try:
        text = saved_text(conversation)
    except InputError as error:
        return Item(None, 0, 0, b"", error)
    return Item(None, crc32(text), len(text), b"", conversation)


def saved_text(conversation: Conversation) -> bytes:
    """The JSON with which a conversation is saved.

    Raises:
        InputError: It cannot be saved. The message says why.
    """
    try:
        text = conversation.to_json_bytes()
    except ValueError as error:  # Such as half of a surrogate pair, which UTF-8 cannot represent.
        raise InputError(f"it cannot be saved as JSON: {error}") from None
    if not is_readable(text):
        raise InputError(f"it cannot be saved as JSON: {UNREADABLE}")
    return text


def as_conversation(row: object) -> Conversation:
    """The conversation that `row` stands for, as `ConversationLike` describes it.

    Raises:
        InputError: It does not stand for a conversation. The message says why.
    """
    if isinstance(row, Conversation):
        return cast(Conversation, row)
    if isinstance(row, str):
        return Conversation(messages=[Message(role=Role.USER, content=row)])
    if isinstance(row, list | tuple):
        if any(isinstance(part, Conversation) for part in cast(Sequence[object], row)):
            raise InputError("should be a Conversation (found a list of them); `ainfer` answers many")
        row = {"messages": list(cast(Sequence[object], row))}
    if isinstance(row, Message) or (isinstance(row, dict) and "role" in row and "messages" not in row):
        raise InputError("this is one message; a conversation is a list of messages: [message]")
    if not isinstance(row, dict):
        raise InputError(f"should be a Conversation, a text or a list of messages (found {type(row).__name__})")
    try:
        return Conversation.from_dict(cast(dict[str, Any], row))
    except ValidationError as error:
        raise InputError(validation_message(error)) from None


def parse(text: bytes) -> Conversation:
    """The conversation that a JSONL line holds.

    Raises:
        InputError: with the reason, without the line's number.
    """
    try:
        return _validate_json(text)
    except ValidationError as error:
        raise InputError(validation_message(error)) from None


def require_messages(conversation: Conversation) -> None:
    """Raise InputError if the conversation has no messages."""
    if not conversation.messages:
        raise InputError("the conversation has no messages")


def check_unchanged(name: str, row: int, item: InputItem, checksums: Sequence[int], not_written: str = "") -> None:
    """Raise InputError if a row that is read again is not the one that was validated.

    Args:
        name: The name of the source.
        checksums: The checksum of each row, from the first reading.
        not_written: The part of the message that says what is not written.
    """
    if row >= len(checksums) or item.checksum != checksums[row]:
        raise changed_error(name, row, not_written)


def changed_error(name: str, row: int, not_written: str = "") -> InputError:
    """The error for a source that changed while it was read."""
    what = f"changed while it was read (row {row}){not_written}"
    return InputError(f"{name}: {what}. Run again: the run then uses the present content.")
