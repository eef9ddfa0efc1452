"""Writes an output of rows: the columns of the input, and those of the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.data.answer_columns import AnswerColumns, AnswerSchema
from asyncinfer.data.column_types import KeptColumns
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_writer import row_writer
from asyncinfer.errors import ConfigError
from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.items import InputItem
from asyncinfer.run.kept_columns import columns_of
from asyncinfer.run.output_writer import OutputWriter
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.shard_input import ShardInput
from asyncinfer.run.sources import Source
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.file import ScratchFile, as_scratch_error
from asyncinfer.types.conversation import Conversation

_EVERY = 64  # rows


class RowOutput(OutputWriter):
    """Writes the columns of the input and the answers, in the order of the input.

    Args:
        keep: The columns of the input that the output has; None: all.
        schema: What the answers are; None if they are text.

    Raises:
        ConfigError: A property of the answers has the name of another column of the answer.
    """

    def __init__(
        self, path: Path, layout: OutputLayout, keep: Sequence[str] | None, schema: AnswerSchema | None
    ) -> None:
        self._path, self._layout, self._keep, self._schema = path, layout, keep, schema
        try:
            self._answers = self._new_answers()
        except ConfigError as error:
            raise ConfigError(f"{error}, or write conversations, to an output_path that ends in .jsonl") from None
        self._columns = KeptColumns((), None, {})
        self._input: tuple[Source, Sequence[int]] | None = None
        self._shard_input: ShardInput | None = None

    async def prepare(self, source: Source, checksums: Sequence[int]) -> None:
        self._input = source, checksums
        self._shard_input = ShardInput(source, checksums)
        await in_slices(self._find_columns(source))

    async def write(self, scratch: ScratchFile, statuses: RowStatusTable) -> None:
        await in_slices(self._write_output(scratch, statuses))

    async def write_shard(
        self, path: Path, rows: range, scratch: ScratchFile, statuses: RowStatusTable, *, is_end: bool
    ) -> int:
        """Write a shard. All shards have the same columns: later answers are unknown, so each has all optional ones."""
        assert self._shard_input is not None, "prepare comes first"
        if self._shard_input.is_late(rows) and not is_end:
            needed = self._shard_input.rows_needed(rows)
            if needed > statuses.done_count(0, len(statuses)):
                return needed
        cursor = self._shard_input.cursor(rows)
        await in_slices(self._write_shard(path, cursor, rows, scratch, statuses))
        return 0

    async def aclose(self) -> None:
        if self._shard_input is not None:
            await DISK.run(self._shard_input.close)

    def _new_answers(self) -> AnswerColumns:
        return AnswerColumns(self._schema, has_types=self._layout.has_schema)

    def _find_columns(self, source: Source) -> Generator[None]:
        self._columns = yield from columns_of(source, self._keep, self._answers)

    def _write_output(self, scratch: ScratchFile, statuses: RowStatusTable) -> Generator[None]:
        """Write the answered rows. Blocks; yields every 64 rows."""
        assert self._input is not None, "prepare comes first"
        source, checksums = self._input
        answers = self._answers
        for count, text in enumerate(scratch.texts(statuses.spans())):
            answers.observe(Conversation.from_json(text))
            if count % _EVERY == 0:
                yield
        not_written = f", so the output is not written. The answers are saved in {scratch.path}"
        with closing(InputCursor(source, checksums, not_written)) as cursor:
            yield from self._write_rows(self._path, answers, cursor.take(len(checksums)), scratch, statuses)

    def _write_shard(
        self, path: Path, cursor: InputCursor, rows: range, scratch: ScratchFile, statuses: RowStatusTable
    ) -> Generator[None]:
        answers = self._new_answers()
        answers.reserve(self._columns.names)
        answers.require_all()
        yield from cursor.go_to(rows.start)
        yield from self._write_rows(path, answers, cursor.take(len(rows)), scratch, statuses)

    def _write_rows(
        self,
        path: Path,
        answers: AnswerColumns,
        items: Iterable[tuple[int, InputItem]],
        scratch: ScratchFile,
        statuses: RowStatusTable,
    ) -> Generator[None]:
        names = [*self._columns.names, *answers.kinds]
        fields = [*self._columns.arrow_fields(), *answers.arrow_fields()] if self._layout.has_schema else []
        with (
            as_scratch_error(path, "cannot be written"),
            replacing(path) as file,
            row_writer(file, self._layout, names, fields) as writer,
        ):
            for count, (values, conversation) in enumerate(_answered(items, scratch, statuses)):
                writer.write(self._columns.pick(values) | answers.values(conversation))
                if count % _EVERY == 0:
                    yield


def _answered(
    items: Iterable[tuple[int, InputItem]], scratch: ScratchFile, statuses: RowStatusTable
) -> Iterator[tuple[Mapping[str, Any], Conversation]]:
    """The values and the finished conversation of each of these rows that is answered."""
    waiting = deque[InputItem]()

    def spans() -> Iterator[tuple[int, int]]:
        # Lazy: while this file is written, the run may discard a saved answer.
        for row, item in items:
            if statuses.is_fresh(row):
                waiting.append(item)
                yield statuses.span(row)

    for text in scratch.texts(spans()):
        yield waiting.popleft().values(), Conversation.from_json(text)
