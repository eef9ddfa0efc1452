"""Where the rows of a run come from."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol
from zlib import crc32

from asyncinfer.errors import InputError
from asyncinfer.run.items import Item, item_of
from asyncinfer.types import lines
from asyncinfer.types.paths import NotAFileError, open_regular, os_error_text

_BUFFER = 1 << 18


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


class FirstRows:
    """The first rows of a source."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self.name = source.name

    @property
    def path(self) -> Path | None:
        return self._source.path

    def items(self) -> Generator[Item]:
        with closing(self._source.items()) as items:
            yield from islice(items, self._count)
