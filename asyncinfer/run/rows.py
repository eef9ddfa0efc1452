"""The rows of a run, and where they come from."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast
from zlib import crc32

from pydantic import ValidationError

from asyncinfer.errors import InputError
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.format import UNREADABLE, is_readable
from asyncinfer.scratch.keys import row_id
from asyncinfer.types import lines
from asyncinfer.types.conversation import Conversation, Message, Role
from asyncinfer.types.paths import NotAFileError, open_regular, os_error_text
from asyncinfer.types.results import Completion

_BUFFER = 1 << 18
_LARGE = 1 << 15
# `Conversation.model_validate_json` without its options: each of a million rows passes here twice.
_validate_json = Conversation.__pydantic_validator__.validate_json


class Item(NamedTuple):
    """One row as it is read.

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


class Row:
    """One row of the input, with its identity.

    The conversation is read from the item when it is needed: until then, a row is one block of bytes, and not a dozen
    objects for every garbage collection to visit.

    Attributes:
        index: Its place in the input, from 0.
        key: The hash of everything that determines its answer.
        n: How many earlier rows have the same key.
        checksum: The CRC-32 of what it was read from.
        size: The bytes of what it was read from.
    """

    __slots__ = ("_content", "checksum", "index", "key", "n", "size")

    def __init__(self, index: int, key: bytes, n: int, checksum: int, size: int, content: Item | Conversation) -> None:
        self.index, self.key, self.n, self.checksum, self.size = index, key, n, checksum, size
        self._content = content

    def conversation(self) -> Conversation:
        """The conversation to answer, under an id."""
        content = self._content
        if not isinstance(content, Conversation):
            conversation = content.load()
            if conversation.conversation_id is None and content.given is None:
                # It was just parsed: no other code refers to it.
                conversation.conversation_id = row_id(self.key, self.n)
            content = self._content = with_id(conversation, self.key, self.n)
        return content

    @property
    def is_large(self) -> bool:
        """Whether parsing and writing it would delay an event loop."""
        return self.size > _LARGE

    def finished(self, completion: Completion) -> Conversation:
        """The conversation with its answer."""
        finished = completion.append_to(self.conversation())
        finished.metadata[ROW_KEY] = row_id(self.key, self.n)
        return finished


class SavedRow(NamedTuple):
    """A row whose answer is saved already."""

    row: Row
    finished: Conversation


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used. `error` says why."""

    index: int
    error: InputError


InputRow = Row | SavedRow | RejectedRow


class Source(Protocol):
    """Rows that can be read more than once, and are the same each time. Reading blocks.

    `name` identifies the source in messages.
    """

    name: str

    @property
    def path(self) -> Path | None:
        """The file that is read; None if the rows are not in a file."""
        ...

    def items(self) -> Generator[Item]: ...


class FileSource:
    """A JSONL file with one conversation per line. Blank lines are ignored."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)

    def items(self) -> Generator[Item]:
        try:
            with open_regular(self.path, _BUFFER) as file:
                self._skip_byte_order_mark(file)
                for number, text in enumerate(lines.bounded_lines(file), 1):
                    if lines.is_cut(text):
                        yield _too_long(number, file)
                    elif not text.isspace():
                        yield Item(number, crc32(text), len(text), text)
        except NotAFileError as error:
            what = f"{os_error_text(error)}; a run reads its input twice, so save it to a file first"
            raise InputError(f"{self.name}: {what}") from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {os_error_text(error)}") from error

    def _skip_byte_order_mark(self, file: BinaryIO) -> None:
        beginning = file.read(len(BOM_UTF8))
        if beginning.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise InputError(f"{self.name}: is in UTF-16 or UTF-32; save it as UTF-8 first")
        if beginning != BOM_UTF8:
            file.seek(0)


def _too_long(number: int, file: BinaryIO) -> Item:
    """The item for a line that is too long. Reads the rest of the line."""
    lines.skip_line(file)
    return Item(number, 0, 0, b"", InputError(f"the line is longer than {lines.MAX_LINE >> 20} MiB"))


class ListSource:
    """Conversations in memory."""

    name = "input"
    path: Path | None = None

    def __init__(self, conversations: Sequence[object]) -> None:
        self._conversations = conversations

    def items(self) -> Generator[Item]:
        for conversation in self._conversations:
            yield item_of(conversation)


def item_of(row: object) -> Item:
    """A row given as an object: anything that `as_conversation` takes."""
    try:
        conversation = as_conversation(row)
    except InputError as error:
        return Item(None, 0, 0, b"", error)
    try:
        text = conversation.to_json_bytes()
    except ValueError as error:
        return Item(None, 0, 0, b"", InputError(f"it cannot be saved as JSON: {error}"))
    if not is_readable(text):
        return Item(None, 0, 0, b"", InputError(f"it cannot be saved as JSON: {UNREADABLE}"))
    return Item(None, crc32(text), len(text), b"", conversation)


def as_conversation(row: object) -> Conversation:
    """The conversation that `row` stands for, as `ConversationLike` describes it.

    Raises:
        InputError: It does not stand for a conversation. The message says why.
    """
    if isinstance(row, Conversation):
        return row
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


def with_id(conversation: Conversation, key: bytes, n: int) -> Conversation:
    """The conversation; without an id of its own, it gets one that is derived from its key."""
    if conversation.conversation_id is not None:
        return conversation
    return conversation.model_copy(update={"conversation_id": row_id(key, n)})


def validation_message(error: ValidationError) -> str:
    """The first three problems of a validation error, in one line."""
    shown: list[str] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        # Members of a union appear in the location as type names; a path of keys reads better.
        path = ".".join(str(part) for part in detail["loc"] if str(part).isidentifier() or isinstance(part, int))
        message = detail["msg"].removeprefix("Value error, ")
        shown.append(f"{path}: {message}" if path else message)
    return "; ".join(shown)
