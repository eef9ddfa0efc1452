"""Where the rows of a run come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.data.compression import Compression
from asyncinfer.data.json_table import numbered_lines
from asyncinfer.data.layout import InputLayout
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.errors import InputError
from asyncinfer.run.items import InputItem, Item, item_of


class Source(Protocol):
    """Rows that can be read more than once, and are the same each time. Reading blocks.

    `name` identifies the source in messages.
    """

    name: str

    @property
    def path(self) -> Path | None:
        """The local file that is read; None if the rows are not in a local file."""
        return None

    def items(self) -> Generator[InputItem]: ...

    def prepare(self) -> Generator[None]:
        """Do what must be done once before rows are read, such as a download. Blocks; yields often.

        Raises:
            InputError: The rows cannot be read.
        """
        yield

    def column_names(self) -> tuple[str, ...] | None:
        """The names of the columns, for an output of rows; None if each row may have others."""
        return None

    def arrow_schema(self) -> Any | None:
        """The Arrow schema of the columns, if there is one."""
        return None

    def close(self) -> None:
        """Free what `prepare` took. Blocks."""


@asynccontextmanager
async def prepared(source: Source) -> AsyncGenerator[None]:
    """Prepare the source, and close it at the end of the block."""
    try:
        await in_slices(source.prepare())
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await DISK.run(source.close)


class FileSource(Source):
    """A JSONL file with one conversation per line, which may be compressed. Blank lines are ignored."""

    def __init__(self, path: str | Path, compression: Compression = Compression.NONE) -> None:
        self._file = StoredFile(str(path), InputLayout(compression=compression))
        self._compression = compression
        self.name = self._file.name

    @property
    def path(self) -> Path | None:
        return self._file.path

    def prepare(self) -> Generator[None]:
        yield from self._file.prepare()

    def items(self) -> Generator[Item]:
        for number, text in numbered_lines(self._file.local, self._compression, self.name):
            if isinstance(text, InputError):
                yield Item(number, 0, 0, b"", text)
            else:
                yield Item(number, crc32(text), len(text), text)

    def close(self) -> None:
        self._file.close()


class ListSource(Source):
    """Conversations in memory."""

    name = "input"

    def __init__(self, conversations: Sequence[object]) -> None:
        self._conversations = conversations

    def items(self) -> Generator[Item]:
        for conversation in self._conversations:
            yield item_of(conversation)


class FirstRows(Source):
    """The first rows of a source."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self.name = source.name

    @property
    def path(self) -> Path | None:
        return self._source.path

    def prepare(self) -> Generator[None]:
        yield from self._source.prepare()

    def column_names(self) -> tuple[str, ...] | None:
        return self._source.column_names()

    def arrow_schema(self) -> Any | None:
        return self._source.arrow_schema()

    def items(self) -> Generator[InputItem]:
        with closing(self._source.items()) as items:
            yield from islice(items, self._count)

    def close(self) -> None:
        self._source.close()
