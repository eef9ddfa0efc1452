"""Writes rows of columns to a file, as JSONL, CSV or Parquet. Memory does not grow with the rows.

pyarrow 26 (November 2026).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from asyncinfer.config import OutputFormat
from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.arrow_values import ExactValue
from asyncinfer.data.compression import compressing
from asyncinfer.data.json_values import as_json, as_text, json_text
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.value_size import value_size
from asyncinfer.errors import InputError, error_text

# A row group of a Parquet file has at most so many rows, and about so many bytes.
_GROUP_ROWS = 1 << 16
_GROUP_BYTES = 32 << 20
# The rows that are Python objects at once, and about how many bytes their values have.
_CHUNK_ROWS = 1 << 10
_CHUNK_BYTES = 4 << 20


class RowWriter(Protocol):
    """Writes rows, one at a time. Columns that a row does not have are null."""

    def write(self, values: Mapping[str, Any]) -> None: ...


@contextmanager
def row_writer(
    file: BinaryIO, layout: OutputLayout, columns: Sequence[str], fields: Sequence[Any]
) -> Generator[RowWriter]:
    """A writer that has written everything at the end of the block. `file` stays open.

    Args:
        columns: The names of all columns.
        fields: Their Arrow fields, for Parquet.
    """
    if layout.format is OutputFormat.PARQUET:
        with _parquet_writer(file, fields) as writer:
            yield writer
    else:
        with compressing(file, layout.compression) as stream:
            is_csv = layout.format is OutputFormat.CSV
            yield _CsvWriter(stream, columns, layout.delimiter) if is_csv else _JsonWriter(stream)


class _JsonWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, values: Mapping[str, Any]) -> None:
        self._file.write(json_text(values) + b"\n")


class _CsvWriter:
    """CSV as RFC 4180 describes it, but with the line ends of Unix. The first line has the names of the columns."""

    def __init__(self, file: BinaryIO, columns: Sequence[str], delimiter: str) -> None:
        self._file, self._columns = file, columns
        self._text = io.StringIO(newline="")
        # Python quotes a carriage return in a value only if it is a part of the line end.
        self._csv = csv.writer(self._text, delimiter=delimiter, lineterminator="\r\n")
        self._line(columns)

    def write(self, values: Mapping[str, Any]) -> None:
        self._line([as_text(values.get(name)) for name in self._columns])

    def _line(self, fields: Sequence[str]) -> None:
        self._csv.writerow(fields)
        self._file.write(self._text.getvalue()[:-2].encode("utf-8", "replace") + b"\n")
        self._text.seek(0)
        self._text.truncate()


@contextmanager
def _parquet_writer(file: BinaryIO, fields: Sequence[Any]) -> Generator[_ParquetWriter]:
    arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
    schema = arrow.schema(fields)
    with parquet.ParquetWriter(arrow.PythonFile(_KeptOpen(file), mode="w"), schema, compression="zstd") as opened:
        writer = _ParquetWriter(opened, schema)
        yield writer
        writer.flush()


class _ParquetWriter:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[Any] = []
        self._count = self._size = self._chunk_size = 0

    def write(self, values: Mapping[str, Any]) -> None:
        size = value_size(values)
        if self._chunk_size + size > _CHUNK_BYTES or len(self._rows) >= _CHUNK_ROWS:
            self._convert()
            if self._count >= _GROUP_ROWS or self._size >= _GROUP_BYTES:
                self.flush()
        self._rows.append(values)
        self._chunk_size += size

    def flush(self) -> None:
        """Write a row group of all rows that are in memory."""
        self._convert()
        if self._batches:
            self._writer.write_table(pyarrow().Table.from_batches(self._batches, self._schema))
        self._batches, self._count, self._size = [], 0, 0

    def _convert(self) -> None:
        """Make a record batch of the rows, which takes much less memory."""
        if not self._rows:
            return
        # A column with more than 2 GiB has several arrays, so a chunk may make several batches.
        table = pyarrow().table([self._array(field) for field in self._schema], schema=self._schema)
        self._count, self._size = self._count + table.num_rows, self._size + table.nbytes
        self._batches += table.to_batches()
        self._rows, self._chunk_size = [], 0

    def _array(self, field: Any) -> Any:
        try:
            values = _arrow_values([row.get(field.name) for row in self._rows], field.type)
            return pyarrow().array(values, field.type)
        except Exception as error:
            raise InputError(
                f"the column {field.name!r} does not fit its type {field.type}: {error_text(error)}"
            ) from None


def _arrow_values(values: list[Any], kind: Any) -> list[Any]:
    """What pyarrow takes for values of a column of this type."""
    arrow = pyarrow()
    if kind in (arrow.string(), arrow.large_string()):
        return [value if value is None else as_text(as_json(value)) for value in values]
    if kind == arrow.float64():  # pyarrow takes no integers above 2**53.
        return [value if value is None or isinstance(value, float) else float(value) for value in values]
    return [_scalar(value, kind) if isinstance(value, ExactValue) else value for value in values]


def _scalar(value: ExactValue, kind: Any) -> Any:
    return value.scalar if value.scalar.type == kind else value.scalar.cast(kind)


class _KeptOpen(io.RawIOBase):
    """Writes to a file, and leaves it open when pyarrow closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._file.write(data)
