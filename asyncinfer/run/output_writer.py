"""Writes the output of a run. `RowOutput` writes rows."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from asyncinfer.aio.tasks import in_slices
from asyncinfer.data.compression import compressing
from asyncinfer.data.layout import OutputLayout
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.sources import Source
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.file import ScratchFile, as_scratch_error

_EVERY = 64  # rows


class OutputWriter(Protocol):
    """Writes the saved answers of one run, in the order of the input: to the output, and to its shards."""

    async def prepare(self, source: Source, checksums: Sequence[int]) -> None:
        """Find the columns of an output of rows, before anything is sent. Other outputs need no preparation.

        Args:
            source: The input, which is read again for the columns.
            checksums: The checksum of each row, from the first reading.

        Raises:
            InputError: There is no column of a name that the settings have.
            ConfigError: The answer has a column of the same name as the input, or two columns of the same name.
        """

    async def write(self, scratch: ScratchFile, statuses: RowStatusTable) -> None:
        """Write the output. An older output is replaced as a whole.

        Raises:
            InputError: The input has changed.
            ScratchError: The output cannot be written.
        """
        ...

    async def write_shard(
        self, path: Path, rows: range, scratch: ScratchFile, statuses: RowStatusTable, *, is_end: bool
    ) -> int:
        """Write the answers to successive rows to another file, in the format of the output.

        Args:
            is_end: The run has ended: write it whatever that costs.

        Returns:
            0 if it is written. Otherwise it would take too long now: call it again when so many rows of the input have
            their outcome.

        Raises:
            InputError: The input has changed.
            ScratchError: The file cannot be written.
        """
        ...

    async def aclose(self) -> None:
        """Close the input."""


class PlainOutput(OutputWriter):
    """Conversations in JSONL, as they are in the scratch file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, scratch: ScratchFile, statuses: RowStatusTable) -> None:
        await scratch.assemble(self._path, statuses.spans())

    async def write_shard(
        self, path: Path, rows: range, scratch: ScratchFile, statuses: RowStatusTable, *, is_end: bool
    ) -> int:
        await scratch.assemble(path, statuses.spans(rows.start, rows.stop))
        return 0


class CompressedOutput(OutputWriter):
    """Conversations in compressed JSONL."""

    def __init__(self, path: Path, layout: OutputLayout) -> None:
        self._path, self._layout = path, layout

    async def write(self, scratch: ScratchFile, statuses: RowStatusTable) -> None:
        await in_slices(self._write(self._path, scratch, statuses.spans()))

    async def write_shard(
        self, path: Path, rows: range, scratch: ScratchFile, statuses: RowStatusTable, *, is_end: bool
    ) -> int:
        await in_slices(self._write(path, scratch, statuses.spans(rows.start, rows.stop)))
        return 0

    def _write(self, path: Path, scratch: ScratchFile, spans: Iterable[tuple[int, int]]) -> Generator[None]:
        with (
            as_scratch_error(path, "cannot be written"),
            replacing(path) as file,
            compressing(file, self._layout.compression) as stream,
        ):
            for count, text in enumerate(scratch.texts(spans)):
                stream.write(text + b"\n")
                if count % _EVERY == 0:
                    yield
