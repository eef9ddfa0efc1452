"""The lines of an earlier run in the file of failed rows. A run that has not tried these rows keeps them."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from asyncinfer.dialects.fields import as_object, object_at
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.indexed_lines import IndexedLines
from asyncinfer.scratch.keys import parse_row_key
from asyncinfer.types.answer import FAILURE

_EVERY = 64  # lines
# The fields that say where the answer to a failed row belongs.
_POSITION_FIELDS = ("output_position", "output_rows", "input_rows")
_UNKNOWN: Mapping[str, Any] = {}


class EarlierFailures:
    """The lines of a file of failed rows, in the order of their rows. Needs 33 bytes per line. Blocks.

    Args:
        path: The file. If there is none, it has no lines.

    Attributes:
        kept: How many lines are kept: those about rows without an outcome of this run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: IndexedLines | None = None
        self._rows, self._is_kept = array("Q"), bytearray()
        self._order, self._next = array("Q"), 0
        self.kept = 0

    def read(self, statuses: RowStatusTable, rows: ValidatedInput | None) -> Generator[None]:
        """Find the rows of the lines. Yields every 64 lines.

        Args:
            statuses: The outcomes of the rows of this run.
            rows: The keys of the rows; None if they are unknown.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            lines = self._lines = IndexedLines(self._path)
        except FileNotFoundError:
            return
        yield from lines.index()
        for line_index in range(len(lines)):
            row = _row_of(_failure_in(lines[line_index]), rows)
            # A line that is no longer valid JSON stays after the line before it.
            self._rows.append(row if row is not None else self._rows[-1] if self._rows else 0)
            self._is_kept.append(row is None or not statuses.is_done(row))
            if line_index % _EVERY == 0:
                yield
        self.kept = sum(self._is_kept)
        self._order = array("Q", sorted(range(len(self._rows)), key=self._rows.__getitem__))

    def before(self, row: int | None, position: Mapping[str, Any] | None) -> Iterator[bytes]:
        """Yield the next kept lines, up to those of the rows before `row`; None: up to the last one.

        Args:
            position: The fields that say where the answers to these rows belong; None: those of each line.
        """
        while self._next < len(self._order) and (row is None or self._rows[self._order[self._next]] < row):
            line_index = self._order[self._next]
            self._next += 1
            if self._is_kept[line_index] and self._lines is not None:
                line = self._lines[line_index]
                yield line if position is None else _moved(line, position)

    def position_of(self, row: int) -> Mapping[str, Any]:
        """Return the fields of the row's line that say where its answer belongs. Call it after `before(row)`."""
        if self._lines is None or self._next >= len(self._order):
            return _UNKNOWN
        line_index = self._order[self._next]
        if self._rows[line_index] != row:
            return _UNKNOWN
        failure = _failure_in(self._lines[line_index])
        return {name: failure[name] for name in _POSITION_FIELDS if name in failure}

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()


def _failure_in(line: bytes) -> Mapping[str, Any]:
    """Return the failure in a line; an empty one if the line has none."""
    try:
        return object_at(object_at(as_object(from_json(line)), "metadata"), FAILURE)
    except ValueError:
        return _UNKNOWN


def _row_of(failure: Mapping[str, Any], rows: ValidatedInput | None) -> int | None:
    """Return the row of a failure: the row of this run with the same key, or else the row that the failure names."""
    identity = parse_row_key(failure.get(ROW_KEY))
    found = rows.index.find(*identity) if rows is not None and identity is not None else None
    row = found if found is not None else failure.get("row")
    return row if isinstance(row, int) and not isinstance(row, bool) and 0 <= row < 1 << 32 else None


def _moved(line: bytes, position: Mapping[str, Any]) -> bytes:
    """Return the line of a failed row, with another position of its answer."""
    failure = _failure_in(line)
    if "row" not in failure:
        return line
    row = as_object(from_json(line))
    metadata = {**object_at(row, "metadata"), FAILURE: {**failure, **position}}
    return to_json({**row, "metadata": metadata}, inf_nan_mode="constants") + b"\n"
