"""Rows written to files: what a column type cannot represent is text, and memory does not grow."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncinfer import OutputParams, rows_from
from asyncinfer.data.arrow_table import MemoryTable
from asyncinfer.data.dict_table import DictTable
from asyncinfer.data.layout import output_layout
from asyncinfer.data.row_writer import row_writer
from asyncinfer.errors import InputError
from tests.data.tables import read, write

LARGE = 2**53 + 1  # No double has this value.


def written(tmp_path: Path, rows: list[dict[str, Any]], name: str = "a.parquet") -> Any:
    """The Parquet file of these rows."""
    write(tmp_path / name, [*rows])
    return pq.read_table(tmp_path / name)


@pytest.mark.parametrize("values", [[LARGE, 1.5], [1.5, LARGE], [np.int64(LARGE), 1.5]])
def test_integers_that_no_double_represents_are_text_beside_numbers(tmp_path: Path, values: list[Any]) -> None:
    table = written(tmp_path, [{"n": value} for value in values])
    assert table["n"].to_pylist() == [str(value) for value in values]


def test_large_integers_that_a_double_represents_are_numbers_beside_numbers(tmp_path: Path) -> None:
    table = written(tmp_path, [{"n": 2**60}, {"n": 1.5}, {"n": np.int64(2**60)}])
    assert table["n"].to_pylist() == [float(2**60), 1.5, float(2**60)]


def test_large_integers_alone_stay_integers(tmp_path: Path) -> None:
    table = written(tmp_path, [{"n": LARGE}, {"n": None}])
    assert table["n"].to_pylist() == [LARGE, None]


UUID = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))
BOOL8 = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8()))
OFFSETS = pa.array([0, 1], pa.int32())
NAMES = pa.array(["x"]).dictionary_encode()
UNION = pa.UnionArray.from_dense(pa.array([1], pa.int8()), OFFSETS[:1], [pa.array([1]), pa.array(["x"])])
INTERVAL = pa.array([pa.MonthDayNano([1, 2, 3])], pa.month_day_nano_interval())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (pa.array([{}], pa.struct([])), "{}"),
        (pa.array([{"a": 1, "args": {}}]), '{"a":1,"args":{}}'),
        (UNION, "x"),
        (INTERVAL, "[1,2,3]"),
        (pa.array([b""], pa.binary(0)), ""),
    ],
)
def test_columns_that_parquet_cannot_hold_are_text(tmp_path: Path, column: pa.Array, value: str) -> None:
    assert copied(tmp_path, column).to_pylist() == [value]


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        (BOOL8, pa.bool_(), True),
        (UUID, pa.binary(16), b"0" * 16),
        (pa.ListArray.from_arrays(OFFSETS, UUID), pa.list_(pa.binary(16)), [b"0" * 16]),
        (pa.StructArray.from_arrays([BOOL8, UUID], ["a", "b"]), None, {"a": True, "b": b"0" * 16}),
        (pa.ListArray.from_arrays(OFFSETS, NAMES), pa.list_(pa.string()), ["x"]),
        (pa.LargeListArray.from_arrays(pa.array([0, 1]), NAMES), pa.large_list(pa.string()), ["x"]),
        (pa.FixedSizeListArray.from_arrays(NAMES, 1), None, ["x"]),
        (pa.ListViewArray.from_arrays(pa.array([0], pa.int32()), pa.array([1], pa.int32()), NAMES), None, ["x"]),
        (pa.MapArray.from_arrays(OFFSETS, NAMES, UUID), None, [("x", b"0" * 16)]),
        (pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([{"a": 1}])), None, {"a": 1}),
    ],
)
def test_nested_extensions_and_dictionaries_have_the_type_of_their_values(
    tmp_path: Path, column: pa.Array, kind: pa.DataType | None, value: Any
) -> None:
    found = copied(tmp_path, column)
    assert found.to_pylist() == [value]
    assert kind is None or found.type == kind


class PointScalar(pa.ExtensionScalar):  # pyright: ignore[reportUntypedBaseClass]
    def as_py(self, **_: Any) -> Any:
        return dict(zip("xy", self.value.as_py(), strict=True))


class PointType(pa.ExtensionType):  # pyright: ignore[reportUntypedBaseClass]
    """A type whose Python objects are dicts, and whose storage has lists."""

    def __init__(self) -> None:
        super().__init__(pa.list_(pa.int64()), "tests.point")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    def __arrow_ext_scalar_class__(self) -> type:
        return PointScalar


def test_extensions_with_python_objects_of_their_own_are_json(tmp_path: Path) -> None:
    points = pa.ExtensionArray.from_storage(PointType(), pa.array([[1, 2]]))
    assert copied(tmp_path, points).to_pylist() == ['{"x":1,"y":2}']
    assert copied(tmp_path, pa.ListArray.from_arrays(OFFSETS, points)).to_pylist() == ['[{"x":1,"y":2}]']


def copied(tmp_path: Path, column: pa.Array) -> Any:
    """A column of a table in memory that was written to a Parquet file."""
    table = pa.table({"column": column})
    [row] = MemoryTable(table).rows()
    assert not isinstance(row.values, InputError)
    write(tmp_path / "a.parquet", [row.values], table.schema)
    return pq.read_table(tmp_path / "a.parquet")["column"]


LARGE_VALUES: list[Callable[[bytes], Any]] = [
    lambda data: data,
    lambda data: data.decode(),
    lambda data: {"bytes": data, "path": None},
    lambda data: [data],
]


@pytest.mark.parametrize("make", LARGE_VALUES, ids=["bytes", "text", "struct", "list"])
def test_few_rows_with_large_values_are_in_memory_at_once(tmp_path: Path, make: Callable[[bytes], Any]) -> None:
    layout, alive = output_layout("a.parquet", OutputParams()), list[weakref.ref[Row]]()
    field, most = pa.field("v", pa.array([make(b"")]).type), 0
    with (tmp_path / "a.parquet").open("wb") as file, row_writer(file, layout, ["v"], [field]) as writer:
        for number in range(12):
            row = Row(v=make(b"%08d" % number * 131_072))
            alive.append(weakref.ref(row))
            writer.write(row)
            most = max(most, sum(one() is not None for one in alive))
    assert most <= 5
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == 12


class Row(dict[str, Any]):
    """A row that a weak reference can refer to."""


HALF = "\ud800"  # Half of a surrogate pair, which `json.loads` makes of "\\ud800", and UTF-8 cannot represent.


class Note(NamedTuple):
    text: str


@dataclass
class Remark:
    text: str


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({f"k{HALF}": [HALF]}, '{"k?":["?"]}'),
        ({"a": {f"k{HALF}": 1}}, '{"a":{"k?":1}}'),
        ([{HALF}], '[["?"]]'),
        (Note(HALF), '["?"]'),
    ],
)
def test_halves_of_surrogate_pairs_inside_values_become_question_marks(
    tmp_path: Path, name: str, value: Any, text: str
) -> None:
    write(tmp_path / name, [{"v": value}])
    [row] = read(tmp_path / name)
    assert row["v"] == (json.loads(text) if name == "a.jsonl" else text)


def test_objects_with_halves_of_surrogate_pairs_are_written(tmp_path: Path) -> None:
    assert "?" in written(tmp_path, [{"v": Remark(HALF)}])["v"].to_pylist()[0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_halves_of_surrogate_pairs_in_names_of_columns_become_question_marks(tmp_path: Path, name: str) -> None:
    [row] = DictTable([{f"c{HALF}": "x"}]).rows()
    assert row.values == {"c?": "x"}
    write(tmp_path / name, [row.values])
    assert read(tmp_path / name) == [{"c?": "x"}]


def test_columns_whose_names_become_the_same_are_an_error() -> None:
    [row] = DictTable([dict.fromkeys([HALF, "?"], "x")]).rows()
    assert isinstance(row.values, InputError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("2026-01-02T03:04:05", "ns"), "2026-01-02T03:04:05.000000000"),
        (np.timedelta64(5, "ns"), "5 nanoseconds"),
        (np.array(["2026-01-02", "NaT"], dtype="datetime64[ns]"), '["2026-01-02T00:00:00.000000000",null]'),
    ],
)
def test_times_of_numpy_are_text(tmp_path: Path, value: Any, text: str) -> None:
    assert written(tmp_path, [{"v": value}])["v"].to_pylist() == [text]


@pytest.mark.parametrize(("value", "text"), [(np.bool_(True), "true"), (np.array([1, 2]), "[1,2]")])
def test_values_of_numpy_are_json_in_csv(tmp_path: Path, value: Any, text: str) -> None:
    write(tmp_path / "a.csv", [{"v": value}])
    assert read(tmp_path / "a.csv") == [{"v": text}]


@pytest.mark.parametrize("missing", [pd.NaT, pd.NA, np.datetime64("NaT"), np.timedelta64("NaT", "ns")])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_missing_values_of_pandas_and_numpy_are_null(tmp_path: Path, missing: Any, name: str) -> None:
    rows = [
        row.values
        for row in DictTable([{"v": missing, "parts": [missing]}, {"v": datetime(2026, 1, 2, tzinfo=UTC)}]).rows()
    ]
    assert isinstance(rows[0], dict)
    assert rows[0]["v"] is None
    write(tmp_path / name, [row for row in rows if isinstance(row, dict)])
    first, second = read(tmp_path / name)
    assert first["v"] in (None, "")
    assert first["parts"] == ([None] if name == "a.jsonl" else "[null]")
    assert name != "a.parquet" or second["v"] == datetime(2026, 1, 2, tzinfo=UTC)


def test_missing_values_are_empty_texts_in_prompts() -> None:
    frame = pd.DataFrame({"day": [pd.NaT], "n": pd.array([None], dtype="Int64")})
    [conversation] = rows_from(frame.to_dict("records"), prompt="{{ day }}{{ n }}.")
    assert conversation.messages[0].text == "."
