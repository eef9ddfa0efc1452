"""Reads the columns of failed rows from the input."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from asyncinfer.data.answer_columns import AnswerColumns, AnswerSchema
from asyncinfer.data.column_types import KeptColumns
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.items import InputItem
from asyncinfer.run.kept_columns import columns_of
from asyncinfer.run.retry.failed_row_index import FailedRow, FailedRowIndex
from asyncinfer.run.retry.output_merge import ReadAnswers
from asyncinfer.run.sources import FirstRows, Source
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.names import listed_names

_EVERY = 64  # rows
RERUN_HINT = (
    "Run the same again without retry_failures: that also tries the failed rows again, and sends no row whose answer "
    "is saved"
)


class FailedInputRows:
    """The failed rows of the input, and the columns of the output that come from there.

    Args:
        source: The whole input. The caller prepares and closes it.
        keep: The names of the columns; None: all.
        schema: What the answers are; None if they are text.
        row_keys: Make the keys of rows.
        has_types: Whether the output has a type for each column.

    Attributes:
        columns: After `prepare`: the columns that come from the input.
    """

    def __init__(
        self,
        source: Source,
        keep: Sequence[str] | None,
        schema: AnswerSchema | None,
        row_keys: RowKeys,
        *,
        has_types: bool,
    ) -> None:
        self.source = self._rows = self._run_rows = source
        self._keep, self._schema, self._row_keys, self._has_types = keep, schema, row_keys, has_types
        self.columns = KeptColumns((), None, {})

    def prepare(self, failed: FailedRowIndex) -> Generator[None]:
        """Find the columns, and check that the rows of the input are those that failed. Yields every 64 rows.

        Raises:
            ConfigError: The answer has a column of the same name.
            InputError: These rows of the input have changed, or it cannot be read.
        """
        # The input may have further rows now, or the run had a limit. Keys of these rows are no columns.
        self._run_rows = FirstRows(self.source, failed.input_rows)
        # A run with a limit keeps the failures of an earlier run about rows after the limit.
        lines = failed.in_input_order()
        last_row = failed[lines[-1]].row if lines else 0
        self._rows = FirstRows(self.source, max(failed.input_rows, last_row + 1))
        self.columns = yield from columns_of(self._rows, self._keep, self.new_columns())
        with closing(self._rows.items()) as items:
            next_row = 0
            for count, row in enumerate(map(failed.__getitem__, lines)):
                yield from _skip(items, row.row - next_row)
                self._check(next(items, None), row)
                next_row = row.row + 1
                if count % _EVERY == 0:
                    yield

    def new_columns(self) -> AnswerColumns:
        """Return the columns of the answers, before an answer is observed."""
        columns = AnswerColumns(self._schema, has_types=self._has_types)
        columns.reserve(self.columns.names)
        return columns

    def check_columns(self, path: Path, found: Sequence[str], *, is_json: bool = False) -> None:
        """Check that an older output has the columns that the run writes.

        Args:
            path: The output.
            found: Its columns.
            is_json: Whether rows of the output may lack columns, as rows of a JSONL input may.

        Raises:
            ConfigError: It has other columns.
        """
        answers, names = self.new_columns(), self.columns.names
        expected = [*names, *answers.kinds]
        may_lack_names = is_json and self.source.column_names() is None
        needed = answers.kinds if may_lack_names else expected
        answers.require_all()
        if not {*needed} <= {*found} <= {*names, *answers.kinds}:
            raise ConfigError(
                f"retry_failures: {path} has the columns {listed_names(found)}, but with the present input and "
                f"settings an output has {listed_names(expected)}. {RERUN_HINT}"
            )

    def values(self, answers: ReadAnswers, columns: AnswerColumns) -> Generator[tuple[int, Mapping[str, Any]] | None]:
        """Yield the row of each answer, with the number of old rows before it; and None after 64 rows of the input.

        Raises:
            InputError: These rows of the input have changed, or it cannot be read.
        """
        with closing(answers()) as found, closing(self._rows.items()) as items:
            next_row = 0
            for row, conversation in found:
                yield from _skip(items, row.row - next_row)
                item = self._check(next(items, None), row)
                next_row = row.row + 1
                yield row.position, self.columns.pick(item.values()) | columns.values(conversation)

    def keys(self) -> Generator[None, None, bytearray]:
        """Return the keys of the rows that the run has read, end to end. Raises an InputError if they are not valid."""
        validated = ValidatedInput(self._run_rows, self._row_keys, tolerates_unreadable_files=True)
        yield from validated.validate_input()
        return validated.keys

    def _check(self, item: InputItem | None, row: FailedRow) -> InputItem:
        """Return the row of the input. Raises an InputError if it is not the one that failed."""
        if item is None or item.checksum != row.checksum:
            raise InputError(
                f"retry_failures: row {row.row} of {self.source.name} has changed since it failed, or its id, its "
                f"columns or its settings come from other settings. {RERUN_HINT}"
            )
        return item


def observe_answers(answers: ReadAnswers, columns: AnswerColumns) -> Generator[None]:
    """Find the columns that the answers need. Yields every 64 rows."""
    with closing(answers()) as found:
        for count, (_, conversation) in enumerate(found):
            columns.observe(conversation)
            if count % _EVERY == 0:
                yield


def _skip(items: Generator[InputItem], rows: int) -> Generator[None]:
    """Read so many rows. Yields every 64 rows."""
    for count, _ in enumerate(islice(items, rows), 1):
        if count % _EVERY == 0:
            yield
