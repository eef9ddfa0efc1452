"""Adds the answers to a data frame.

pandas 3.1, polars 2.1, pyarrow 26, datasets 5.2 (November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from asyncinfer.data.answer_columns import AnswerColumns
from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.table import Table
from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import InferenceResult

_ERROR = "error"


def with_answers(data: Any, table: Table, answers: Sequence[Conversation] | InferenceResult) -> Any:
    """Return `data` with columns for the answers. `table` reads the data.

    Raises:
        InputError: The number of answers is not the number of rows, or a name is taken.
    """
    new = _columns(answers)
    match type(data).__module__.partition(".")[0], type(data).__name__:
        case "pandas", "DataFrame":
            _check(len(data), list(data.columns), new)
            return data.assign(**{name: _pandas_values(values) for name, values in new.items()})
        case "polars", "DataFrame" | "LazyFrame":
            frame = data.lazy().collect()
            _check(len(frame), frame.columns, new)
            return frame.with_columns([_polars_series(name, values) for name, values in new.items()])
        case "pyarrow", "Table":
            _check(len(data), data.column_names, new)
            for name, values in new.items():
                data = data.append_column(name, pyarrow().array(values, _arrow_type(values)))
            return data
        case "datasets", "Dataset":
            _check(len(data), data.column_names, new)
            for name, values in new.items():
                data = data.add_column(name, values)
            return data
        case _:
            return _dicts(table, new)


def _columns(answers: Sequence[Conversation] | InferenceResult) -> dict[str, list[Any]]:
    """The values of each new column."""
    if not isinstance(answers, InferenceResult):
        answers = InferenceResult([*enumerate(answers)], {})
    columns = AnswerColumns()
    for _, answer in answers.successful:
        columns.look_at(answer.to_json_bytes())
    rows = {index: columns.values(answer) for index, answer in answers.successful}
    indexes = range(len(answers.successful) + len(answers.failures))
    new = {name: [rows.get(index, {}).get(name) for index in indexes] for name in columns.kinds}
    if answers.failures:
        new[_ERROR] = [answers.error_messages.get(index) for index in indexes]
    return new


def _check(rows: int, names: Sequence[Any], new: Mapping[str, list[Any]]) -> None:
    count = len(next(iter(new.values())))
    if rows != count:
        raise InputError(f"there are {count} answers for {rows} rows; pass the result of a call with these rows")
    if taken := [name for name in new if name in names]:
        raise InputError(f"the data have a column {taken[0]!r} already; rename it first")


def _is_number(values: Sequence[Any]) -> bool:
    return any(isinstance(value, int) for value in values)


def _pandas_values(values: list[Any]) -> Any:
    pandas: Any = import_module("pandas")
    return pandas.array(values, dtype="Int64") if _is_number(values) else values


def _polars_series(name: str, values: Sequence[Any]) -> Any:
    polars: Any = import_module("polars")
    return polars.Series(name, values, polars.Int64 if _is_number(values) else polars.String)


def _arrow_type(values: Sequence[Any]) -> Any:
    return pyarrow().int64() if _is_number(values) else pyarrow().string()


def _dicts(table: Table, new: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    for _ in table.prepare():
        pass
    rows = [row.values for row in table.rows()]
    if broken := [values for values in rows if isinstance(values, InputError)]:
        raise broken[0]
    found = [dict(values) for values in rows if isinstance(values, Mapping)]
    _check(len(found), list(dict.fromkeys(name for row in found for name in row)), new)
    return [{**row, **{name: values[index] for name, values in new.items()}} for index, row in enumerate(found)]
