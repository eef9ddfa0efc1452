"""Parquet and Arrow files."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.errors import InputError
from tests.data.tables import opened, read, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
DECIMAL = st.integers(-(10**9), 10**9).map(lambda number: Decimal(number).scaleb(-2))
NESTED = pa.list_(pa.struct([("name", pa.string()), ("scores", pa.map_(pa.string(), pa.float64()))]))
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("count", pa.int32()),
        ("size", pa.uint64()),
        ("number", pa.float64()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us", tz="Europe/Berlin")),
        ("clock", pa.time64("us")),
        ("price", pa.decimal128(12, 2)),
        ("photo", pa.binary()),
        ("nested", NESTED),
    ]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "flag": st.booleans(),
    "count": st.integers(-(2**31), 2**31 - 1),
    "size": st.integers(0, 2**64 - 1),
    "number": st.floats(allow_nan=False),
    "day": st.dates(),
    "moment": st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    "clock": st.times(),
    "price": DECIMAL,
    "photo": st.binary(max_size=10),
    "nested": st.lists(
        st.fixed_dictionaries({"name": TEXTS | st.none(), "scores": st.lists(st.tuples(TEXTS, st.floats(0, 1)))}),
        max_size=2,
    ),
}
ROWS = st.lists(st.fixed_dictionaries({name: values | st.none() for name, values in VALUES.items()}), max_size=4)
FORMATS = ("a.parquet", "a.arrow", "stream.arrow", "a.feather")


def save(table: pa.Table, path: Path) -> Path:
    """Write a table in the format of the file's name."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=3)
    elif path.suffix == ".feather":
        feather.write_feather(table, path)
    else:
        make = ipc.new_stream if path.name.startswith("stream") else ipc.new_file
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_all_types_are_read(tmp_path: Path, name: str) -> None:
    row = {
        "text": "ü\n", "flag": True, "count": -1, "size": 2**64 - 1, "number": 0.1, "day": date(2026, 2, 28),
        "moment": datetime(2026, 1, 1, tzinfo=UTC), "clock": time(1, 2, 3, 4), "price": Decimal("1.10"),
        "photo": b"\x00\xff", "nested": [{"name": "a", "scores": [("x", 0.5)]}, None],
    }  # fmt: skip
    empty = dict.fromkeys(row)
    table = pa.Table.from_pylist([row, empty] * 5, SCHEMA)
    assert read(save(table, tmp_path / name)) == [row, empty] * 5
    assert opened(tmp_path / name).column_names() == tuple(row)


@given(ROWS)
def test_values_of_every_type_survive_a_parquet_file(rows: list[dict[str, Any]]) -> None:
    """Read one, write what was read, and read that."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.parquet", Path(folder) / "b.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), first)
        table = opened(first)
        write(second, read(first), table.arrow_schema())
        assert pq.read_table(second).equals(pq.read_table(first))


def test_nan_stays_nan_and_null_stays_null(tmp_path: Path) -> None:
    save(pa.table({"x": [math.nan, None, math.inf]}), tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", rows, opened(tmp_path / "a.parquet").arrow_schema())
    again = read(tmp_path / "b.parquet")
    assert math.isnan(again[0]["x"])
    assert again[1:] == [{"x": None}, {"x": math.inf}]


def test_dictionary_columns_become_plain_columns(tmp_path: Path) -> None:
    save(pa.table({"x": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", read(tmp_path / "a.parquet"), opened(tmp_path / "a.parquet").arrow_schema())
    assert pq.read_schema(tmp_path / "b.parquet").field("x").type == pa.string()
    assert read(tmp_path / "b.parquet") == [{"x": "a"}, {"x": "b"}, {"x": "a"}]


def test_types_of_dicts_are_those_of_all_their_values(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "b": 1, "c": None, "d": [1, {"x": b"\xff"}], "e": 2**70, "f": date(2026, 1, 1), "g": b"x", "h": True},
        {"a": 2, "b": 0.5, "c": None, "d": "x", "e": 1, "f": None, "g": None, "h": False, "i": "late"},
    ]
    write(tmp_path / "a.parquet", rows)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "a.parquet")}
    assert types == {
        "a": "int64", "b": "double", "c": "string", "d": "string", "e": "string", "f": "date32[day]", "g": "binary",
        "h": "bool", "i": "string",
    }  # fmt: skip
    assert read(tmp_path / "a.parquet")[0] == rows[0] | {
        "d": '[1,{"x":"/w=="}]',
        "e": str(2**70),
        "i": None,
    }


def test_durations_and_times_of_dicts_become_text(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"a": timedelta(seconds=3), "b": datetime(2026, 1, 1), "c": Decimal("1.10")}])
    assert read(tmp_path / "a.parquet") == [{"a": "PT3S", "b": "2026-01-01T00:00:00", "c": "1.10"}]


@pytest.mark.parametrize("name", FORMATS)
def test_file_of_another_format_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"id,text\n1,a\n" * 10)
    kind = "a Parquet" if name.endswith("parquet") else "an Arrow"
    with pytest.raises(InputError, match=f"{name}: is not {kind} file, or it is truncated"):
        opened(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("size", [0, 3, 50, 300])
def test_truncated_file_is_an_error(tmp_path: Path, name: str, size: int) -> None:
    path = save(pa.table({"x": [*range(100)]}), tmp_path / name)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"{name}: (is not an? |is empty)"):
        opened(path)


def test_truncated_stream_is_an_error_with_the_last_row(tmp_path: Path) -> None:
    path = save(pa.table({"x": ["a" * 1000] * 30}), tmp_path / "stream.arrow")
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(InputError, match=r"stream.arrow: after row \d+: cannot be read further"):
        read(path)


def test_damaged_page_is_an_error_with_the_last_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = [f"{number:>1000}" for number in range(5000)]
    pq.write_table(pa.table({"x": words}), path, compression="zstd", row_group_size=1000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    place = len(data) // 2
    data[place : place + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a.parquet: after row \d+: cannot be read further"):
        read(path)


def test_repeated_name_of_a_column_is_an_error(tmp_path: Path) -> None:
    save(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.arrow")
    with pytest.raises(InputError, match="the column 'a' occurs twice"):
        opened(tmp_path / "a.arrow")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a.parquet: cannot be read: No such file"):
        opened(tmp_path / "a.parquet")
