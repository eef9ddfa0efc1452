"""Merges the answers to rows that had failed into the output of their run.

The output and the file of failed rows change together: both are first written under other names. If the process is
killed between the two replacements, the next call completes them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from asyncinfer.errors import ConfigError, InputError, ScratchError
from asyncinfer.run.failures import failures_path
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import replacing
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.lines import bounded_lines
from asyncinfer.types.paths import open_regular, os_error_text

_EVERY = 64  # rows


class RetriedRows:
    """The files of one retry of the failed rows of `output`.

    Attributes:
        failures: The failed rows, which are the input of the retry.
        answers: The output of the retry.
        merged: How many answers were merged.
        left: How many rows of the input have no answer after the merge.
    """

    def __init__(self, output: Path) -> None:
        self.output, self.failures = output, failures_path(output)
        self.answers = output.with_name(f"{output.name}.retry.jsonl")
        self._new_output = output.with_name(f"{output.name}.retry.merged")
        self._new_failures = output.with_name(f"{output.name}.retry.failed")
        self.merged = self.left = 0

    def prepare(self) -> None:
        """Complete a merge that was interrupted, and check that there are failed rows. Blocks.

        Raises:
            ConfigError: There are none.
        """
        if self._new_failures.exists():
            self._commit()
        disk.remove(self._new_output)
        if not self.failures.exists():
            raise ConfigError(f"retry_failures: {self.failures} does not exist, so no row of {self.output} has failed")

    def merge(self, tried: int) -> Generator[None]:
        """Put each answer at the place of its row, and keep the rows that have none. Blocks; yields every 64 rows.

        Args:
            tried: How many rows the retry had.

        Raises:
            ScratchError: A file cannot be read or written.
        """
        try:
            yield from self._merge(tried)
            self._commit()
        except OSError as error:
            raise ScratchError(
                f"{self.output}: the answers in {self.answers} cannot be merged: {os_error_text(error)}. Run the same "
                "command again."
            ) from error

    def _merge(self, tried: int) -> Generator[None]:
        failed_again = dict(self._rows(failures_path(self.answers)))
        with ExitStack() as stack:
            old = _lines(stack, self.output)
            answers = _lines(stack, self.answers)
            output = stack.enter_context(replacing(self._new_output))
            failures = stack.enter_context(replacing(self._new_failures))
            place = 0
            for number, (row, line) in enumerate(self._rows(self.failures)):
                while row is not None and place < row and (kept := next(old, None)) is not None:
                    output.write(kept)
                    place += 1
                if number in failed_again or number >= tried:
                    self.left += 1
                    failures.write(_with_row(failed_again.get(number, line), row))
                elif (answer := next(answers, None)) is not None:
                    self.merged += 1
                    output.write(answer)
                else:
                    raise InputError(f"{self.failures} has changed since its rows were sent; see {self.answers}")
                place += 1
                if number % _EVERY == 0:
                    yield
            yield from _copy(old, output)

    def _commit(self) -> None:
        """Replace the output and the failed rows, and remove the files of the retry."""
        if self._new_output.exists():
            disk.replace(self._new_output, self.output)
        if self._new_failures.stat().st_size:
            disk.replace(self._new_failures, self.failures)
        else:
            disk.remove(self.failures)
            disk.remove(self._new_failures)
        disk.sync_folder(self.output.parent)
        for path in (self.answers, failures_path(self.answers)):
            disk.remove(path)

    def _rows(self, path: Path) -> Iterator[tuple[int | None, bytes]]:
        """The lines of a file of failed rows, each with the place of its row in the input of that run."""
        with ExitStack() as stack:
            for line in _lines(stack, path):
                if not line.isspace():
                    yield _row_of(line), line


def _lines(stack: ExitStack, path: Path) -> Iterator[bytes]:
    """The lines of a file; none if it does not exist."""
    try:
        file = stack.enter_context(open_regular(path))
    except FileNotFoundError:
        return iter(())
    return (line if line.endswith(b"\n") else line + b"\n" for line in bounded_lines(file))


def _copy(lines: Iterator[bytes], file: BinaryIO) -> Generator[None]:
    for count, line in enumerate(lines):
        file.write(line)
        if count % _EVERY == 0:
            yield


def _failure_in(conversation: Conversation) -> dict[str, Any]:
    failure = conversation.metadata.get(FAILURE)
    return cast(dict[str, Any], failure) if isinstance(failure, dict) else {}


def _row_of(line: bytes) -> int | None:
    row = _failure_in(Conversation.from_json(line)).get("row")
    return row if isinstance(row, int) else None


def _with_row(line: bytes, row: int | None) -> bytes:
    """The line of a failed row, with the place that the row has in the input of the first run."""
    conversation = Conversation.from_json(line)
    detail = _failure_in(conversation) | {"row": row}
    metadata = {**conversation.metadata, FAILURE: detail}
    return conversation.model_copy(update={"metadata": metadata}).to_json_bytes() + b"\n"
