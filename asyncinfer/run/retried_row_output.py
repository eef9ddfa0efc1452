"""The output of a run into which the answers to rows that had failed are merged: rows with columns.

The columns of these rows come from the input, which is read again for them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from asyncinfer.config import InputFormat
from asyncinfer.data.answer_columns import AnswerColumns, AnswerShape
from asyncinfer.data.arrow_table import ParquetTable
from asyncinfer.data.column_types import KeptColumns
from asyncinfer.data.csv_table import CsvTable
from asyncinfer.data.json_values import json_text
from asyncinfer.data.layout import InputLayout, OutputLayout
from asyncinfer.data.row_count import count_rows
from asyncinfer.data.row_writer import row_writer
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.dialects.fields import as_object
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.failed_places import FailedPlaces, Place
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.items import InputItem
from asyncinfer.run.retried_output import ReadAnswers, RetriedLines, in_places
from asyncinfer.run.row_output import columns_of
from asyncinfer.run.sources import FirstRows, Source
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.names import listed_names

_EVERY = 64  # rows
_WAY_OUT = (
    "Run the same again without retry_failures: that also tries the failed rows again, and sends no row whose answer "
    "is saved"
)


class InputColumns:
    """The rows of the input that had failed, and the columns of the output that come from there.

    Args:
        keep: The names of the columns; None: all.
        shape: What the answers are; None if they are text.
        row_keys: Make the keys of rows.
        has_types: Whether the output has a type for each column.
    """

    def __init__(
        self,
        source: Source,
        keep: Sequence[str] | None,
        shape: AnswerShape | None,
        row_keys: RowKeys,
        *,
        has_types: bool,
    ) -> None:
        self._source, self._keep, self._shape, self._row_keys = source, keep, shape, row_keys
        self._has_types = has_types
        self._run_rows: Source = source
        self.columns = KeptColumns((), None, {})

    def prepare(self, places: FailedPlaces) -> Generator[None]:
        """Find the columns, and check that the rows of the input are those that failed. Yields every 64 rows.

        Raises:
            ConfigError: The answer has a column of the same name.
            InputError: The rows of the input are not those that failed, or it cannot be read.
        """
        # Further rows may have been added to the input, with other keys.
        self._run_rows = FirstRows(self._source, places.input_rows)
        last = max((places[number].row for number in range(len(places))), default=0)
        self._source = FirstRows(self._source, max(places.input_rows, last + 1))
        self.columns = yield from columns_of(self._source, self._keep, self.new_answers())
        order = places.in_order()
        with closing(self._source.items()) as items:
            position = 0
            for count, place in enumerate(map(places.__getitem__, order)):
                yield from _skip(items, place.row - position)
                self._check(next(items, None), place)
                position = place.row + 1
                if count % _EVERY == 0:
                    yield

    def new_answers(self) -> AnswerColumns:
        """The columns of the answers, before any answer was looked at."""
        answers = AnswerColumns(self._shape, has_types=self._has_types)
        answers.reserve(self.columns.names)
        return answers

    def check_columns(self, path: Path, found: Sequence[str], *, is_json: bool = False) -> None:
        """Check that an older output has the columns that the run writes.

        Args:
            path: The output.
            found: Its columns.
            is_json: Whether rows of the output may lack columns, as those of a JSONL input may.

        Raises:
            ConfigError: It has other columns.
        """
        answers, names = self.new_answers(), self.columns.names
        shown = [*names, *answers.kinds]
        may_lack_names = is_json and self._source.column_names() is None
        needed = {*answers.kinds} if may_lack_names else {*shown}
        answers.require_all()
        if not needed <= set(found) <= {*names, *answers.kinds}:
            raise ConfigError(
                f"retry_failures: {path} has the columns {listed_names(found)}, but with the present input and "
                f"settings an output has {listed_names(shown)}. {_WAY_OUT}"
            )

    def values(self, answers: ReadAnswers, columns: AnswerColumns) -> Generator[tuple[int, Mapping[str, Any]] | None]:
        """Yield the row of each answer, with the number of old rows before it; and None after 64 rows of the input.

        Raises:
            InputError: The input has changed, or cannot be read.
        """
        with closing(answers()) as found, closing(self._source.items()) as items:
            position = 0
            for place, conversation in found:
                yield from _skip(items, place.row - position)
                item = self._check(next(items, None), place)
                position = place.row + 1
                values = item.values()
                kept = {name: values[name] for name in self.columns.names if name in values}
                yield place.position, kept | columns.values(conversation)

    def keys(self) -> Generator[None, None, bytearray]:
        """Return the keys of the rows that the run has read."""
        validated = ValidatedInput(self._run_rows, self._row_keys, tolerates_unreadable_files=True)
        yield from validated.validate_input()
        return validated.keys

    def _check(self, item: InputItem | None, place: Place) -> InputItem:
        """Return the row of the input at this place. Raises an InputError if it is not the one that failed."""
        if item is None or item.checksum != place.checksum:
            raise InputError(
                f"retry_failures: row {place.row} of {self._source.name} has changed since it failed, or its id, its "
                f"columns or its settings come from other settings. {_WAY_OUT}"
            )
        return item


class RetriedJsonRows(RetriedLines):
    """A JSONL file of rows, which may be compressed."""

    def __init__(self, path: Path, layout: OutputLayout, input_columns: InputColumns) -> None:
        super().__init__(path, layout.compression)
        self._input = input_columns

    def prepare(self, places: FailedPlaces) -> Generator[None]:
        yield from self._input.prepare(places)
        found = dict[str, None]()
        with closing(self._lines()) as lines:
            for count, line in enumerate(lines):
                with suppress(ValueError):
                    found.update(dict.fromkeys(as_object(from_json(line))))
                if count % _EVERY == 0:
                    yield
        if found:
            self._input.check_columns(self._path, [*found], is_json=True)

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        self._columns = self._input.new_answers()
        yield from _looking_at(answers, self._columns)
        yield from super().merge(target, answers)

    def keys(self) -> Generator[None, None, bytearray]:
        return (yield from self._input.keys())

    def _texts(self, answers: ReadAnswers) -> Generator[tuple[int, bytes] | None]:
        with closing(self._input.values(answers, self._columns)) as rows:
            for row in rows:
                yield (row[0], json_text(row[1]) + b"\n") if row is not None else None


class RetriedTable:
    """A CSV or Parquet file."""

    def __init__(self, path: Path, layout: OutputLayout, input_columns: InputColumns) -> None:
        self._path, self._layout, self._input = path, layout, input_columns

    def prepare(self, places: FailedPlaces) -> Generator[None]:
        yield from self._input.prepare(places)
        with self._opened() as table:
            if table is not None:
                self._check_types(table.column_names() or (), table.arrow_schema())
                self._input.check_columns(self._path, table.column_names() or ())

    def row_count(self) -> Generator[None, None, int]:
        return (yield from count_rows(self._path, self._layout)) if self._path.exists() else 0

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        columns, input_columns = self._input.new_answers(), self._input.columns
        with ExitStack() as stack:
            table = stack.enter_context(self._opened())
            schema = table.arrow_schema() if table is not None else None
            columns.require((table.column_names() if table is not None else None) or (), schema)
            yield from _looking_at(answers, columns)
            names, fields = [*input_columns.names, *columns.kinds], list[Any]()
            if self._layout.has_schema:
                fields = [*input_columns.arrow_fields(), *columns.arrow_fields()]
                fields = [_as_before(field, schema) for field in fields]
            old = stack.enter_context(closing(_rows(table)))
            new = stack.enter_context(closing(self._input.values(answers, columns)))
            file = stack.enter_context(replacing(target))
            writer = stack.enter_context(row_writer(file, self._layout, names, fields))
            for count, values in enumerate(in_places(old, new)):
                if values is not None:
                    writer.write(values)
                if values is None or count % _EVERY == 0:
                    yield

    def keys(self) -> Generator[None, None, bytearray]:
        return (yield from self._input.keys())

    def _check_types(self, found: Sequence[str], schema: Any | None) -> None:
        """Raise a ConfigError if columns of the file have other types than with the present settings."""
        answers = self._input.new_answers()
        answers.require(found, schema)
        fields = answers.arrow_fields() if schema is not None else []
        if changed := [field for field in fields if field.type != _as_before(field, schema).type]:
            field = changed[0]
            raise ConfigError(
                f"retry_failures: the column {field.name!r} of {self._path} has the type "
                f"{_as_before(field, schema).type}, but with the present settings its type is {field.type}. {_WAY_OUT}"
            )

    @contextmanager
    def _opened(self) -> Generator[ParquetTable | CsvTable | None]:
        """The older output as a table; None if there is no file."""
        if not self._path.exists():
            yield None
            return
        layout = self._layout
        file = StoredFile(
            str(self._path), InputLayout(InputFormat(layout.format.value), layout.compression, layout.delimiter)
        )
        is_parquet = layout.has_schema
        table = ParquetTable(file) if is_parquet else CsvTable(file, layout.compression, layout.delimiter, is_sure=True)
        for _ in table.prepare():
            pass
        with closing(table):
            yield table


def _skip(items: Generator[InputItem], rows: int) -> Generator[None]:
    """Read these rows. Yields every 64 rows."""
    for count, _ in enumerate(islice(items, rows), 1):
        if count % _EVERY == 0:
            yield


def _rows(table: ParquetTable | CsvTable | None) -> Generator[Mapping[str, Any]]:
    if table is None:
        return
    with closing(table.rows()) as rows:
        for number, row in enumerate(rows):
            if isinstance(row.values, InputError):
                raise InputError(f"{table.name}: row {number}: {row.values}")
            yield row.values


def _looking_at(answers: ReadAnswers, columns: AnswerColumns) -> Generator[None]:
    """Learn which columns the answers need. Yields every 64 rows."""
    with closing(answers()) as found:
        for count, (_, conversation) in enumerate(found):
            columns.observe(conversation)
            if count % _EVERY == 0:
                yield


def _as_before(field: Any, schema: Any | None) -> Any:
    """The field of a column as the older output has it, if it does."""
    return schema.field(field.name) if schema is not None and field.name in schema.names else field
