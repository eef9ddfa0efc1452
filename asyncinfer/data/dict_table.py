"""Rows that are dicts in memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from asyncinfer.data.json_values import is_missing, valid_text
from asyncinfer.data.table import TableRow
from asyncinfer.errors import InputError


class DictTable:
    """Any iterable of dicts.

    Args:
        rows: An iterator is read into a list by `prepare`, because it can be read only once.
    """

    path: Path | None = None

    def __init__(self, rows: Iterable[object], name: str = "input") -> None:
        self._rows = rows
        self.name = name

    def prepare(self) -> Generator[None]:
        if isinstance(self._rows, Iterator):
            kept: list[object] = []
            for row in self._rows:
                kept.append(row)
                yield
            self._rows = kept

    def column_names(self) -> None:
        return None

    def arrow_schema(self) -> None:
        return None

    def rows(self) -> Generator[TableRow]:
        for row in self._rows:
            yield TableRow(None, row_values(row))

    def close(self) -> None:
        """Do nothing."""


def row_values(row: object) -> Mapping[str, Any] | InputError:
    """The columns of a row that is given as an object, or why it is not valid.

    Missing values of pandas and numpy are null. Half of a surrogate pair in the name of a column becomes a question
    mark, as in values that are written.
    """
    if isinstance(row, Mapping):
        columns = cast(Mapping[Any, Any], row)
        if odd := [name for name in columns if not isinstance(name, str)]:
            return InputError(f"the names of columns should be texts (found {odd[0]!r:.60})")
        values = {valid_text(name): None if is_missing(value) else value for name, value in columns.items()}
        if len(values) < len(columns):
            return InputError(
                "the names of two columns are equal once their surrogate characters are replaced; rename one"
            )
        return values
    return InputError(f"should be a dict with the columns (found {type(row).__name__})")
