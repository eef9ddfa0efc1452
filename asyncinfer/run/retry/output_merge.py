"""What each kind of output must do so that answers to failed rows can be merged into it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from asyncinfer.run.retry.failed_row_index import FailedRow, FailedRowIndex
from asyncinfer.types.conversation import Conversation

T = TypeVar("T")
# Reads the answers, in the order of the input. Each call reads them again.
ReadAnswers = Callable[[], Generator[tuple[FailedRow, Conversation]]]


class OutputMerge(Protocol):
    """Merges answers into the output of a run. All methods block; generators yield at least every 64 rows."""

    def prepare(self, failed: FailedRowIndex) -> Generator[None]:
        """Check that answers to these rows can be merged, before anything is sent.

        Raises:
            ConfigError: The output has other columns than the settings ask for.
            InputError: Rows of the input are not those that failed, or a file cannot be read.
        """
        ...

    def row_count(self) -> Generator[None, None, int]:
        """Return how many rows the output has; 0 if there is no file. Raises an InputError if it cannot be read."""
        ...

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        """Write the output with the answers to another file.

        Raises:
            InputError: A file has changed, or cannot be read.
            OSError: The file cannot be written.
        """
        ...

    def keys(self) -> Generator[None, None, bytearray]:
        """Return the keys of the rows of the output, end to end; maybe also those of rows that it does not have.

        Raises:
            InputError: A file cannot be read.
        """
        ...


def insert_at(old: Iterator[T], new: Iterator[tuple[int, T] | None]) -> Generator[T | None]:
    """Insert the new rows among the old ones.

    Args:
        new: Rows, each with the number of old rows before it, in order. None: the next row is not found yet.

    Yields:
        The rows, and None for each None of `new`.
    """
    copied = 0
    for found in new:
        if found is None:
            yield None
            continue
        position, row = found
        yield from islice(old, position - copied)
        copied = position
        yield row
    yield from old
