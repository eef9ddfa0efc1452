"""The lines of an output in JSONL, which may be compressed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from asyncinfer.data.compression import READ_ERRORS, Compression, compressing, open_compressed, read_error_text
from asyncinfer.errors import InputError
from asyncinfer.run.retry.output_merge import insert_at
from asyncinfer.scratch.atomic import replacing
from asyncinfer.types.lines import bounded_lines

_EVERY = 64  # lines


class OutputLines:
    """The lines of an output. All methods block; generators yield at least every 64 lines."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self.path, self._compression = path, compression

    def count(self) -> Generator[None, None, int]:
        """Return how many lines there are; 0 if there is no file. Raises an InputError if it cannot be read."""
        count = 0
        with closing(self.read()) as lines:
            for count, _ in enumerate(lines, 1):
                if count % _EVERY == 0:
                    yield
        return count

    def read(self) -> Generator[bytes]:
        """Yield each line, with a line break at its end; none if there is no file.

        Raises:
            InputError: The file cannot be read.
        """
        try:
            file = open_compressed(self.path, self._compression)
        except FileNotFoundError:
            return
        with file:
            try:
                for line in bounded_lines(file):
                    yield line if line.endswith(b"\n") else line + b"\n"
            except READ_ERRORS as error:
                raise InputError(f"{self.path}: cannot be read: {read_error_text(error)}") from error

    def merge(self, target: Path, new: Iterator[tuple[int, bytes] | None]) -> Generator[None]:
        """Write these lines and new ones to another file.

        Args:
            new: As that of `insert_at`.

        Raises:
            InputError: The file cannot be read.
            OSError: The other file cannot be written.
        """
        with ExitStack() as stack:
            old = stack.enter_context(closing(self.read()))
            file = stack.enter_context(compressing(stack.enter_context(replacing(target)), self._compression))
            for count, line in enumerate(insert_at(old, new)):
                if line is not None:
                    file.write(line)
                if line is None or count % _EVERY == 0:
                    yield
