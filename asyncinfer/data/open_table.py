"""Finds the table that a path or an object stands for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable
from importlib import import_module
from typing import Any, cast

from asyncinfer.config import InputFormat, InputParams
from asyncinfer.data.arrow_table import ArrowFileTable, MemoryTable, ParquetTable, pyarrow
from asyncinfer.data.csv_table import CsvTable
from asyncinfer.data.dict_table import DictTable
from asyncinfer.data.hub_table import DatasetTable, HubTable
from asyncinfer.data.json_table import JsonTable
from asyncinfer.data.layout import input_layout, is_url
from asyncinfer.data.parts_table import PartsTable, matching_files
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.data.table import Table
from asyncinfer.errors import InputError, error_text
from asyncinfer.types.paths import expanded, is_folder


def table_at(path: str, params: InputParams) -> Table:
    """The table in a file, in all files that match a pattern, behind a URL, in a folder, or of a name on the Hugging
    Face hub.

    Raises:
        InputError: No file matches the pattern.
        ConfigError: The settings contradict the path.
    """
    if (files := matching_files(path)) is not None:
        return PartsTable(path, [_table_at(file, params) for file in files])
    return _table_at(path, params)


def _table_at(path: str, params: InputParams) -> Table:
    layout = input_layout(path, params)
    is_dataset = params.format is None and not is_url(path) and is_folder(expanded(path, "input_path"))
    if is_dataset or layout.format is InputFormat.DATASETS:
        return HubTable(path, params.split, params.subset)
    file = StoredFile(path, layout)
    match layout.format:
        case InputFormat.CSV:
            return CsvTable(file, layout.compression, layout.delimiter, is_sure=params.delimiter is not None)
        case InputFormat.PARQUET:
            return ParquetTable(file)
        case InputFormat.ARROW:
            return ArrowFileTable(file)
        case _:
            return JsonTable(file, layout.compression)


def table_of(data: object, params: InputParams | None = None) -> Table:
    """The table that `data` is: a path or URL, a data frame, an Arrow table, a data set, or an iterable of dicts.

    Args:
        params: How a file is read.

    Raises:
        InputError: It is none of these.
        ConfigError: The path cannot be used.
        MissingDependencyError: pyarrow, which reads data frames, is not installed.
    """
    if isinstance(data, str | os.PathLike):
        return table_at(os.fspath(cast(os.PathLike[str], data)), params or InputParams())
    frame: Any = data
    library, kind = type(data).__module__.partition(".")[0], type(data).__name__
    match library, kind:
        case "pandas", "DataFrame":
            return _from_pandas(frame)
        case "polars", "DataFrame":
            pyarrow()
            if odd := [name for name, kind in frame.schema.items() if str(kind) == "Object"]:
                raise InputError(f"the column {odd[0]!r} of the data frame has Python objects; convert it to a type")
            return MemoryTable(_converted(_without_wide_integers(frame), lambda frame: frame.to_arrow()))
        case "polars", "LazyFrame":
            return table_of(frame.collect())
        case "pyarrow", "Table":
            return MemoryTable(frame)
        case "pyarrow", "RecordBatch":
            return MemoryTable(pyarrow().Table.from_batches([frame]))
        case "pyarrow", "RecordBatchReader":
            return MemoryTable(frame.read_all())
        case "datasets", "Dataset":
            return DatasetTable(frame)
        case "datasets", "DatasetDict":
            raise InputError(f"data has several splits; pass one of them, such as data[{next(iter(frame))!r}]")
        case _ if isinstance(data, AsyncIterable):
            raise InputError(
                "data is an async iterable: pass it to ainfer_iter, with a config whose input has the prompt"
            )
        case _ if isinstance(data, Iterable) and not isinstance(data, bytes | dict):
            return DictTable(cast(Iterable[object], data))
        case _:
            raise InputError(f"data should be a path, a data frame or an iterable of dicts (found {kind})")


def _from_pandas(frame: Any) -> Table:
    """The rows of a pandas frame. Missing values (NaN, NaT, NA) are nulls."""
    arrow = pyarrow()
    return MemoryTable(_converted(frame, lambda frame: arrow.Table.from_pandas(frame, preserve_index=False)))


def _without_wide_integers(frame: Any) -> Any:
    """The polars frame with text for integers of 128 bits, for which Arrow has no type."""
    polars = import_module("polars")
    wide = [name for name, kind in frame.schema.items() if str(kind) in ("Int128", "UInt128")]
    return frame.cast(dict.fromkeys(wide, polars.String)) if wide else frame


def _converted(frame: Any, convert: Callable[[Any], Any]) -> Any:
    """The Arrow table of a data frame.

    Raises:
        InputError: A column has no type of Arrow, for instance one with texts and numbers.
    """
    try:
        return convert(frame)
    except Exception as error:
        reason, where = error, "the data frame"
    for name in frame.columns:
        try:
            convert(frame[[name]])
        except Exception as error:
            reason, where = error, f"the column {name!r} of the data frame"
            break
    raise InputError(f"{where} cannot be converted to Arrow: {error_text(reason)}; convert it to texts") from None
