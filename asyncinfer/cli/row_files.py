"""The files that `asyncinfer show` reads: conversations or rows of columns, in every format that a run writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from asyncinfer.config import InputFormat, InputParams
from asyncinfer.data.compression import Compression
from asyncinfer.data.layout import input_layout
from asyncinfer.data.open_table import table_at
from asyncinfer.errors import InputError
from asyncinfer.scratch.view import Columns, RowFile
from asyncinfer.types.conversation import Conversation


def open_rows(path: Path) -> RowFile | TableFile:
    """The rows of a file, or those that a run saves for it. Blocks.

    Raises:
        InputError: There is no such file, or it cannot be read.
        MissingDependencyError: A package that reads this format is not installed.
    """
    file = RowFile(path)
    layout = input_layout(str(path), InputParams())
    if file.path != path or (layout.format is InputFormat.JSONL and layout.compression is Compression.NONE):
        return file
    file.close()
    return TableFile(path)


class TableFile:
    """A finished output that is not plain JSONL: Parquet, CSV, or a compressed file. Blocks.

    Attributes:
        unreadable: The rows that could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.unreadable = path, 0
        self._table = table_at(str(path), InputParams())
        for _ in self._table.prepare():
            pass

    def rows(self) -> Iterator[Conversation | Columns]:
        """Yield the rows."""
        with closing(self._table.rows()) as rows:
            for row in rows:
                if isinstance(row.values, InputError):
                    self.unreadable += 1
                else:
                    yield _conversation_or_columns(row.values)

    def has_ended(self) -> bool:
        """True: a run writes such a file at once."""
        return True

    def was_killed(self) -> bool:
        """False: the run that wrote the file has finished."""
        return False

    def close(self) -> None:
        self._table.close()


def _conversation_or_columns(values: Columns) -> Conversation | Columns:
    if "messages" not in values:
        return values
    try:
        return Conversation.from_dict({**values})
    except ValidationError:
        return values
