"""Typed answers in typed columns: what is written to Parquet and what is read back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import IntEnum, StrEnum
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from asyncinfer import Conversation
from asyncinfer.config import OutputFormat
from asyncinfer.data.answer_columns import AnswerColumns, AnswerSchema
from asyncinfer.data.compression import Compression
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_writer import row_writer

INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def written(schema: Mapping[str, Any], answers: Sequence[str]) -> pa.Table:
    """The Parquet file of answers with these texts."""
    conversations = [
        Conversation.from_dict({"messages": [{"role": "assistant", "content": text}], "metadata": {}})
        for text in answers
    ]
    columns = AnswerColumns(AnswerSchema(schema))
    for conversation in conversations:
        columns.observe(conversation)
    file = io.BytesIO()
    layout = OutputLayout(OutputFormat.PARQUET, Compression.NONE, ",", has_rows=True)
    with row_writer(file, layout, [*columns.kinds], columns.arrow_fields()) as writer:
        for conversation in conversations:
            writer.write(columns.values(conversation))
    return pq.read_table(io.BytesIO(file.getvalue()))


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


class Level(IntEnum):
    LOW = 1


class Stop(BaseModel):
    place: str
    arrived: datetime
    notes: dict[str, JsonValue] | None = None


class Trip(BaseModel):
    title: str
    days: list[date]
    stops: list[Stop]
    home: Stop | None
    either: int | str
    ratio: float | None
    mood: Mood
    level: Level | None
    size: Literal["s", "m"]
    corner: tuple[float, float]
    table: list[list[int | None]]
    tags: set[bool]
    left: datetime | None


# JSON text of free-form objects cannot be told from a text, and JSON has one kind of number.
MOMENTS = st.datetimes(timezones=st.just(UTC))
STOPS = st.builds(Stop, place=TEXTS, arrived=MOMENTS, notes=st.none())
TRIPS = st.builds(
    Trip,
    title=TEXTS,
    days=st.lists(st.dates()),
    stops=st.lists(STOPS, max_size=3),
    home=st.none() | STOPS,
    either=TEXTS,
    ratio=st.none() | NUMBERS,
    table=st.lists(st.lists(st.none() | INTEGERS, max_size=3), max_size=3),
    corner=st.tuples(NUMBERS, NUMBERS),
    left=st.none() | st.datetimes(),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(TRIPS, min_size=1, max_size=4))
def test_instances_of_a_class_are_read_back_equal(trips: list[Trip]) -> None:
    table = written(Trip.model_json_schema(mode="serialization"), [trip.model_dump_json() for trip in trips])
    assert [Trip.model_validate(row) for row in table.to_pylist()] == trips
    assert "answer" not in table.column_names


def test_columns_have_the_types_of_the_class() -> None:
    trip = Trip.model_construct(left=datetime(2026, 1, 1))
    schema = written(Trip.model_json_schema(mode="serialization"), [trip.model_dump_json()]).schema
    stop = "struct<place: string, arrived: timestamp[us, tz=UTC], notes: string>"
    assert {name: str(schema.field(name).type) for name in Trip.model_fields} == {
        "title": "string",
        "days": "list<element: date32[day]>",
        "stops": f"list<element: {stop}>",
        "home": stop,
        "either": "string",
        "ratio": "double",
        "mood": "string",
        "level": "int64",
        "size": "string",
        "corner": "list<element: double>",
        "table": "list<element: list<element: int64>>",
        "tags": "list<element: bool>",
        "left": "timestamp[us]",
    }


def test_times_of_which_only_some_have_an_offset_are_text() -> None:
    schema = {"properties": {"at": {"type": "string", "format": "date-time"}}}
    times = ["2026-01-02T12:00:00+02:00", "2026-01-02T12:00:00"]
    table = written(schema, [json.dumps({"at": time}) for time in times])
    assert table["at"].to_pylist() == times
    assert "answer" not in table.column_names


# Any schema, and values that need not fit it

NAMES = st.sampled_from(["a", "b", "n m", "ü.x"])
SCALARS: list[dict[str, Any]] = [
    {},
    *({"type": kind} for kind in ("string", "integer", "number", "boolean", "null")),
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"enum": ["a", None]},
    {"type": ["integer", "null"]},
    {"$ref": "#/$defs/self"},
]
SCHEMAS = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda fields: {"type": "object", "properties": fields}, st.dictionaries(NAMES, inner, max_size=3)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, max_size=2)),
    ),
    max_leaves=6,
)
DATES = st.sampled_from(
    ["2026-01-02", "2026-13-01", "2026-01-02T12:00:00Z", "2026-01-02T12:00:00", "0001-01-01T00:00:00+01:00"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NUMBERS | TEXTS | DATES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def value_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit the schema, and some that do not."""
    options: Sequence[Mapping[str, Any]] = schema.get("anyOf") or ()
    match schema.get("type"):
        case "array":
            fits: st.SearchStrategy[Any] = st.lists(value_of(schema["items"]), max_size=3)
        case "object":
            fields = {name: value_of(field) for name, field in schema["properties"].items()}
            fits = st.fixed_dictionaries({}, optional=fields)
        case "string":
            fits = DATES if "format" in schema else TEXTS
        case "integer":
            fits = INTEGERS
        case "number":
            fits = NUMBERS
        case _:
            fits = st.one_of(*map(value_of, options)) if options else ANY
    return st.one_of(fits, fits, fits, st.none(), ANY)


@st.composite
def typed_answers(draw: st.DrawFn) -> tuple[dict[str, Any], list[Any]]:
    fields = draw(st.dictionaries(NAMES, SCHEMAS, min_size=1, max_size=3))
    schema = {"type": "object", "properties": fields}
    return {**schema, "$defs": {"self": schema}}, draw(st.lists(value_of(schema), min_size=1, max_size=4))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(typed_answers())
@example(({"properties": {"a": {"type": "array", "items": {"type": "string"}}}}, [{"a": ["\x00"]}, {"a": [[]]}]))
def test_no_answer_is_lost_and_none_fails_when_it_is_written(case: tuple[dict[str, Any], list[Any]]) -> None:
    schema, values = case
    texts = [json.dumps(value) for value in values]
    for row, value, text in zip(written(schema, texts).to_pylist(), values, texts, strict=True):
        if row.get("answer") is not None:
            assert row["answer"] == text
        else:
            assert same({name: row[name] for name in schema["properties"]}, value)


def same(found: Any, value: Any) -> bool:
    """Whether a value of a column has all that a JSON value has. A null may be missing."""
    if value is None or found is None:
        return value is found
    match found:
        case str():
            return found == value if isinstance(value, str) else json.loads(found) == value
        case datetime():
            time = datetime.fromisoformat(value)
            return found == time and (found.tzinfo is None) == (time.tzinfo is None)
        case date():
            return found == date.fromisoformat(value)
        case list():
            return len(found) == len(value) and all(map(same, found, value))
        case dict():
            return found.keys() >= value.keys() and all(same(part, value.get(name)) for name, part in found.items())
        case _:
            return float(found) == float(value) and isinstance(found, bool) == isinstance(value, bool)
