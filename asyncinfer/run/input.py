"""Validates the whole input before anything is sent."""

from __future__ import annotations

from array import array
from collections.abc import Generator

from asyncinfer.config.template_limits import TemplateLimitError
from asyncinfer.errors import InputError, UnreadableFileError
from asyncinfer.run.items import InputItem
from asyncinfer.run.row_access import RowSettingsError
from asyncinfer.run.sources import Source
from asyncinfer.scratch.index import KEY_BYTES, KeyIndex, has_duplicates
from asyncinfer.scratch.keys import RowKeys, row_key_text
from asyncinfer.types.conversation import Conversation

_SHOWN = 20
_EVERY = 64


class ValidatedInput:
    """The key, the checksum and the index entry of each row: about 40 bytes a row.

    `validate_input` reads the source once. The rows are known when that generator is exhausted.

    Args:
        tolerates_unreadable_files: A row whose image or document cannot be read is one failed row. Otherwise it makes
            the input invalid.

    Attributes:
        rejected: The error of each row that fails without being sent, by its index.
    """

    def __init__(self, source: Source, row_keys: RowKeys, *, tolerates_unreadable_files: bool = False) -> None:
        self._source, self._row_keys, self._tolerates_unreadable_files = source, row_keys, tolerates_unreadable_files
        self.rejected: dict[int, InputError] = {}
        self.keys = bytearray()
        self.checksums = array("I")
        self.index = KeyIndex(b"")
        self._occurrences: array[int] | None = None

    def __len__(self) -> int:
        return len(self.checksums)

    @property
    def has_duplicates(self) -> bool:
        """Whether rows are duplicates of others."""
        return self._occurrences is not None

    def identity(self, row: int) -> tuple[bytes, int]:
        """The row's key, and how often it came before."""
        return self.index.key(row), self._occurrences[row] if self._occurrences else 0

    def row_key(self, row: int) -> str | None:
        """The row's identity as text; None for a row that cannot be sent."""
        return row_key_text(*self.identity(row)) if row not in self.rejected else None

    def row_of(self, key: bytes, n: int, guess: int) -> int | None:
        """The row with this identity, or None. Looks at `guess` first, which is much cheaper than a search."""
        if guess < len(self) and self.keys.startswith(key, guess * KEY_BYTES) and self.identity(guess)[1] == n:
            return guess
        return self.index.find(key, n)

    def has(self, key: bytes, n: int) -> bool:
        """Whether the input has a row with this identity."""
        return self.index.find(key, n) is not None

    def validate_input(self) -> Generator[None]:
        """Read and validate every row. Blocks; yields every 64 rows.

        Raises:
            InputError: The input is empty, or rows are not valid. The message lists the first 20 of them.
        """
        problems = InvalidRows(self._source.name)
        ids = array("q")
        for count, item in enumerate(self._source.items()):
            conversation = self._admit(item, problems)
            if conversation is not None and conversation.conversation_id is not None:
                ids.append(hash(conversation.conversation_id))
            if count % _EVERY == 0:
                yield
        if has_duplicates(array("q", sorted(ids))):
            self._name_duplicate_ids(problems)
        if problems:
            raise problems.error()
        if not len(self):
            raise InputError(f"{self._source.name}: there are no conversations in it")
        self.index = KeyIndex(self.keys)
        self._occurrences = self.index.occurrences()

    def _admit(self, item: InputItem, problems: InvalidRows) -> Conversation | None:
        try:
            conversation = item.load()
            self.keys += self._row_keys(conversation)
        except InputError as error:
            if isinstance(error, RowSettingsError):
                place = f"row {len(self)}" + (f" (line {item.line})" if item.line is not None else "")
                self.rejected[len(self)] = RowSettingsError(f"{place}: {error}")
            elif self._tolerates_unreadable_files and isinstance(error, UnreadableFileError):
                self.rejected[len(self)] = error
            else:
                problems.add(item.line, len(self), str(error))
                if isinstance(error, TemplateLimitError) and problems.is_full:
                    raise problems.error() from None  # Each further row may take a second, too.
            self.keys += bytes(KEY_BYTES)
            conversation = None
        self.checksums.append(item.checksum)
        return conversation

    def _name_duplicate_ids(self, problems: InvalidRows) -> None:
        first: dict[str, str] = {}
        for row, item in enumerate(self._source.items()):
            try:
                conversation_id = item.load().conversation_id
            except InputError:
                continue
            if conversation_id is None:
                continue
            here = problems.place(item.line, row)
            before = first.setdefault(conversation_id, here)
            if before != here:
                problems.add(item.line, row, f"conversation_id {conversation_id!r} is already that of {before}")


class InvalidRows:
    """Collects the rows that are not valid, for one message."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown: list[str] = []
        self._count = 0

    @staticmethod
    def place(line: int | str | None, row: int) -> str:
        return f"line {line}" if line is not None else f"row {row}"

    def add(self, line: int | str | None, row: int, why: str) -> None:
        self._count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(f"  {self.place(line, row)}: {why}")

    @property
    def is_full(self) -> bool:
        """Whether the message shows no further rows."""
        return self._count >= _SHOWN

    def __bool__(self) -> bool:
        return self._count > 0

    def error(self) -> InputError:
        """The error that lists the rows."""
        more = [f"  ... and {self._count - _SHOWN} more"] if self._count > _SHOWN else []
        return InputError("\n".join([f"{self._name}: {self._count} bad row(s); nothing was run:", *self._shown, *more]))
