"""Merges answers into a JSONL output of rows."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

from pydantic_core import from_json

from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.data.compression import Compression
from asyncinfer.data.json_values import json_text
from asyncinfer.dialects.fields import as_object
from asyncinfer.run.retry.failed_input_rows import FailedInputRows, observe_answers
from asyncinfer.run.retry.failed_row_index import FailedRowIndex
from asyncinfer.run.retry.output_lines import OutputLines
from asyncinfer.run.retry.output_merge import ReadAnswers

_EVERY = 64  # lines


class JsonRowsMerge:
    """A JSONL file of rows, which may be compressed. Its lines stay as they are."""

    def __init__(self, path: Path, compression: Compression, input_rows: FailedInputRows) -> None:
        self._lines, self._input = OutputLines(path, compression), input_rows

    def prepare(self, failed: FailedRowIndex) -> Generator[None]:
        yield from self._input.prepare(failed)
        if columns := (yield from self._columns()):
            self._input.check_columns(self._lines.path, columns, is_json=True)

    def row_count(self) -> Generator[None, None, int]:
        return (yield from self._lines.count())

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        columns = self._input.new_columns()
        yield from observe_answers(answers, columns)
        with closing(self._texts(answers, columns)) as new:
            yield from self._lines.merge(target, new)

    def keys(self) -> Generator[None, None, bytearray]:
        return (yield from self._input.keys())

    def _columns(self) -> Generator[None, None, list[str]]:
        """Return the keys of all lines."""
        found = dict[str, None]()
        with closing(self._lines.read()) as lines:
            for count, line in enumerate(lines):
                with suppress(ValueError):
                    found.update(dict.fromkeys(as_object(from_json(line))))
                if count % _EVERY == 0:
                    yield
        return [*found]

    def _texts(self, answers: ReadAnswers, columns: AnswerColumns) -> Generator[tuple[int, bytes] | None]:
        """Yield the row of each answer as a line, with the number of old lines before it; None as `values` does."""
        with closing(self._input.values(answers, columns)) as rows:
            for row in rows:
                yield (row[0], json_text(row[1]) + b"\n") if row is not None else None
