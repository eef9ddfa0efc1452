"""JSONL files: each line is an object, whose keys are the columns."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json

from asyncinfer.data.compression import READ_ERRORS, Compression, read_error_text
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.data.table import TableRow
from asyncinfer.data.text_file import opened_text
from asyncinfer.errors import InputError
from asyncinfer.types import lines


class JsonTable:
    """A JSONL file. Blank lines are ignored."""

    def __init__(self, file: StoredFile, compression: Compression) -> None:
        self._file, self._compression = file, compression
        self.name = file.name

    @property
    def path(self) -> Path | None:
        return self._file.path

    def prepare(self) -> Generator[None]:
        yield from self._file.prepare()

    def column_names(self) -> None:
        return None

    def arrow_schema(self) -> None:
        return None

    def rows(self) -> Generator[TableRow]:
        for number, text in numbered_lines(self._file.local, self._compression, self.name):
            yield TableRow(number, text if isinstance(text, InputError) else _values(text))

    def close(self) -> None:
        self._file.close()


def numbered_lines(path: Path, compression: Compression, name: str) -> Generator[tuple[int, bytes | InputError]]:
    """The lines of a JSONL file that are not blank, with their numbers from 1. A line that is too long is an error.

    Raises:
        InputError: The file cannot be read.
    """
    number = 0
    with opened_text(path, compression, name) as file:
        try:
            for number, text in enumerate(lines.bounded_lines(file), 1):
                if lines.is_cut(text):
                    lines.skip_line(file)
                    yield number, InputError(f"the line is longer than {lines.MAX_LINE >> 20} MiB")
                elif not text.isspace():
                    yield number, text
        except READ_ERRORS as error:
            after = f"after line {number}: " if number else "cannot be read: "
            raise InputError(f"{name}: {after}{read_error_text(error)}") from error


def _values(text: bytes) -> dict[str, Any] | InputError:
    try:
        values: object = from_json(text)
    except ValueError as error:
        return InputError(f"not valid JSON: {error}")
    if not isinstance(values, dict):
        return InputError(f"should be a JSON object (found {type(values).__name__})")
    return cast(dict[str, Any], values)
