"""The output of a run into which the answers to rows that had failed are merged: conversations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol, TypeVar

from asyncinfer.data.compression import READ_ERRORS, Compression, compressing, open_compressed, read_error_text
from asyncinfer.errors import InputError
from asyncinfer.run.failed_places import FailedPlaces, Place
from asyncinfer.scratch.atomic import replacing
from asyncinfer.scratch.finished import row_keys_in
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.lines import bounded_lines

_EVERY = 64  # rows

T = TypeVar("T")
# Reads the answers, in the order of the input. Each call reads them again.
ReadAnswers = Callable[[], Generator[tuple[Place, Conversation]]]


class RetriedOutput(Protocol):
    """The output of a run whose failed rows are tried again. All methods block; generators yield often."""

    def prepare(self, places: FailedPlaces) -> Generator[None]:
        """Check that answers to these rows can be merged, before anything is sent.

        Raises:
            ConfigError: The output has other columns, or rows of the input are not those that failed.
            InputError: A file cannot be read.
        """
        ...

    def row_count(self) -> Generator[None, None, int]:
        """Count the rows of the output; none if there is no file. Raises an InputError if it cannot be read."""
        ...

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        """Write the output with the answers at their places to another file.

        Raises:
            InputError: A file has changed, or cannot be read.
            OSError: The file cannot be written.
        """
        ...

    def keys(self) -> Generator[None, None, bytearray]:
        """Return the keys of the rows in the output, end to end; maybe also those of rows that it does not have.

        Raises:
            InputError: A file cannot be read.
        """
        ...


class RetriedLines:
    """An output whose rows are lines: JSONL of conversations, which may be compressed. Other lines stay as they are."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._path, self._compression = path, compression

    def prepare(self, places: FailedPlaces) -> Generator[None]:
        yield

    def row_count(self) -> Generator[None, None, int]:
        count = 0
        with closing(self._lines()) as lines:
            for count, _ in enumerate(lines, 1):
                if count % _EVERY == 0:
                    yield
        return count

    def merge(self, target: Path, answers: ReadAnswers) -> Generator[None]:
        with ExitStack() as stack:
            old = stack.enter_context(closing(self._lines()))
            new = stack.enter_context(closing(self._texts(answers)))
            file = stack.enter_context(compressing(stack.enter_context(replacing(target)), self._compression))
            for count, line in enumerate(in_places(old, new)):
                if line is not None:
                    file.write(line)
                if line is None or count % _EVERY == 0:
                    yield

    def keys(self) -> Generator[None, None, bytearray]:
        found = bytearray()
        with closing(self._lines()) as lines:
            for count, line in enumerate(lines):
                for key, _ in row_keys_in(line):
                    found += key
                if count % _EVERY == 0:
                    yield
        return found

    def _texts(self, answers: ReadAnswers) -> Generator[tuple[int, bytes] | None]:
        """Yield each answer as a line, with the number of old lines before it."""
        with closing(answers()) as found:
            for place, conversation in found:
                yield place.position, conversation.to_json_bytes() + b"\n"

    def _lines(self) -> Generator[bytes]:
        """The lines of the file; none if it does not exist."""
        try:
            file = open_compressed(self._path, self._compression)
        except FileNotFoundError:
            return
        with file:
            try:
                for line in bounded_lines(file):
                    yield line if line.endswith(b"\n") else line + b"\n"
            except READ_ERRORS as error:
                raise InputError(f"{self._path}: cannot be read: {read_error_text(error)}") from error


def in_places(old: Iterator[T], new: Iterator[tuple[int, T] | None]) -> Generator[T | None]:
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
        yield from itertools.islice(old, position - copied)
        copied = position
        yield row
    yield from old
