"""Adds the answers to a data frame.

pandas 3.1, polars 2.1, pyarrow 26, datasets 5.2 (November 2026).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from asyncinfer.data.answer_columns import AnswerColumns, AnswerSchema
from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import ColumnType, Kind, arrow_type
from asyncinfer.data.json_values import as_json, as_text
from asyncinfer.data.parsed_values import class_schema, with_plain_parts
from asyncinfer.data.table import Table
from asyncinfer.data.value_schema import schema_of
from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult

Answers = Sequence[Conversation] | InferenceResult
_ERROR = "error"
_PANDAS = {
    Kind.INTEGER: "Int64",
    Kind.NUMBER: "Float64",
    Kind.BOOLEAN: "boolean",
    Kind.TIME: "datetime64[us, UTC]",
    Kind.LOCAL_TIME: "datetime64[us]",
}


class Column(NamedTuple):
    """A new column.

    Args:
        values: Its values, as Python objects.
        kind: Their type. `TEXT` also stands for lists, dicts and values of several types.
    """

    values: list[Any]
    kind: ColumnType

    def arrow(self) -> Any:
        """The values as an Arrow array. What has no other type is text or JSON."""
        values = self.values
        if self.kind is Kind.TEXT:
            values = [None if value is None else as_text(as_json(value)) for value in values]
        return pyarrow().array(values, arrow_type(self.kind))


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
            polars: Any = import_module("polars")
            return frame.with_columns([polars.Series(name, column.arrow()) for name, column in new.items()])
        case "pyarrow", "Table":
            for name, column in _columns(answers, len(data), data.column_names).items():
                data = data.append_column(name, column.arrow())
            return data
        case "datasets", "Dataset":
            for name, column in _columns(answers, len(data), data.column_names).items():
                data = data.add_column(name, column.arrow().to_pylist(), feature=_feature(column))
            return data
        case _:
            return _dicts(table, answers)


def _columns(answers: Answers, row_count: int, names: Iterable[object], *, has_types: bool = True) -> dict[str, Column]:
    """Return the new columns.

    Args:
        row_count: How many rows the data have.
        names: The columns of the data.
        has_types: Whether the data have a type for each column.
    """
    if not isinstance(answers, InferenceResult):
        answers = InferenceResult([*enumerate(answers)], {})
    answer_count = len(answers.successful) + len(answers.failures)
    if row_count != answer_count:
        raise InputError(
            f"there are {answer_count} answers for {row_count} rows; pass the result of a call with these rows"
        )
    columns = _answer_columns(answers, [*names], has_types=has_types)
    rows = {index: columns.values(answer) for index, answer in answers.successful}
    new = {
        name: Column([rows.get(index, {}).get(name) for index in range(row_count)], kind)
        for name, kind in columns.kinds.items()
    }
    if answers.failures:
        errors = [answers.error_messages.get(index) for index in range(row_count)]
        new[columns.unique_name(_ERROR)] = Column(errors, Kind.TEXT)
    return new


def _answer_columns(answers: InferenceResult, names: Collection[object], *, has_types: bool) -> AnswerColumns:
    """The columns that these answers need.

    Args:
        names: The columns of the data.
    """
    schema = _schema([answer.parsed for _, answer in answers.successful])
    columns = AnswerColumns(AnswerSchema(schema) if schema is not None else None, has_types=has_types)
    columns.reserve(names)
    for _, answer in answers.successful:
        columns.observe(answer)
    if taken := [name for name in columns.kinds if name in names]:
        raise InputError(f"the data have a column {taken[0]!r} already; rename it first")
    return columns


def _schema(parsed: Sequence[Any]) -> Mapping[str, Any] | None:
    """The JSON schema of typed answers; None if they are not objects, or objects of several classes."""
    present = [value for value in parsed if value is not None]
    classes: set[type[Any]] = {type(value) for value in present}
    if len(classes) != 1:
        return None
    if classes != {dict}:
        return class_schema(classes.pop())
    rows = [with_plain_parts(value) for value in present]
    names = dict.fromkeys(name for row in rows for name in row)
    return {"properties": {name: schema_of([row.get(name) for row in rows]) for name in names}}


def _pandas_values(column: Column) -> Any:
    if not isinstance(column.kind, Kind) or column.kind not in _PANDAS:
        return column.values
    return import_module("pandas").array(column.values, dtype=_PANDAS[column.kind])


def _feature(column: Column) -> Any:
    """The type of a column of a data set."""
    schema = pyarrow().schema([("column", arrow_type(column.kind))])
    return import_module("datasets").Features.from_arrow_schema(schema)["column"]


def _dicts(table: Table, answers: Answers) -> list[dict[str, Any]]:
    for _ in table.prepare():
        pass
    rows = [row.values for row in table.rows()]
    if broken := [values for values in rows if isinstance(values, InputError)]:
        raise broken[0]
    found = [dict(values) for values in rows if isinstance(values, Mapping)]
    names = dict.fromkeys(name for row in found for name in row)
    new = _columns(answers, len(found), names, has_types=False)
    return [{**row, **{name: column.values[index] for name, column in new.items()}} for index, row in enumerate(found)]
