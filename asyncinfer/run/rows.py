"""The rows of a run, and where they come from."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol, cast
from zlib import crc32

from anyio import to_thread
from pydantic import ValidationError

from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import Usage

_SLICE_SECONDS = 0.05


@dataclass(slots=True)
class Row:
    """One row on its way through a run. `source` is the checksum of the input it was read from.

    `answered`: its answer, once there is one; `resumed`: scratch held it already. `error`: it cannot be
    attempted at all. `spent`: the retries it has used up; `admissions`: how many answers the endpoint had
    given when this row was last refused.
    """

    index: int
    conversation: Conversation
    key: bytes = b""
    n: int = 0
    source: int = 0
    answered: Conversation | None = None
    resumed: bool = False
    error: InputError | None = None
    usage: Usage | None = None
    spent: int = 0
    admissions: int = 0


class Item(NamedTuple):
    """One input row: the line it stands on (from 1; None in memory), its checksum, and how to read it."""

    line: int | None
    source: int
    text: bytes | None
    conversation: Conversation | None

    def load(self) -> Conversation:
        """The conversation.

        Raises:
            InputError: it is not a usable conversation; the message says why.
        """
        return self.conversation if self.conversation is not None else parse(self.text or b"")


class Source(Protocol):
    """Rows that can be read more than once. `name` stands in messages. Reading blocks."""

    name: str

    def items(self) -> Iterator[Item]: ...


class FileSource:
    """A JSONL file, a conversation a line; blank lines do not count."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)

    def items(self) -> Iterator[Item]:
        try:
            with self.path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    if not text.isspace():
                        yield Item(number, crc32(text), text, None)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from error


class ListSource:
    """Conversations in memory."""

    name = "input"

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._conversations = conversations

    def items(self) -> Iterator[Item]:
        for conversation in self._conversations:
            yield item_of(conversation)


def item_of(conversation: object) -> Item:
    """A row given as an object: a `Conversation` or its dict."""
    if isinstance(conversation, Conversation):
        return Item(None, crc32(conversation.to_json().encode()), None, conversation)
    if isinstance(conversation, dict):
        try:
            return item_of(Conversation.from_dict(cast(dict[str, Any], conversation)))
        except ValidationError as error:
            raise InputError(reason(error)) from None
    raise InputError(f"a row must be a Conversation, not {type(conversation).__name__}")


def parse(text: bytes) -> Conversation:
    """The conversation that a JSONL line holds.

    Raises:
        InputError: with the reason, without the line's number.
    """
    try:
        conversation = Conversation.model_validate_json(text)
    except ValidationError as error:
        raise InputError(reason(error)) from None
    check(conversation)
    return conversation


def check(conversation: Conversation) -> None:
    """Raise InputError where there is nothing to answer."""
    if not conversation.messages:
        raise InputError("the conversation has no messages")


def reason(error: ValidationError) -> str:
    """A validation error in one line: where, and what is wrong."""
    shown: list[str] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        # Members of a union appear in the location as type names; a path of keys reads better.
        path = ".".join(str(part) for part in detail["loc"] if str(part).isidentifier() or isinstance(part, int))
        message = detail["msg"].removeprefix("Value error, ")
        shown.append(f"{path}: {message}" if path else message)
    return "; ".join(shown)


async def in_slices(work: Iterator[object]) -> None:
    """Exhaust `work` in a worker thread, a slice at a time, so that a cancellation waits for one slice only."""

    def some() -> bool:
        deadline = perf_counter() + _SLICE_SECONDS
        return any(perf_counter() > deadline for _ in work)

    while await to_thread.run_sync(some):
        pass


async def as_async(source: Iterable[object] | AsyncIterable[object]) -> AsyncIterator[object]:
    """Iterate over any iterable; one that is not async, nor in memory, is advanced in a worker thread."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    elif isinstance(source, Sequence):
        for item in source:
            yield item
    else:
        iterator, end = iter(source), object()
        while (item := await to_thread.run_sync(next, iterator, end)) is not end:
            yield item
