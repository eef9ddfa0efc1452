"""Values of tables that Python's types cannot represent exactly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncinfer.data.arrow_table import MemoryTable
from asyncinfer.data.json_values import as_json
from asyncinfer.errors import InputError
from tests.data.tables import opened, read, write

NANOSECONDS = 1_700_000_000_123_456_789
VALUES = {
    "ns": pa.array([NANOSECONDS, None], pa.timestamp("ns")),
    "zone": pa.array([NANOSECONDS, None], pa.timestamp("ns", tz="Europe/Berlin")),
    "late": pa.array([10**18, 5], pa.timestamp("us")),
    "day": pa.array([10**7, 1], pa.date32()),
    "clock": pa.array([10**9 + 1, 10**9], pa.time64("ns")),
    "span": pa.array([1, None], pa.duration("ns")),
}
TEXTS = {
    "ns": "2023-11-14T22:13:20.123456789",
    "zone": "2023-11-14T23:13:20.123456789+01:00",
    "day": "29349-01-26",
    "clock": "00:00:01.000000001",
    "span": "P0DT0H0M0.000000001S",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pq.write_table(pa.table(VALUES), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def copied(table: Path, name: str) -> Path:
    """Read the table, and write its rows to a file of another format."""
    write(table.parent / name, [*read(table)], opened(table).arrow_schema())
    return table.parent / name


def test_nanoseconds_and_late_times_survive_a_parquet_file(table: Path) -> None:
    assert pq.read_table(copied(table, "b.parquet")).equals(pq.read_table(table))


def test_nanoseconds_and_late_times_are_text_in_json_and_csv(table: Path) -> None:
    first = json.loads(copied(table, "b.jsonl").read_text().splitlines()[0])
    with copied(table, "b.csv").open() as file:
        row = next(csv.DictReader(file))
    assert {name: first[name] for name in TEXTS} == TEXTS
    assert {name: row[name] for name in TEXTS} == TEXTS
    assert "1000000000000000000" in first["late"]


def test_other_rows_of_a_column_with_late_times_stay_dates(table: Path) -> None:
    first, second = read(table)
    assert isinstance(first["late"], str)
    assert str(second["late"]) == "1970-01-01 00:00:00.000005"


def test_only_the_row_with_invalid_text_fails(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"], pa.binary()).buffers())
    pq.write_table(pa.table({"text": texts, "n": [1, 2]}), tmp_path / "a.parquet")
    first, second = opened(tmp_path / "a.parquet").rows()
    assert first.values == {"text": "a", "n": 1}
    assert isinstance(second.values, InputError)
    assert "column 'text': not valid UTF-8 text" in str(second.values)


def test_values_of_numpy_and_pandas_in_dicts_are_written(tmp_path: Path) -> None:
    moment = pd.Timestamp(NANOSECONDS, tz="UTC")
    row: dict[str, Any] = {"a": np.float32(1.5), "b": np.array([1, 2]), "c": moment, "d": np.int64(3)}
    write(tmp_path / "a.jsonl", [row])
    expected = {"a": 1.5, "b": [1, 2], "c": "2023-11-14T22:13:20.123456789+00:00", "d": 3}
    assert json.loads((tmp_path / "a.jsonl").read_text()) == expected
    write(tmp_path / "a.parquet", [row])
    [again] = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert again == {**expected, "b": "[1,2]"}


LATE = 10**15  # Milliseconds since 1970: in the year 33658.
LATE_TEXT = "<value out of range: 1000000000000000>"
STAMP = pa.timestamp("ms")
NESTED: list[tuple[pa.Array, Any]] = [
    (pa.array([[LATE, 0]], pa.list_(STAMP)), [LATE_TEXT, "1970-01-01T00:00:00"]),
    (pa.array([{"t": LATE, "n": 1}], pa.struct([("t", STAMP), ("n", pa.int64())])), {"t": LATE_TEXT, "n": 1}),
    (pa.array([[("k", LATE)]], pa.map_(pa.string(), STAMP)), [["k", LATE_TEXT]]),
    (pa.array([[[LATE]]], pa.list_(pa.large_list(STAMP))), [[LATE_TEXT]]),
    (pa.array([[10**7]], pa.list_(pa.date32())), ["29349-01-26"]),
    (pa.array([[2**62]], pa.list_(pa.duration("s"))), ["4611686018427387904"]),
    (pa.array([[1001, 1000]], pa.list_(pa.time64("ns"))), ["00:00:00.000001001", "00:00:00.000001"]),
    (pa.array([{"t": 1001}], pa.struct([("t", pa.time64("ns"))])), {"t": "00:00:00.000001001"}),
    (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), [["a", 1], ["a", 2]]),
]


@pytest.mark.parametrize(("column", "expected"), NESTED)
def test_nested_values_that_python_cannot_represent_have_texts_for_their_parts(
    tmp_path: Path, column: pa.Array, expected: Any
) -> None:
    assert as_json(value_of(column)) == expected
    pq.write_table(pa.table({"v": column}), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", [{"v": value_of(column)}, {"v": None}], table.schema)
    assert pq.read_table(tmp_path / "b.parquet").slice(0, 1).equals(table)


@pytest.mark.parametrize(
    "column",
    [
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([LATE], STAMP)),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([LATE], STAMP)),
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([LATE], STAMP)]),
        pa.ExtensionArray.from_storage(pa.opaque(STAMP, "t", "v"), pa.array([LATE], STAMP)),
    ],
)
def test_late_times_in_dictionaries_unions_and_extensions_are_text(tmp_path: Path, column: pa.Array) -> None:
    value = value_of(column)
    assert value == LATE_TEXT
    write(tmp_path / "b.parquet", [{"v": value}], pa.table({"v": column}).schema)
    assert pq.read_table(tmp_path / "b.parquet")["v"].cast(pa.string()).to_pylist() == [LATE_TEXT]


def test_late_times_beside_dictionaries_in_lists_are_written(tmp_path: Path) -> None:
    names = pa.array(["x"]).dictionary_encode()
    column = pa.StructArray.from_arrays([pa.array([LATE], STAMP), names], ["t", "name"])
    write(tmp_path / "b.parquet", [{"v": value_of(column)}], pa.table({"v": column}).schema)
    found = pq.read_table(tmp_path / "b.parquet")["v"].combine_chunks()
    assert (found.field("t")[0].value, found.field("name")[0].as_py()) == (LATE, "x")


def value_of(column: pa.Array) -> Any:
    [row] = MemoryTable(pa.table({"v": column})).rows()
    assert not isinstance(row.values, InputError)
    return row.values["v"]
