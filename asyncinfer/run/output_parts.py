"""Writes parts of the output of a run while it is in progress, and reads the input for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asyncinfer.aio.limiters import DISK
from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.row_output import not_written
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.run_output import RunOutput
from asyncinfer.scratch.file import ScratchFile


class OutputParts:
    """Writes parts of an output.

    A part of an output of rows needs its rows of the input. The input is not read from its start for each part: one
    cursor goes through it once. A part that is complete only after a later one was written is read by a second cursor.
    That one may go back as long as it has read no more rows than have their outcome. So the first reads at most as many
    rows as the input has, and the second, with the end of the run, at most twice as many, in whatever order parts are
    completed.

    Args:
        checksums: The checksum of each row of the input, from the first reading.
    """

    def __init__(
        self, output: RunOutput, scratch: ScratchFile, statuses: RowStatusTable, checksums: Sequence[int]
    ) -> None:
        self._output, self._scratch, self._statuses = output, scratch, statuses
        self._cursors = list[InputCursor]()
        if (source := output.source_of_columns) is not None:
            changed = not_written(scratch, "shard")
            self._cursors = [InputCursor(source, checksums, changed) for _ in range(2)]

    async def write(self, path: Path, rows: range, *, is_end: bool = False) -> bool:
        """Write the answers to successive rows to a file.

        Args:
            is_end: No further row gets an answer.

        Returns:
            Whether it is written. Otherwise it would cost too much to go back to its rows now: try it again when more
            rows have their outcome.

        Raises:
            InputError: The input has changed.
            ScratchError: The file cannot be written.
        """
        cursor = self._cursor(rows, is_end=is_end) if self._cursors else None
        if self._cursors and cursor is None:
            return False
        await self._output.write_part(path, rows, self._scratch, self._statuses, cursor)
        return True

    async def aclose(self) -> None:
        """Close the input."""
        for cursor in self._cursors:
            await DISK.run(cursor.close)

    def _cursor(self, rows: range, *, is_end: bool) -> InputCursor | None:
        first, second = self._cursors
        if rows.start >= first.position:
            return first
        done = self._statuses.done_count(0, len(self._statuses))
        return second if is_end or second.rows_read + second.cost(rows) <= done else None
