"""Values of typed answers in typed columns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType
from asyncinfer.data.fitted_values import fitting
from asyncinfer.data.time_scan import TimeScan


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"n": 1, "x": 2}, ({"n": 1, "x": 2.0}, True)),
        ({"n": None}, ({"n": None, "x": None}, True)),
        ({"n": 3.0, "x": 2}, ({"n": 3, "x": 2.0}, True)),
        ({"n": -(2**63), "x": 2**70}, ({"n": -(2**63), "x": float(2**70)}, True)),
        ({"n": "1", "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": True, "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": 2**63, "x": 2}, ({"n": None, "x": 2.0}, False)),
        ({"n": 3.5, "x": 10**400}, ({"n": None, "x": None}, False)),
        ({"n": float("inf"), "x": "2"}, ({"n": None, "x": None}, False)),
        ({"n": 1, "x": 2**53 + 1}, ({"n": 1, "x": None}, False)),
        ({"n": 1, "x": 2, "more": 3}, ({"n": 1, "x": 2.0}, False)),
    ],
)
def test_value_that_does_not_fit_is_null_beside_the_others(
    value: dict[str, Any], expected: tuple[dict[str, Any], bool]
) -> None:
    assert fitting({"n": Kind.INTEGER, "x": Kind.NUMBER}, value) == expected


def test_text_does_not_fit_a_boolean() -> None:
    assert fitting({"ok": Kind.BOOLEAN}, {"ok": "true"}) == ({"ok": None}, False)
    assert fitting({"ok": Kind.BOOLEAN}, {"ok": True}) == ({"ok": True}, True)


DAY = date(2026, 1, 2)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
POINT = StructType({"x": Kind.INTEGER, "note": Kind.TEXT})


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.DATE, "2026-01-02", DAY),
        (Kind.TIME, "2026-01-02T12:00:00Z", NOON),
        (Kind.TIME, "2026-01-02t14:00+02:00", NOON),
        (Kind.TIME, "2026-01-02 12:00:00.000000000z", NOON),
        (Kind.ANY_TIME, "2026-01-02T12:00:00Z", NOON),
        (Kind.ANY_TIME, "2026-01-02T12:00:00", NOON.replace(tzinfo=None)),
        (Kind.LOCAL_TIME, "2026-01-02T12:00:00", NOON.replace(tzinfo=None)),
        (ListType(Kind.DATE), ["2026-01-02", None], [DAY, None]),
        (ListType(ListType(Kind.INTEGER)), [[1.0], [], None], [[1], [], None]),
        (POINT, {"x": 1}, {"x": 1}),
        (POINT, {"x": None, "note": {"any": [1]}}, {"x": None, "note": '{"any":[1]}'}),
        (ListType(Kind.TEXT), ["a", 1, [True]], ["a", "1", "[true]"]),
        (Kind.TEXT, {"any": [1]}, {"any": [1]}),
    ],
)
def test_value_has_the_type_of_its_column(kind: ColumnType, value: Any, expected: Any) -> None:
    assert fitting({"a": kind}, {"a": value}) == ({"a": expected}, True)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.DATE, "2026-02-30"),
        (Kind.DATE, "20260102"),
        (Kind.DATE, "2026-01-02T00:00:00"),
        (Kind.DATE, 5),
        (Kind.TIME, "2026-01-02"),
        (Kind.TIME, "2026-01-02T12:00:00"),
        (Kind.LOCAL_TIME, "2026-01-02T12:00:00Z"),
        (Kind.TIME, "tomorrow at twelve"),
        (Kind.TIME, "2026-01-02T12:00:00.123456789Z"),
        (Kind.TIME, "0001-01-01T00:00:00+05:00"),
        (Kind.TIME, "9999-12-31T23:00:00-05:00"),
        (Kind.TIME, 0),
        (ListType(Kind.INTEGER), [1, "2"]),
        (ListType(Kind.INTEGER), 1),
        (ListType(Kind.INTEGER), [2**63]),
        (POINT, [1]),
        (POINT, {"x": "1"}),
        (POINT, {"x": 1, "y": 2}),
        (StructType({"in": POINT}), {"in": {"z": None}}),
    ],
)
def test_list_object_or_date_that_does_not_fit_is_null_as_a_whole(kind: ColumnType, value: Any) -> None:
    assert fitting({"a": kind}, {"a": value}) == ({"a": None}, False)


# Times with and without an offset

WITH, WITHOUT = "2026-01-02T12:00:00Z", "2026-01-02T12:00:00"
TIMES: dict[str, ColumnType] = {
    "at": Kind.ANY_TIME,
    "all": ListType(Kind.ANY_TIME),
    "in": StructType({"at": Kind.ANY_TIME, "n": Kind.INTEGER}),
}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], Kind.TIME),
        ([None], Kind.TIME),
        ([WITH, WITH], Kind.TIME),
        ([WITHOUT, None, WITHOUT], Kind.LOCAL_TIME),
        ([WITHOUT, WITH], Kind.TEXT),
    ],
)
def test_type_of_times_depends_on_their_offsets(times: list[str], expected: Kind) -> None:
    scan = TimeScan(TIMES)
    for time in times:
        scan.add(fitting(TIMES, {"at": time, "all": [time], "in": {"at": time}})[0])
    inner = StructType({"at": expected, "n": Kind.INTEGER})
    assert scan.types == {"at": expected, "all": ListType(expected), "in": inner}


def test_times_of_one_property_do_not_change_those_of_others() -> None:
    fields: dict[str, ColumnType] = {"a": Kind.ANY_TIME, "b": StructType({"a": Kind.ANY_TIME, "b": Kind.ANY_TIME})}
    scan = TimeScan(fields)
    scan.add(fitting(fields, {"a": WITH, "b": {"a": WITHOUT}})[0])
    assert scan.types == {"a": Kind.TIME, "b": StructType({"a": Kind.LOCAL_TIME, "b": Kind.TIME})}


def test_times_are_text_if_other_values_are_not_known() -> None:
    scan = TimeScan(TIMES)
    scan.use_text()
    scan.add(fitting(TIMES, {"at": WITH})[0])
    assert scan.types == {
        "at": Kind.TEXT,
        "all": ListType(Kind.TEXT),
        "in": StructType({"at": Kind.TEXT, "n": Kind.INTEGER}),
    }


def test_times_have_the_types_of_an_older_file() -> None:
    older = pa.schema(
        [("at", pa.timestamp("us")), ("all", pa.list_(pa.timestamp("us", tz="UTC"))), ("in", pa.string())]
    )
    fields = {**TIMES, "new": Kind.ANY_TIME}
    scan = TimeScan(fields)
    scan.use_types_of(older)
    scan.add(fitting(fields, {"at": WITH, "new": WITHOUT})[0])
    assert scan.types["at"] == Kind.LOCAL_TIME
    assert scan.types["all"] == ListType(Kind.TIME)
    assert scan.types["in"] == StructType({"at": Kind.TEXT, "n": Kind.INTEGER})
    assert scan.types["new"] == Kind.LOCAL_TIME


@pytest.mark.parametrize(
    ("kind", "older", "expected"),
    [
        (StructType({"at": Kind.ANY_TIME}), pa.struct([("at", pa.timestamp("us"))]), Kind.LOCAL_TIME),
        (StructType({"at": Kind.ANY_TIME}), pa.struct([("other", pa.timestamp("us"))]), Kind.TEXT),
        (StructType({"at": Kind.ANY_TIME}), pa.list_(pa.timestamp("us")), Kind.TEXT),
    ],
)
def test_times_in_objects_have_the_types_of_an_older_file(kind: ColumnType, older: pa.DataType, expected: Kind) -> None:
    scan = TimeScan({"a": kind})
    scan.use_types_of(pa.schema([("a", older)]))
    assert scan.types == {"a": StructType({"at": expected})}
