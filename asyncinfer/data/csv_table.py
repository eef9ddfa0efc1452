"""CSV files. Every value is a text; the first line has the names of the columns."""

from __future__ import annotations

import csv
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncinfer.data.compression import READ_ERRORS, Compression, read_error_text
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.data.table import TableRow
from asyncinfer.data.text_file import opened_text
from asyncinfer.errors import InputError
from asyncinfer.types.lines import MAX_LINE, bounded_lines, is_cut

# What is often between two values.
_DELIMITERS = {";": "';'", "\t": "a tab", "|": "'|'", ",": "','"}


class CsvTable:
    """A CSV file, as RFC 4180 describes it. Values may have line breaks and quotes. Blank lines are ignored.

    Args:
        is_sure: The user has chosen the delimiter. Otherwise, a header with another delimiter is an error.
    """

    def __init__(self, file: StoredFile, compression: Compression, delimiter: str, *, is_sure: bool = False) -> None:
        self._file, self._compression, self._delimiter, self._is_sure = file, compression, delimiter, is_sure
        self.name = file.name

    @property
    def path(self) -> Path | None:
        return self._file.path

    def prepare(self) -> Generator[None]:
        yield from self._file.prepare()

    def column_names(self) -> tuple[str, ...] | None:
        with _long_fields(), self._opened() as lines:
            return self._header(csv.reader(lines, delimiter=self._delimiter, strict=True), lines)

    def arrow_schema(self) -> None:
        return None

    def rows(self) -> Generator[TableRow]:
        with _long_fields(), self._opened() as lines:
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            header = self._header(reader, lines)
            start = lines.number + 1
            while (fields := self._next(reader, lines, start)) is not None:
                if fields:
                    yield TableRow(start, _values(header, fields))
                start = lines.number + 1

    def close(self) -> None:
        self._file.close()

    def _header(self, reader: Iterator[list[str]], lines: _Lines) -> tuple[str, ...]:
        names: list[str] = []
        while not names:
            found = self._next(reader, lines, lines.number + 1)
            if found is None:
                raise InputError(f"{self.name}: is empty; the first line should have the names of the columns")
            names = found
        if len(names) == 1 and not self._is_sure:
            self._check_delimiter(names[0])
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{self.name}: line 1: the column {repeated[0]!r} occurs twice; give each its own name")
        return tuple(names)

    def _check_delimiter(self, header: str) -> None:
        """Raise an InputError if the only name in the header consists of several, with another delimiter."""
        for other, shown in _DELIMITERS.items():
            if other in header and other != self._delimiter:
                chosen = _DELIMITERS[self._delimiter]
                raise InputError(
                    f"{self.name}: line 1: has only one column, {header!r:.80}. If values are separated by {shown}, "
                    f"set input.delimiter to it; otherwise set it to {chosen}"
                )

    def _next(self, reader: Iterator[list[str]], lines: _Lines, start: int) -> list[str] | None:
        """The fields of the next row, which begins in the line `start`; None at the end."""
        try:
            return next(reader, None)
        except csv.Error as error:
            what = "a quoted value is not closed" if lines.at_end else _error_text(error)
            raise InputError(f"{self.name}: line {start}: not valid CSV: {what}") from None
        except UnicodeDecodeError:
            raise InputError(f"{self.name}: line {lines.number}: not UTF-8 text; save the file as UTF-8") from None
        except READ_ERRORS as error:
            raise InputError(f"{self.name}: after line {lines.number}: {read_error_text(error)}") from None

    @contextmanager
    def _opened(self) -> Generator[_Lines]:
        with opened_text(self._file.local, self._compression, self.name) as file:
            yield _Lines(file, self.name)


class _Lines:
    """The lines of a file as text.

    Attributes:
        number: The number of the line that was read last, from 1.
        at_end: Whether all lines were read.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.number, self.at_end = 0, False
        self._lines = bounded_lines(file)
        self._name = name

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            if is_cut(line):
                raise InputError(f"{self._name}: line {self.number}: is longer than {MAX_LINE >> 20} MiB")
            yield line.decode()
        self.at_end = True


def _error_text(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a line break inside an unquoted value; save the file with line breaks of Unix or Windows"
    return str(error)


def _values(header: tuple[str, ...], fields: list[str]) -> dict[str, str] | InputError:
    if len(fields) != len(header):
        return InputError(f"has {len(fields)} values, but the file has {len(header)} columns")
    return dict(zip(header, fields, strict=True))


_limit = threading.Lock()
_readers = 0
_previous = 0


@contextmanager
def _long_fields() -> Generator[None]:
    """Let Python's CSV reader accept values of more than 128 KiB. This limit belongs to the whole process.

    The previous limit is restored when no file is read any more.
    """
    global _readers, _previous
    with _limit:
        _readers += 1
        if _readers == 1:
            _previous = csv.field_size_limit()
            csv.field_size_limit(max(_previous, MAX_LINE))
    try:
        yield
    finally:
        with _limit:
            _readers -= 1
            if not _readers:
                csv.field_size_limit(_previous)
