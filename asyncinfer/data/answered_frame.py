"""Adds the answers to a data frame.

pandas 3.1, polars 2.1, pyarrow 26, datasets 5.2 (November 2026).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, cast

from pydantic import BaseModel

from asyncinfer.data.answer_columns import AnswerColumns, AnswerShape
from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import ColumnScan, Kind, arrow_type
from asyncinfer.data.json_values import as_text
from asyncinfer.data.table import Table
from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult

Answers = Sequence[Conversation] | InferenceResult
_ERROR = "error"
_TYPES = {Kind.BOOLEAN: "boolean", Kind.INTEGER: "integer", Kind.NUMBER: "number"}


class Column(NamedTuple):
    """A new column.

    Args:
        values: Its values, as JSON has them: lists and dicts stay what they are.
        kind: What the values are. `TEXT` also stands for lists, dicts and values of several types.
        is_property: Whether it has a property of typed answers. Other lists and dicts differ from answer to answer.
            They are JSON text in frames that have a type for each column.
    """

    values: list[Any]
    kind: Kind
    is_property: bool = False

    @property
    def is_text(self) -> bool:
        """Whether all values are texts or null."""
        return all(isinstance(value, str | None) for value in self.values)

    def texts(self) -> list[str | None]:
        """The values as text."""
        return [None if value is None else as_text(value) for value in self.values]


def with_answers(data: Any, table: Table, answers: Answers) -> Any:
    """Return `data` with columns for the answers. `table` reads the data.

    Raises:
        InputError: The number of answers is not the number of rows, or a name is taken.
    """
    match type(data).__module__.partition(".")[0], type(data).__name__:
        case "pandas", "DataFrame":
            new = _columns(answers, len(data), data.columns)
            return data.assign(**{name: _pandas_values(column) for name, column in new.items()})
        case "polars", "DataFrame" | "LazyFrame":
            frame = data.lazy().collect()
            new = _columns(answers, len(frame), frame.columns)
            return frame.with_columns([_polars_series(name, column) for name, column in new.items()])
        case "pyarrow", "Table":
            for name, column in _columns(answers, len(data), data.column_names).items():
                data = data.append_column(name, _arrow_values(column))
            return data
        case "datasets", "Dataset":
            for name, column in _columns(answers, len(data), data.column_names).items():
                data = data.add_column(name, _arrow_values(column).to_pylist())
            return data
        case _:
            return _dicts(table, answers)


def _columns(answers: Answers, row_count: int, names: Iterable[object]) -> dict[str, Column]:
    """The new columns for data with so many rows and with columns of these names."""
    if not isinstance(answers, InferenceResult):
        answers = InferenceResult([*enumerate(answers)], {})
    answer_count = len(answers.successful) + len(answers.failures)
    if row_count != answer_count:
        raise InputError(
            f"there are {answer_count} answers for {row_count} rows; pass the result of a call with these rows"
        )
    columns = _answer_columns(answers, [*names])
    rows = {index: columns.values(answer) for index, answer in answers.successful}
    new = {
        name: Column([rows.get(index, {}).get(name) for index in range(row_count)], kind, name in columns.properties)
        for name, kind in columns.kinds.items()
    }
    if answers.failures:
        errors = [answers.error_messages.get(index) for index in range(row_count)]
        new[columns.free_name(_ERROR)] = Column(errors, Kind.TEXT)
    return new


def _answer_columns(answers: InferenceResult, names: Collection[object]) -> AnswerColumns:
    """The columns that these answers need, beside those with these names."""
    schema = _schema([answer.parsed for _, answer in answers.successful])
    columns = AnswerColumns(AnswerShape(schema) if schema is not None else None)
    columns.avoid(names)
    for _, answer in answers.successful:
        columns.look_at(answer)
    if taken := [name for name in columns.kinds if name in names]:
        raise InputError(f"the data have a column {taken[0]!r} already; rename it first")
    return columns


def _schema(parsed: Sequence[Any]) -> dict[str, Any] | None:
    """A JSON schema of parsed answers; None if they are no objects."""
    model = next((value for value in parsed if value is not None), None)
    if isinstance(model, BaseModel):
        return type(model).model_json_schema(mode="serialization")
    if not isinstance(model, dict):
        return None
    scan = ColumnScan()
    for value in parsed:
        if isinstance(value, dict):
            scan.add(cast(dict[str, Any], value))
    return {"properties": {name: {"type": _TYPES.get(scan.kinds.get(name, Kind.TEXT))} for name in scan.names}}


def _pandas_values(column: Column) -> Any:
    pandas: Any = import_module("pandas")
    kinds = {Kind.INTEGER: "Int64", Kind.NUMBER: "Float64", Kind.BOOLEAN: "boolean"}
    return pandas.array(column.values, dtype=kinds[column.kind]) if column.kind in kinds else column.values


def _polars_series(name: str, column: Column) -> Any:
    polars: Any = import_module("polars")
    kinds = {Kind.INTEGER: polars.Int64, Kind.NUMBER: polars.Float64, Kind.BOOLEAN: polars.Boolean}
    if column.kind in kinds or column.is_text:
        return polars.Series(name, column.values, kinds.get(column.kind, polars.String))
    try:
        return polars.Series(name, column.values if column.is_property else column.texts())
    except Exception:  # The values have several types.
        return polars.Series(name, column.texts(), polars.String)


def _arrow_values(column: Column) -> Any:
    if column.kind is not Kind.TEXT or column.is_text:
        return pyarrow().array(column.values, arrow_type(column.kind))
    try:
        return pyarrow().array(column.values if column.is_property else column.texts())
    except Exception:  # The values have several types.
        return pyarrow().array(column.texts(), pyarrow().string())


def _dicts(table: Table, answers: Answers) -> list[dict[str, Any]]:
    for _ in table.prepare():
        pass
    rows = [row.values for row in table.rows()]
    if broken := [values for values in rows if isinstance(values, InputError)]:
        raise broken[0]
    found = [dict(values) for values in rows if isinstance(values, Mapping)]
    new = _columns(answers, len(found), dict.fromkeys(name for row in found for name in row))
    return [{**row, **{name: column.values[index] for name, column in new.items()}} for index, row in enumerate(found)]
