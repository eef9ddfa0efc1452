"""The failed rows that an earlier run has written, and that a run of a part of the rows must keep."""

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
_PLACE = ("output_position", "output_rows", "input_rows")
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
            statuses: The rows of this run, with their outcomes.
            rows: The keys of the rows; None if they are unknown.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            lines = self._lines = IndexedLines(self._path)
        except FileNotFoundError:
            return
        yield from lines.index()
        for number in range(len(lines)):
            row = _row_of(_failure_in(lines[number]), rows)
            # A line that the user has broken stays where it is.
            self._rows.append(row if row is not None else self._rows[-1] if self._rows else 0)
            self._is_kept.append(row is None or not statuses.is_done(row))
            if number % _EVERY == 0:
                yield
        self.kept = sum(self._is_kept)
        self._order = array("Q", sorted(range(len(self._rows)), key=self._rows.__getitem__))

    def before(self, row: int | None, place: Mapping[str, Any] | None) -> Iterator[bytes]:
        """Yield the next kept lines, up to those of the rows before `row`; None: up to the last one.

        Args:
            place: Where the answers to these rows belong; None: where they belonged before.
        """
        while self._next < len(self._order) and (row is None or self._rows[self._order[self._next]] < row):
            number = self._order[self._next]
            self._next += 1
            if self._is_kept[number] and self._lines is not None:
                line = self._lines[number]
                yield line if place is None else _moved(line, place)

    def place_of(self, row: int) -> Mapping[str, Any]:
        """Where the answer to `row` belongs, as its line says. The lines of the rows before it must be exhausted."""
        if self._lines is None or self._next >= len(self._order):
            return _UNKNOWN
        number = self._order[self._next]
        if self._rows[number] != row:
            return _UNKNOWN
        failure = _failure_in(self._lines[number])
        return {name: failure[name] for name in _PLACE if name in failure}

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()


def _failure_in(line: bytes) -> Mapping[str, Any]:
    """The failure in a line; empty if the line has none."""
    try:
        return object_at(object_at(as_object(from_json(line)), "metadata"), FAILURE)
    except ValueError:
        return _UNKNOWN


def _row_of(failure: Mapping[str, Any], rows: ValidatedInput | None) -> int | None:
    """The row of this run that a failure is about: the one with its key, or else the one at its place."""
    identity = parse_row_key(failure.get(ROW_KEY))
    found = rows.index.find(*identity) if rows is not None and identity is not None else None
    row = found if found is not None else failure.get("row")
    return row if isinstance(row, int) and not isinstance(row, bool) and 0 <= row < 1 << 32 else None


def _moved(line: bytes, place: Mapping[str, Any]) -> bytes:
    """The line of a failed row, with another place of its answer."""
    failure = _failure_in(line)
    if "row" not in failure:
        return line
    row = as_object(from_json(line))
    metadata = {**object_at(row, "metadata"), FAILURE: {**failure, **place}}
    return to_json({**row, "metadata": metadata}, inf_nan_mode="constants") + b"\n"
