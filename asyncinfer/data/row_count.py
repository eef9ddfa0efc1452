"""Counts the rows of an output."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from asyncinfer.config import OutputFormat
from asyncinfer.data.arrow_table import ParquetTable
from asyncinfer.data.csv_table import CsvTable
from asyncinfer.data.json_table import numbered_lines
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.stored_file import StoredFile

_EVERY = 64  # rows


def count_rows(path: Path, layout: OutputLayout) -> Generator[None, None, int]:
    """Count the rows or conversations of an output. Blocks; yields every 64 rows. Only the text of CSV is parsed.

    Args:
        layout: How the file was written.

    Returns:
        The number of rows.

    Raises:
        InputError: The file cannot be read, or is not of this layout.
        MissingDependencyError: The package that reads the format is not installed.
    """
    file = StoredFile(str(path), layout.for_reading)
    yield from file.prepare()
    if layout.format is OutputFormat.PARQUET:
        return ParquetTable(file).row_count()
    count = 0
    with closing(_rows(file, path, layout)) as rows:
        for count, _ in enumerate(rows, 1):
            if count % _EVERY == 0:
                yield
    return count


def _rows(file: StoredFile, path: Path, layout: OutputLayout) -> Generator[object]:
    if layout.format is OutputFormat.CSV:
        return CsvTable(file, layout.compression, layout.delimiter, is_sure=True).rows()
    return numbered_lines(path, layout.compression, file.name)
