"""Tables: the interface of everything that rows of columns are read from."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from asyncinfer.errors import InputError


class TableRow(NamedTuple):
    """One row.

    Args:
        line: The number of the line in which it begins, from 1, and the file if there are several; None for a row that
            is not from a text file.
        values: The columns, or why the row is not valid.
    """

    line: int | str | None
    values: Mapping[str, Any] | InputError


class Table(Protocol):
    """Rows that can be read more than once, and are the same each time. The methods block.

    Attributes:
        name: What identifies the table in messages.
    """

    name: str

    @property
    def path(self) -> Path | None:
        """The local file; None for a table that is not in a local file."""
        ...

    def prepare(self) -> Generator[None]:
        """Do what must be done once before rows are read, such as a download. Yields often.

        Raises:
            InputError: The table cannot be read.
            ConfigError: A setting is wrong.
        """
        ...

    def column_names(self) -> tuple[str, ...] | None:
        """The names of the columns; None if each row may have others. Call `prepare` first. Raises as `prepare`."""
        ...

    def arrow_schema(self) -> Any | None:
        """The Arrow schema; None for a table that has none. Call `prepare` first. Raises as `prepare`."""
        ...

    def rows(self) -> Generator[TableRow]:
        """Read the rows. Call `prepare` first.

        Raises:
            InputError: The table cannot be read further. The message names the last row that was read.
        """
        ...

    def close(self) -> None:
        """Free what `prepare` took. It may be prepared again."""
        ...
