"""Gives rows their saved answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from asyncinfer.errors import RequestError, ScratchError
from asyncinfer.run.duplicates import duplicate_conversation
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import Row
from asyncinfer.scratch.finished import ROW_KEY, FinishedOutput
from asyncinfer.scratch.keys import row_key_text
from asyncinfer.types.answer import ANSWER_METADATA
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.paths import os_error_text

log = logging.getLogger("asyncinfer")


class _Saved(Protocol):
    def read(self, offset: int, length: int) -> bytes: ...


class SavedAnswers:
    """Reads saved answers from the scratch file, and reused answers from the finished output. Blocks.

    Args:
        restored: Adds to a conversation what is not saved. Raises ValueError if the answer cannot be used.
    """

    def __init__(
        self,
        statuses: RowStatusTable,
        scratch: _Saved,
        previous: FinishedOutput | None = None,
        restored: Callable[[Conversation], Conversation] | None = None,
    ) -> None:
        self._statuses, self._scratch, self._previous = statuses, scratch, previous
        self._restored = restored
        self._level = logging.WARNING

    def __call__(self, row: Row) -> Conversation | None:
        """The finished conversation of a saved row. None if it cannot be used: then the row is sent again.

        Raises:
            RequestError: The saved answer cannot be validated.
            ScratchError: A file cannot be read.
        """
        try:
            answered = self._answered(row)
            return answered if self._restored is None else self._restored(answered)
        except ValueError as error:
            self._statuses.forget(row.index)
            # Logged as a warning only once: all of a million rows may be damaged.
            level, self._level = self._level, logging.DEBUG
            log.log(
                level, "row %d: its saved answer cannot be used (%s); such rows are sent again", row.index, _why(error)
            )
            return None

    def of_original(self, row: Row, original: int) -> Conversation | None:
        """The duplicate `row` with the answer of the row `original`; None if that cannot be used.

        Raises:
            ScratchError: The scratch file cannot be read.
        """
        offset, length = self._statuses.span(original)
        try:
            if self._statuses.is_in_output(original):
                data = self._previous.read(offset, length) if self._previous is not None else b""
            else:
                data = self._scratch.read(offset, length)
            answered = duplicate_conversation(_with_answer(row, Conversation.from_json(data)), row)
            return answered if self._restored is None else self._restored(answered)
        except (ValueError, OSError, RequestError):
            return None

    def _answered(self, row: Row) -> Conversation:
        span = self._statuses.span(row.index)
        if self._statuses.is_in_output(row.index):
            return _with_answer(row, self._reused(row, *span))
        saved = Conversation.from_json(self._scratch.read(*span))
        _answer(saved)
        return _with_answer(row, saved) if self._statuses.must_save_again(row.index) else saved

    def _reused(self, row: Row, offset: int, length: int) -> Conversation:
        assert self._previous is not None, "a row is reused from an output"
        try:
            data = self._previous.read(offset, length)
        except OSError as error:
            raise ScratchError(f"{self._previous.path} cannot be read: {os_error_text(error)}") from error
        saved = Conversation.from_json(data)
        if saved.metadata.get(ROW_KEY) != row_key_text(row.key, row.n):
            raise ValueError("the line belongs to another row")
        for there, here in zip(saved.messages, row.conversation().messages, strict=False):
            if _differs(there, here):
                raise ValueError("the line was edited")
        if saved.metadata.get("finish_reason") == "error":
            raise ValueError("it ended with an error")
        if _is_empty(_answer(saved)):
            raise ValueError("it is empty")
        return saved


def _is_empty(answer: Message) -> bool:
    content = answer.content
    return not answer.tool_calls and not (content.strip() if isinstance(content, str) else content)


def _why(error: ValueError) -> str:
    """A ValidationError would repeat the row."""
    return "it cannot be read" if type(error) is not ValueError else str(error)


def _with_answer(row: Row, saved: Conversation) -> Conversation:
    """The saved answer, with the id and metadata of the current input.

    Raises:
        ValueError: the saved conversation is not an answer to this row.
    """
    present, answer = row.conversation(), _answer(saved)
    if len(saved.messages) != len(present.messages) + 1:
        raise ValueError("a saved row must have the messages of the input and an answer")
    kept = {name: saved.metadata[name] for name in ANSWER_METADATA if name in saved.metadata}
    metadata = {**present.metadata, **kept, ROW_KEY: row_key_text(row.key, row.n)}
    return present.model_copy(update={"messages": [*present.messages, answer], "metadata": metadata})


def _answer(saved: Conversation) -> Message:
    if not saved.messages or saved.messages[-1].role != Role.ASSISTANT:
        raise ValueError("a saved row must end with an answer")
    return saved.messages[-1]


def _differs(there: Message, here: Message) -> bool:
    """Whether role or text differ. Other content may name its files by other paths, and is part of the row's key."""
    both_text = isinstance(there.content, str) and isinstance(here.content, str)
    return there.role != here.role or (both_text and there.content != here.content)
