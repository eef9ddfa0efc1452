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
