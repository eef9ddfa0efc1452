"""Merges answers into a CSV or Parquet output."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.data.arrow_table import ParquetTable, pyarrow
from asyncinfer.data.csv_table import CsvTable
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_count import count_rows
from asyncinfer.data.row_writer import row_writer
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.retry.failed_input_rows import RERUN_HINT, FailedInputRows, observe_answers
from asyncinfer.run.retry.failed_row_index import FailedRowIndex
from asyncinfer.run.retry.output_merge import ReadAnswers, insert_at
from asyncinfer.scratch.atomic import replacing

_EVERY = 64  # rows


class TableMerge:
    """A CSV or Parquet file. It is written again, with the columns that old and new rows need."""

    def __init__(self, path: Path, layout: OutputLayout, input_rows: FailedInputRows) -> None:
        self._path, self._layout, self._input = path, layout, input_rows

    def prepare(self, failed: FailedRowIndex) -> Generator[None]:
        yield from self._input.prepare(failed)
        with self._opened() as table:
            if table is not None:
                names, schema = table.column_names() or (), table.arrow_schema()
                if schema is not None:
                    self._check_types(names, schema)
                self._input.check_columns(self._path, names)

    def row_count(self) -> Generator[None, None, int]:
        return (yield from count_rows(self._path, self._layout)) if self._path.exists() else 0

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        columns = self._input.new_columns()
        with ExitStack() as stack:
            table = stack.enter_context(self._opened())
            schema = (yield from _decided_schema(table, columns)) if table is not None else None
            columns.require((table.column_names() if table is not None else None) or (), schema)
            yield from observe_answers(answers, columns)
            old = stack.enter_context(closing(_rows(table)))
            new = stack.enter_context(closing(self._input.values(answers, columns)))
            file = stack.enter_context(replacing(target))
            names, fields = [*self._input.columns.names, *columns.kinds], self._fields(columns, schema)
            writer = stack.enter_context(row_writer(file, self._layout, names, fields))
            for count, values in enumerate(insert_at(old, new)):
                if values is not None:
                    writer.write(values)
                if values is None or count % _EVERY == 0:
                    yield

    def keys(self) -> Generator[None, None, bytearray]:
        return (yield from self._input.keys())

    def _fields(self, columns: AnswerColumns, schema: Any | None) -> list[Any]:
        """Return the Arrow fields of the new output; none for CSV."""
        if not self._layout.has_schema:
            return []
        fields = [*self._input.columns.arrow_fields(), *columns.arrow_fields()]
        return [_older_field(field, schema) for field in fields]

    def _check_types(self, names: tuple[str, ...], schema: Any) -> None:
        """Raise a ConfigError if columns of the answers have other types than in the older output."""
        columns = self._input.new_columns()
        columns.require(names, schema)
        for field in columns.arrow_fields():
            older = _older_field(field, schema).type
            if field.type != older:
                raise ConfigError(
                    f"retry_failures: the column {field.name!r} of {self._path} has the type {older}, but with the "
                    f"present settings its type is {field.type}. {RERUN_HINT}"
                )

    @contextmanager
    def _opened(self) -> Generator[ParquetTable | CsvTable | None]:
        """The older output as a table; None if there is no file."""
        if not self._path.exists():
            yield None
            return
        layout = self._layout
        file, is_parquet = StoredFile(str(self._path), layout.for_reading), layout.has_schema
        table = ParquetTable(file) if is_parquet else CsvTable(file, layout.compression, layout.delimiter, is_sure=True)
        for _ in table.prepare():
            pass
        with closing(table):
            yield table


def _rows(table: ParquetTable | CsvTable | None) -> Generator[Mapping[str, Any]]:
    if table is None:
        return
    with closing(table.rows()) as rows:
        for index, row in enumerate(rows):
            if isinstance(row.values, InputError):
                raise InputError(f"{table.name}: row {index}: {row.values}")
            yield row.values


def _decided_schema(table: ParquetTable | CsvTable, columns: AnswerColumns) -> Generator[None, None, Any | None]:
    """Return the Arrow schema without the columns whose type depends on their values, but that have no value."""
    schema = table.arrow_schema()
    if schema is None:
        return None
    empty = {name for name in columns.undecided if name in schema.names}
    with closing(_rows(table)) as rows:
        for count, values in enumerate(rows if empty else ()):
            empty -= {name for name in empty if values.get(name) is not None}
            if not empty:
                break
            if count % _EVERY == 0:
                yield
    return pyarrow().schema([field for field in schema if field.name not in empty])


def _older_field(field: Any, schema: Any | None) -> Any:
    """Return the older output's field of this name, or `field`."""
    return schema.field(field.name) if schema is not None and field.name in schema.names else field
