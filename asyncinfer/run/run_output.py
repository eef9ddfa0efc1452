"""Writes the output of a run: conversations or rows, as they are or compressed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

from asyncinfer.aio.tasks import in_slices
from asyncinfer.data.answer_columns import AnswerSchema
from asyncinfer.data.layout import OutputLayout
from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.row_output import RowOutput, write_compressed
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.sources import Source
from asyncinfer.scratch.file import ScratchFile


class RunOutput:
    """The output of one run.

    Args:
        path: The file; None if nothing is written.
        layout: Its format.
        keep: The columns of the input that an output of rows has; None: all.
        answer_schema: What the answers are, for an output of rows; None if they are text.
    """

    def __init__(
        self,
        path: Path | None,
        layout: OutputLayout,
        keep: Sequence[str] | None,
        answer_schema: AnswerSchema | None,
    ) -> None:
        self._path, self._layout, self._keep, self._answer_schema = path, layout, keep, answer_schema
        self._rows: tuple[RowOutput, Source] | None = None

    async def prepare(self, source: Source) -> None:
        """Find the columns of an output of rows, before anything is sent.

        Raises:
            InputError: There is no column that `keep` names.
            ConfigError: The answer has a column of the same name.
        """
        if self._path is not None and self._layout.has_rows:
            row_output = RowOutput(self._path, self._layout, self._keep, self._answer_schema)
            await in_slices(row_output.prepare(source))
            self._rows = row_output, source

    async def write(self, scratch: ScratchFile, statuses: RowStatusTable, checksums: array[int] | None = None) -> None:
        """Write the saved answers, in the order of the input, and replace an older output as a whole.

        Args:
            checksums: Those of the rows of the input, which is read again for an output of rows.

        Raises:
            InputError: The input has changed.
            ScratchError: The output cannot be written.
        """
        assert self._path is not None, "only a run with an output writes one"
        if self._layout.is_plain:
            await scratch.assemble(self._path, statuses.spans())
        elif self._rows is not None and checksums is not None:
            row_output, source = self._rows
            await in_slices(row_output.write(source, checksums, scratch, statuses))
        else:
            await in_slices(write_compressed(self._path, self._layout, scratch, statuses.spans()))

    @property
    def source_of_columns(self) -> Source | None:
        """The input, which is read again for an output of rows; None for other outputs. Known after `prepare`."""
        return self._rows[1] if self._rows is not None else None

    async def write_part(
        self,
        path: Path,
        rows: range,
        scratch: ScratchFile,
        statuses: RowStatusTable,
        cursor: InputCursor | None,
    ) -> None:
        """Write the saved answers to successive rows to a file of their own, in the format of the output.

        Args:
            cursor: Reads the rows of the input, for an output of rows.

        Raises:
            InputError: The input has changed.
            ScratchError: The file cannot be written.
        """
        spans = statuses.spans(rows.start, rows.stop)
        if self._layout.is_plain:
            await scratch.assemble(path, spans)
        elif self._rows is not None and cursor is not None:
            await in_slices(self._rows[0].write_part(path, cursor, rows, scratch, statuses))
        else:
            await in_slices(write_compressed(path, self._layout, scratch, spans))
