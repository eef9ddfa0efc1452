"""Reads from the file of failed rows where the answer to each row belongs."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from asyncinfer.dialects.fields import as_object, object_at
from asyncinfer.errors import ConfigError
from asyncinfer.run.failures import ROW_CHECKSUM
from asyncinfer.run.input import InvalidRows
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.indexed_lines import IndexedLines
from asyncinfer.scratch.keys import parse_row_key
from asyncinfer.types.answer import FAILURE

_EVERY = 64  # lines
# The fields of `metadata["failure"]` that say where the answer belongs.
_COUNTS = ("row", "output_position", "output_rows", "input_rows")
_KEEP = "keep these fields as the run wrote them, because they say where the answer belongs"


class FailedRow(NamedTuple):
    """Where the answer to a failed row belongs.

    Args:
        row: The index of the row in the input.
        position: How many rows before it are in the output.
        output_rows: How many rows the output has.
        input_rows: How many rows the run has read, from the first of the input.
        identity: The key of the row, and how many rows before it have the same key; None if it has none.
        checksum: The checksum of the row of the input; None if the output does not have its columns.
    """

    row: int
    position: int
    output_rows: int
    input_rows: int
    identity: tuple[bytes, int] | None = None
    checksum: int | None = None


class FailedRowIndex:
    """The rows of a file of failed rows, whose lines may have been removed, corrected or moved.

    Args:
        with_checksums: Whether each row must have the checksum of its row of the input.

    Attributes:
        output_rows: How many rows the output has.
        input_rows: How many rows the run has read, from the first of the input.
    """

    def __init__(self, path: Path, *, with_checksums: bool) -> None:
        self._path, self._with_checksums = path, with_checksums
        self._rows, self._positions = array("Q"), array("Q")
        self._identities: list[tuple[bytes, int] | None] = []
        self._checksums: list[int | None] = []
        self.output_rows = self.input_rows = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, line: int) -> FailedRow:
        """Return the row in this line."""
        counts = self._rows[line], self._positions[line], self.output_rows, self.input_rows
        return FailedRow(*counts, self._identities[line], self._checksums[line])

    def in_input_order(self) -> list[int]:
        """Return the lines, in the order of their rows in the input."""
        return sorted(range(len(self)), key=self._rows.__getitem__)

    def read(self) -> Generator[None]:
        """Read the file. Blocks; yields every 64 lines.

        Raises:
            ConfigError: The run that wrote the file has not written its output.
            InputError: Lines do not say where their answers belong.
            OSError: The file cannot be read.
        """
        problems = InvalidRows(self._path.name)
        line_of: dict[int, int] = {}
        with closing(IndexedLines(self._path)) as lines:
            yield from lines.index()
            for line in range(len(lines)):
                failure = _failure_in(lines[line])
                if isinstance(failure, Mapping) and "row" in failure and "output_rows" not in failure:
                    raise self._interrupted()
                failed = _failed_row(failure, with_checksum=self._with_checksums)
                if isinstance(failed, str):
                    problems.add(line + 1, line, failed)
                elif (other := line_of.setdefault(failed.row, line)) != line:
                    problems.add(line + 1, line, f"it has the same row, {failed.row}, as line {other + 1}")
                elif len(self) and (failed.output_rows, failed.input_rows) != (self.output_rows, self.input_rows):
                    problems.add(line + 1, line, 'metadata["failure"] is that of another run')
                else:
                    self._add(failed)
                if line % _EVERY == 0:
                    yield
        if not problems:
            self._check_positions(problems)
        if problems:
            raise problems.error()

    def _add(self, failed: FailedRow) -> None:
        self.output_rows, self.input_rows = failed.output_rows, failed.input_rows
        self._rows.append(failed.row)
        self._positions.append(failed.position)
        self._identities.append(failed.identity)
        self._checksums.append(failed.checksum)

    def _check_positions(self, problems: InvalidRows) -> None:
        """Add the lines whose positions are before those of earlier rows."""
        before = 0
        for line in self.in_input_order():
            position = self._positions[line]
            if position < before:
                problems.add(line + 1, line, f"output_position is {position}, but an earlier row has {before}: {_KEEP}")
            before = max(before, position)

    def _interrupted(self) -> ConfigError:
        return ConfigError(
            f"retry_failures: the run that wrote {self._path} was interrupted, or raised an error for the failed rows, "
            "and has not written its output. Run the same again without retry_failures: that also tries the failed "
            "rows again, and sends no saved row"
        )


def _failure_in(line: bytes) -> Mapping[str, Any] | str:
    """Return the failure in a line, which is empty if the line has none; or why the line cannot be read."""
    try:
        row = from_json(line)
    except ValueError as error:
        return f"not valid JSON: {error}"
    return object_at(object_at(as_object(row), "metadata"), FAILURE)


def _failed_row(failure: Mapping[str, Any] | str, *, with_checksum: bool) -> FailedRow | str:
    """Return the row of a failure, or what is wrong with its line."""
    if isinstance(failure, str):
        return failure
    row, position, output_rows, input_rows = (_uint32(failure.get(name)) for name in _COUNTS)
    checksum = _uint32(failure.get(ROW_CHECKSUM))
    if (
        row is None
        or position is None
        or output_rows is None
        or input_rows is None
        or (with_checksum and checksum is None)
        or position > output_rows
    ):
        needed = ", ".join((*_COUNTS, ROW_CHECKSUM) if with_checksum else _COUNTS)
        return f'metadata["failure"] must have {needed}: {_KEEP}'
    return FailedRow(row, position, output_rows, input_rows, parse_row_key(failure.get(ROW_KEY)), checksum)


def _uint32(value: object) -> int | None:
    """Return an integer from 0 to 2**32 - 1, else None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32:
        return value
    return None
