"""Writes the output of a run that is not plain JSONL of conversations: rows, or compressed files."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from asyncinfer.data.answer_columns import AnswerColumns, AnswerSchema
from asyncinfer.data.column_types import ColumnScan, KeptColumns
from asyncinfer.data.compression import compressing
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_writer import row_writer
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.items import InputItem
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.sources import Source
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.file import ScratchFile, as_scratch_error
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.names import no_column

_EVERY = 64  # rows


def write_compressed(
    path: Path, layout: OutputLayout, scratch: ScratchFile, spans: Iterable[tuple[int, int]]
) -> Generator[None]:
    """Write the answered conversations. Blocks; yields every 64 rows.

    Args:
        spans: The offsets and lengths of the conversations in the scratch file, in bytes.

    Raises:
        ScratchError: The file cannot be written.
    """
    with (
        as_scratch_error(path, "cannot be written"),
        replacing(path) as file,
        compressing(file, layout.compression) as stream,
    ):
        for count, text in enumerate(scratch.texts(spans)):
            stream.write(text + b"\n")
            if count % _EVERY == 0:
                yield


class RowOutput:
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

    def _new_answers(self) -> AnswerColumns:
        return AnswerColumns(self._schema, has_types=self._layout.has_schema)

    def prepare(self, source: Source) -> Generator[None]:
        """Find the columns of the output, before anything is sent. Blocks; yields every 64 rows.

        Raises:
            InputError: There is no column of this name.
            ConfigError: The answer has a column of the same name.
        """
        self._columns = yield from columns_of(source, self._keep, self._answers)

    def write(
        self, source: Source, checksums: array[int], scratch: ScratchFile, statuses: RowStatusTable
    ) -> Generator[None]:
        """Write the answered rows. Blocks; yields every 64 rows.

        Args:
            checksums: The checksum of each row, from the first reading.

        Raises:
            InputError: The input has changed.
            ScratchError: The file cannot be written.
        """
        answers = self._answers
        for count, text in enumerate(scratch.texts(statuses.spans())):
            answers.observe(Conversation.from_json(text))
            if count % _EVERY == 0:
                yield
        with closing(InputCursor(source, checksums, not_written(scratch, "output"))) as cursor:
            yield from self._write(self._path, answers, cursor.take(len(checksums)), scratch, statuses)

    def write_part(
        self, path: Path, cursor: InputCursor, rows: range, scratch: ScratchFile, statuses: RowStatusTable
    ) -> Generator[None]:
        """Write the answers to successive rows to another file. Blocks; yields every 64 rows.

        All parts have the same columns, because other answers are not known yet: each has every column that an answer
        may need.

        Raises:
            InputError: The input has changed.
            ScratchError: The file cannot be written.
        """
        answers = self._new_answers()
        answers.reserve(self._columns.names)
        answers.require_all()
        yield from cursor.go_to(rows.start)
        yield from self._write(path, answers, cursor.take(len(rows)), scratch, statuses)

    def _write(
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
                kept = {name: values[name] for name in self._columns.names if name in values}
                writer.write(kept | answers.values(conversation))
                if count % _EVERY == 0:
                    yield


def columns_of(
    source: Source, keep: Sequence[str] | None, answers: AnswerColumns
) -> Generator[None, None, KeptColumns]:
    """Find the columns of the input that an output has. Blocks; yields every 64 rows.

    Args:
        keep: Their names; None: all.
        answers: Gives its optional columns other names.

    Raises:
        InputError: There is no column of this name.
        ConfigError: The answer has a column of the same name.
    """
    names, scan = source.column_names(), ColumnScan()
    if names is None:
        for count, item in enumerate(source.items()):
            scan.add(item.values())
            if count % _EVERY == 0:
                yield
        names = scan.names
    kept = names if keep is None else keep
    if missing := [name for name in kept if name not in names]:
        raise InputError(f"{source.name}: input.keep: {no_column(missing[0], names)}")
    if taken := [name for name in kept if name in answers.reserved]:
        raise ConfigError(
            f"{source.name}: the column {taken[0]!r} has the name of a column of the answer; rename it, or name the "
            "columns of the output in input.keep"
        )
    answers.reserve(kept)
    return KeptColumns(kept, source.arrow_schema(), scan.kinds)


def not_written(scratch: ScratchFile, what: str) -> str:
    """The part of an error about a changed input that says what is not written: the `output`, or a `shard`."""
    return f", so the {what} is not written. The answers are saved in {scratch.path}"


def _answered(
    items: Iterable[tuple[int, InputItem]], scratch: ScratchFile, statuses: RowStatusTable
) -> Iterator[tuple[Mapping[str, Any], Conversation]]:
    """The values and the finished conversation of each of these rows that is answered."""
    waiting = deque[InputItem]()

    def spans() -> Iterator[tuple[int, int]]:
        # One after the other, because the run goes on meanwhile: a saved answer may turn out to be unusable.
        for row, item in items:
            if statuses.is_fresh(row):
                waiting.append(item)
                yield statuses.span(row)

    for text in scratch.texts(spans()):
        yield waiting.popleft().values(), Conversation.from_json(text)
