"""Helpers for tests of tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from asyncinfer import InputParams, OutputParams
from asyncinfer.data.column_types import ColumnScan, KeptColumns
from asyncinfer.data.layout import output_layout
from asyncinfer.data.open_table import table_at
from asyncinfer.data.row_writer import row_writer
from asyncinfer.data.table import Table
from asyncinfer.errors import InputError

Row = dict[str, Any]


def opened(path: Path | str, **settings: Any) -> Table:
    """The table at a path, ready to be read."""
    table = table_at(str(path), InputParams(**settings))
    for _ in table.prepare():
        pass
    return table


def read(path: Path | str, **settings: Any) -> list[Row]:
    """The rows of a table that are all valid."""
    table = opened(path, **settings)
    try:
        rows: list[Row] = []
        for row in table.rows():
            if isinstance(row.values, InputError):
                raise row.values
            rows.append(dict(row.values))
        return rows
    finally:
        table.close()


def write(path: Path, rows: list[Mapping[str, Any]], schema: pa.Schema | None = None) -> None:
    """Write rows as a run does."""
    scan = ColumnScan()
    for row in rows:
        scan.add(row)
    names = schema.names if schema is not None else scan.names
    columns, layout = KeptColumns(names, schema, scan.kinds), output_layout(str(path), OutputParams(rows=True))
    fields = columns.arrow_fields() if layout.has_schema else []
    with path.open("wb") as file, row_writer(file, layout, columns.names, fields) as writer:
        for row in rows:
            writer.write(row)
