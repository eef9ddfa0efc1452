"""The rows of a table as the input of a run."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from asyncinfer.data.row_prompt import RowPrompt
from asyncinfer.data.table import Table, TableRow
from asyncinfer.errors import InputError
from asyncinfer.run.items import require_messages, saved_text
from asyncinfer.run.sources import Source
from asyncinfer.types.conversation import Conversation


class TableItem:
    """One row of a table. Its conversation is made when it is needed."""

    __slots__ = ("_prompt", "_row", "checksum", "size")

    # `load` makes a new conversation each time.
    is_shared = False

    def __init__(self, row: TableRow, prompt: RowPrompt) -> None:
        self._row, self._prompt = row, prompt
        content = repr(row.values).encode(errors="surrogatepass")
        self.checksum, self.size = crc32(content, crc32(prompt.fingerprint)), len(content)

    @property
    def line(self) -> int | str | None:
        return self._row.line

    def load(self) -> Conversation:
        """The conversation. Raises InputError if the row is not valid."""
        if isinstance(self._row.values, InputError):
            raise self._row.values
        conversation = self._prompt.conversation(self._row.values)
        require_messages(conversation)
        saved_text(conversation)
        return conversation

    def values(self) -> Mapping[str, Any]:
        """The values of the row, by column."""
        assert isinstance(self._row.values, Mapping), "only valid rows are answered"
        return self._row.values


class TableSource(Source):
    """The rows of a table, each of which becomes a conversation."""

    def __init__(self, table: Table, prompt: RowPrompt) -> None:
        self._table, self._prompt = table, prompt
        self.name = table.name

    @property
    def path(self) -> Path | None:
        return self._table.path

    def prepare(self) -> Generator[None]:
        """Prepare the table, and check that it has the columns that the settings name."""
        yield from self._table.prepare()
        if (columns := self._table.column_names()) is not None:
            self._prompt.check_columns(columns, self.name)

    def column_names(self) -> tuple[str, ...] | None:
        return self._table.column_names()

    def arrow_schema(self) -> Any | None:
        return self._table.arrow_schema()

    def items(self) -> Generator[TableItem]:
        for row in self._table.rows():
            yield TableItem(row, self._prompt)

    def close(self) -> None:
        self._table.close()
