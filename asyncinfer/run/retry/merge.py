"""Merges the answers to failed rows into the output of their run.

The output and the file of failed rows change together: both are first written under other names. If the process is
killed between the two replacements, the next retry completes them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asyncinfer.dialects.fields import object_at
from asyncinfer.errors import ConfigError, InputError, ScratchError
from asyncinfer.run.failures import failed_line, identity_fields, position_fields
from asyncinfer.run.retry.failed_row_index import FailedRow, FailedRowIndex
from asyncinfer.run.retry.files import RetryFiles, indexed_lines
from asyncinfer.run.retry.outcomes import RetryOutcomes
from asyncinfer.run.retry.output_merge import OutputMerge
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.finished import ROW_KEY
from asyncinfer.scratch.indexed_lines import IndexedLines
from asyncinfer.scratch.keys import parse_row_key, row_key_text
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.lines import bounded_lines
from asyncinfer.types.paths import open_regular, os_error_text

_EVERY = 64  # rows


class RetryMerge:
    """Merges the answers of one retry. All methods block.

    Args:
        path: The output of the run.
        output: Merges answers into it.
        with_checksums: Whether each failed row must have the checksum of its row of the input.

    Attributes:
        files: The files of the retry.
        left: After `match`: how many failed rows still have no answer.
    """

    def __init__(self, path: Path, output: OutputMerge, *, with_checksums: bool) -> None:
        self.files, self._output = RetryFiles(path), output
        self._failed = FailedRowIndex(self.files.failures, with_checksums=with_checksums)
        self._outcomes = RetryOutcomes()
        self.left = 0

    def prepare(self) -> Generator[None]:
        """Complete an interrupted merge, then read the file of failed rows. Yields every 64 rows.

        Raises:
            ConfigError: There are no failed rows, or the output is not that of their run.
            InputError: Failed rows do not say where their answers belong, or rows of the input have changed.
            ScratchError: A file cannot be read or written.
        """
        failures = self.files.failures
        try:
            self.files.complete()
            if not failures.exists():
                raise ConfigError(f"retry_failures: there is no file {failures} with failed rows")
            yield from self._failed.read()
            yield from self._check_count()
            yield from self._output.prepare(self._failed)
        except OSError as error:
            raise ScratchError(f"{failures}: the failed rows cannot be tried: {os_error_text(error)}") from error

    def row_of(self, line: int) -> int:
        """Return the input row of a line of the file of failed rows."""
        return self._failed[line].row

    def _check_count(self) -> Generator[None]:
        count = yield from self._output.row_count()
        if len(self._failed) and count != self._failed.output_rows:
            raise ConfigError(
                f"retry_failures: {self.files.output} has {count} rows, but the run that wrote "
                f"{self.files.failures.name} had {self._failed.output_rows} answers. Answers can be merged only into "
                "the output of that run. Run the same again without retry_failures: that also tries the failed rows "
                "again"
            )

    def match(self, tried: int) -> Generator[None]:
        """Find the outcome of each row. Yields every 64 rows.

        Args:
            tried: How many lines of the file of failed rows were retried, from the first.

        Raises:
            InputError: The outcomes do not belong to the file of failed rows, because that has changed.
        """
        yield from self._outcomes.read(self.files, tried)
        if len(self._failed) < tried:
            raise InputError(f"{self.files.failures} has changed since its rows were sent; see {self.files.answers}")
        self.left = len(self._failed) - self._outcomes.answered

    def answered_rows(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield the key and the occurrence of each answered row, and its conversation as JSON.

        Raises:
            OSError: A file cannot be read.
        """
        with ExitStack() as stack:
            answers = _lines(stack, self.files.answers)
            for line in self._outcomes.answered_lines():
                answered = _with_original_row_key(next(answers), self._failed[line])
                if (identity := parse_row_key(answered.metadata.get(ROW_KEY))) is not None:
                    yield *identity, answered.to_json_bytes()

    def output_keys(self) -> Generator[None, None, bytearray]:
        """Return the keys of the rows of the output, end to end; maybe also those of rows that it does not have.

        After `merge`. Yields every 64 rows. The keys of corrected rows may be missing.

        Raises:
            InputError: A file cannot be read.
        """
        return (yield from self._output.keys())

    def merge(self) -> Generator[None]:
        """Insert each answer into the output, and keep the rows that have none. Yields at least every 64 rows.

        Raises:
            InputError: Rows of the input have changed, or it cannot be read.
            ScratchError: A file cannot be read or written.
        """
        try:
            yield from self._merge()
            self.files.replace()
        except OSError as error:
            raise ScratchError(
                f"{self.files.output}: the answers in {self.files.answers} cannot be merged: {os_error_text(error)}. "
                "Run the same command again."
            ) from error

    def _merge(self) -> Generator[None]:
        with ExitStack() as stack:
            lines = yield from indexed_lines(stack, self.files.failures)
            answers = yield from indexed_lines(stack, self.files.answers)
            failed_again = yield from indexed_lines(stack, self.files.failed_again)
            yield from self._output.merge(self.files.new_output, lambda: self._answers(answers))
            # Write the failures last: their file marks that the output is complete.
            file = stack.enter_context(replacing(self.files.new_failures))
            merged = 0
            for count, line in enumerate(self._failed.in_input_order()):
                if self._outcomes.answer_line(line) is not None:
                    merged += 1
                else:
                    failed = self._failed[line]
                    failed = failed._replace(
                        position=failed.position + merged, output_rows=failed.output_rows + self._outcomes.answered
                    )
                    again = self._outcomes.failure_line(line)
                    file.write(_moved_failure(lines[line] if again is None else failed_again[again], failed))
                if count % _EVERY == 0:
                    yield

    def _answers(self, answers: IndexedLines | tuple[()]) -> Generator[tuple[FailedRow, Conversation]]:
        """Yield the answers in the order of the input."""
        for line in self._failed.in_input_order():
            if (answer_line := self._outcomes.answer_line(line)) is not None:
                failed = self._failed[line]
                yield failed, _with_original_row_key(answers[answer_line], failed)


def _lines(stack: ExitStack, path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; none if it does not exist."""
    try:
        return bounded_lines(stack.enter_context(open_regular(path)))
    except FileNotFoundError:
        return iter(())


def _moved_failure(line: bytes, failed: FailedRow) -> bytes:
    """Return the line of a failed row, with the position that its answer has in the new output."""
    conversation = Conversation.from_json(line)
    row_key = row_key_text(*failed.identity) if failed.identity is not None else None
    fields = {
        **position_fields(failed.position, failed.output_rows, failed.input_rows),
        **identity_fields(row_key, failed.checksum),
    }
    return failed_line(conversation, {**object_at(conversation.metadata, FAILURE), "row": failed.row, **fields})


def _with_original_row_key(line: bytes, failed: FailedRow) -> Conversation:
    """Return an answered row of the retry. In the retry, it may have been another occurrence of its key."""
    answered = Conversation.from_json(line)
    present, original = answered.metadata.get(ROW_KEY), failed.identity
    identity = parse_row_key(present)
    if original is None or identity is None or identity == original or identity[0] != original[0]:
        return answered
    name = row_key_text(*original)
    changes: dict[str, Any] = {"metadata": {**answered.metadata, ROW_KEY: name}}
    if answered.conversation_id == present:  # The row has no id in the input.
        changes["conversation_id"] = name
    return answered.model_copy(update=changes)
