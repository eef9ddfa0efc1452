"""Rows in calls from Python."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, computed_field, field_serializer
from typing_extensions import TypedDict

from asyncinfer import (
    ConfigError,
    Conversation,
    FailureDetail,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    InputError,
    InputParams,
    Message,
    ModelParams,
    Role,
    Usage,
    rows_from,
)
from asyncinfer.config import template_work
from asyncinfer.types.answer import Completion
from tests.fakes import ONE_ATTEMPT, FakeEngine, SimpleEngine, rejection

DICTS = [{"text": "a", "n": 1}, {"text": "b", "n": None}]
PROMPT = "{{ text }} {{ n }}"


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame({"text": ["a", "b"], "n": pd.array([1, None], dtype="Int64")}, index=[10, 20])


def dataset() -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(DICTS)


SOURCES = {
    "pandas": pandas_frame,
    "polars": lambda: pl.DataFrame(DICTS),
    "lazy polars": lambda: pl.DataFrame(DICTS).lazy(),
    "arrow": lambda: pa.Table.from_pylist(DICTS),
    "arrow batch": lambda: pa.RecordBatch.from_pylist(DICTS),
    "arrow reader": lambda: pa.Table.from_pylist(DICTS).to_reader(),
    "datasets": dataset,
    "dicts": lambda: DICTS,
    "tuple": lambda: tuple(DICTS),
    "iterator": lambda: iter(DICTS),
}


@pytest.fixture(params=SOURCES)
def data(request: pytest.FixtureRequest) -> Any:
    return SOURCES[request.param]()


async def test_rows_of_any_table_are_answered_in_order(data: Any) -> None:
    answers = await FakeEngine().ainfer(rows_from(data, prompt=PROMPT))
    assert [answer.text for answer in answers] == ["answer to a 1", "answer to b "]


async def test_rows_of_any_table_are_answered_as_they_come(data: Any) -> None:
    found: dict[int, str] = {}
    async with FakeEngine().ainfer_iter(rows_from(data, prompt=PROMPT)) as outcomes:
        async for index, outcome in outcomes:
            assert isinstance(outcome, Conversation)
            found[index] = outcome.text
    assert found == {0: "answer to a 1", 1: "answer to b "}


async def test_rows_of_any_table_are_written_to_a_file(data: Any, tmp_path: Path) -> None:
    config = InferenceConfig(output_path=tmp_path / "out.parquet")
    summary = await FakeEngine().arun(config, input=rows_from(data, prompt=PROMPT, keep=["n"]))
    assert summary.completed == 2
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["n"], row["answer"]) for row in rows] == [(1, "answer to a 1"), (None, "answer to b ")]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pandas", pd.DataFrame),
        ("polars", pl.DataFrame),
        ("lazy polars", pl.DataFrame),
        ("arrow", pa.Table),
        ("datasets", object),
        ("dicts", list),
        ("iterator", list),
    ],
)
async def test_answers_become_columns_of_a_frame_of_the_same_kind(kind: str, expected: type[object]) -> None:
    rows = rows_from(SOURCES[kind](), prompt=PROMPT)
    frame = rows.with_answers(await FakeEngine().ainfer(rows))
    assert isinstance(frame, expected)
    found = as_dicts(frame)
    assert [row["answer"] for row in found] == ["answer to a 1", "answer to b "]
    assert [row["total_tokens"] for row in found] == [7, 7]
    assert list(found[0]) == [
        "text", "n", "answer", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens",
    ]  # fmt: skip


class City(BaseModel):
    name: str
    people: int | None
    rivers: list[str]


class Atlas(SimpleEngine):
    """Answers with a city. The second one is unknown."""

    async def _generate(self, conversation: Conversation) -> Completion:
        city = City(name="Rome", people=3, rivers=["Tiber"])
        if conversation.messages[-1].text.startswith("b"):
            city = City(name="Ys", people=None, rivers=[])
        return Completion(Message(role=Role.ASSISTANT, content=city.model_dump_json()), FinishReason.STOP)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "datasets", "dicts"])
@pytest.mark.parametrize("model", [City, City.model_json_schema()])
async def test_typed_answers_become_typed_columns(kind: str, model: Any) -> None:
    rows = rows_from(SOURCES[kind](), prompt=PROMPT)
    frame = rows.with_answers(await Atlas(ModelParams(model_name="atlas")).ainfer(rows, response_model=model))
    found = as_dicts(frame)
    assert [row["name"] for row in found] == ["Rome", "Ys"]
    assert [list(row["rivers"]) for row in found] == [["Tiber"], []]
    assert found[0]["people"] == 3
    assert "answer" not in found[0]
    if isinstance(frame, pd.DataFrame):
        assert str(frame["people"].dtype) == "Int64"


class Place(BaseModel):
    """A city, whose second name may be missing."""

    model_config = ConfigDict(extra="forbid")
    name: str
    other: str | None = None


class Visit(BaseModel):
    day: date
    at: datetime
    left: datetime
    rivers: list[str]
    cities: list[Place]
    more: dict[str, int]


class Guide(SimpleEngine):
    """Answers with a visit."""

    async def _generate(self, conversation: Conversation) -> Completion:
        is_first = conversation.messages[-1].text.startswith("a")
        cities = [{"name": "Rome"}] if is_first else [{"name": "Ys", "other": "Ker-Is"}]
        visit = {
            "day": "2026-01-02", "at": "2026-01-02T14:00:00+02:00", "left": "2026-01-02T12:00:00",
            "rivers": ["Tiber"] if is_first else [], "cities": cities, "more": {"a" if is_first else "b": 1},
        }  # fmt: skip
        return Completion(Message(role=Role.ASSISTANT, content=json.dumps(visit)), FinishReason.STOP)


async def visited(kind: str, response_model: Any = Visit) -> Any:
    rows = rows_from(SOURCES[kind](), prompt=PROMPT)
    return rows.with_answers(await Guide(ModelParams(model_name="a")).ainfer(rows, response_model=response_model))


PLACES = [[{"name": "Rome", "other": None}], [{"name": "Ys", "other": "Ker-Is"}]]


@pytest.mark.parametrize("kind", ["polars", "arrow", "datasets"])
async def test_columns_of_frames_have_the_types_of_the_class(kind: str) -> None:
    frame = await visited(kind)
    table: Any = frame if isinstance(frame, pa.Table) else frame.to_arrow() if kind == "polars" else frame.data.table
    types = {name: re.sub("large_|element|item|_view", "", str(table.schema.field(name).type)) for name in VISIT_TYPES}
    assert types == VISIT_TYPES
    assert table["cities"].to_pylist() == PLACES
    assert table["at"].to_pylist() == [datetime(2026, 1, 2, 12, tzinfo=UTC)] * 2
    assert [json.loads(text) for text in table["more"].to_pylist()] == [{"a": 1}, {"b": 1}]


VISIT_TYPES = {
    "day": "date32[day]",
    "at": "timestamp[us, tz=UTC]",
    "left": "timestamp[us]",
    "rivers": "list<: string>",
    "cities": "list<: struct<name: string, other: string>>",
    "more": "string",
}


async def test_columns_of_pandas_have_types_where_pandas_has_them() -> None:
    frame = await visited("pandas")
    assert {name: str(frame[name].dtype) for name in ("at", "left")} == {
        "at": "datetime64[us, UTC]",
        "left": "datetime64[us]",
    }
    assert [*frame["day"]] == [date(2026, 1, 2)] * 2
    assert [*frame["cities"]] == PLACES
    assert [*frame["more"]] == [{"a": 1}, {"b": 1}]


async def test_lists_of_dicts_have_the_values_of_json() -> None:
    first, second = await visited("dicts")
    assert (first["day"], first["at"]) == ("2026-01-02", "2026-01-02T14:00:00+02:00")
    assert [first["cities"], second["cities"]] == PLACES


@pytest.mark.parametrize("kind", ["polars", "arrow", "datasets"])
async def test_answers_of_a_json_schema_have_the_types_of_their_values(kind: str) -> None:
    found = as_dicts(await visited(kind, {"type": "object", "properties": {"day": {"type": "string"}}}))
    assert [list(row["rivers"]) for row in found] == [["Tiber"], []]
    assert found[0]["day"] == "2026-01-02"
    # Objects with different keys are text, so that none gets keys that it does not have.
    assert [json.loads(row["cities"]) for row in found] == [[{"name": "Rome"}], [{"name": "Ys", "other": "Ker-Is"}]]


class Opaque:
    """A class that JSON does not know."""


class WithOpaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    n: int

    @computed_field
    @property
    def opaque(self) -> Opaque:
        return Opaque()


class Unwritable(BaseModel):
    n: int

    @field_serializer("n")
    def _n(self, n: int) -> int:
        raise LookupError("no")


class Saying(SimpleEngine):
    """Answers with the prompt."""

    async def _generate(self, conversation: Conversation) -> Completion:
        return Completion(Message(role=Role.ASSISTANT, content=conversation.messages[-1].text), FinishReason.STOP)


async def answered(answers: list[str], model: Any, folder: Path) -> tuple[pa.Table, pa.Table]:
    """The columns of these answers in a frame and in a file."""
    rows, engine = rows_from(pa.table({"q": answers}), prompt="{{ q }}"), Saying(ModelParams(model_name="a"))
    frame = rows.with_answers(await engine.ainfer(rows, response_model=model))
    config = InferenceConfig(output_path=folder / "out.parquet", generation=GenerationParams(response_model=model))
    await engine.arun(config, input=rows_from(pa.table({"q": answers}), prompt="{{ q }}"))
    return frame, pq.read_table(folder / "out.parquet")


@pytest.mark.parametrize("model", [WithOpaque, Unwritable])
async def test_classes_that_cannot_be_written_as_json_have_columns(tmp_path: Path, model: Any) -> None:
    frame, file = await answered(['{"n": 1}'], model, tmp_path)
    assert frame["n"].to_pylist() == [1]
    assert frame.equals(file)


@dataclass
class DataclassVisit:
    day: date
    at: datetime
    river: str | None = None


class DictVisit(TypedDict):
    day: date
    at: datetime
    places: list[Place]


@dataclass
class Span:
    start: date


class Nested(TypedDict):
    spans: list[Span]
    corner: tuple[int, int]


class Cat(BaseModel):
    lives: int


class Dog(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("model", "answers"),
    [
        (DataclassVisit, ['{"day": "2026-01-02", "at": "2026-01-02T12:00:00Z"}']),
        (DictVisit, ['{"day": "2026-01-02", "at": "2026-01-02T12:00:00", "places": [{"name": "Rome"}]}']),
        (Cat | Dog, ['{"lives": 7}', '{"name": "Rex"}']),
        (Cat | None, ['{"lives": 7}', "null"]),
        (list[int], ["[1]"]),
        (Nested, ['{"spans": [{"start": "2026-01-02"}], "corner": [1, 2]}']),
    ],
)
async def test_frames_and_files_have_the_same_columns(tmp_path: Path, model: Any, answers: list[str]) -> None:
    frame, file = await answered(answers, model, tmp_path)
    assert frame.equals(file)


class Searcher(SimpleEngine):
    """The answers come with what the API found and what they cost. Not all have the same fields."""

    async def _generate(self, conversation: Conversation) -> Completion:
        found = {"a": [{"url": "x"}]} if conversation.messages[-1].text.startswith("a") else {"b": [{"text": "y"}]}
        message = Message(role=Role.ASSISTANT, content="Yes")
        return Completion(message, FinishReason.STOP, Usage(1, 2, 3, cost=0.5), {"provider_fields": found})


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "datasets", "dicts"])
async def test_what_came_with_the_answers_has_columns(kind: str) -> None:
    rows = rows_from(SOURCES[kind](), prompt=PROMPT)
    found = as_dicts(rows.with_answers(await Searcher(ModelParams(model_name="a")).ainfer(rows)))
    fields = [row["metadata"] for row in found]
    if kind not in ("pandas", "dicts"):
        fields = [json.loads(text) for text in fields]
    assert fields == [{"provider_fields": {"a": [{"url": "x"}]}}, {"provider_fields": {"b": [{"text": "y"}]}}]
    assert [row["cost"] for row in found] == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "datasets", "dicts"])
async def test_columns_of_the_data_keep_their_names(kind: str) -> None:
    data = [{**row, "cost": "mine", "error": "mine"} for row in DICTS]
    makers = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.Table.from_pylist, "dicts": list}
    make = makers.get(kind) or pytest.importorskip("datasets").Dataset.from_list
    rows = rows_from(make(data), prompt="{{ text }}")
    first, second = as_dicts(rows.with_answers(await Half(ModelParams(model_name="a")).ainfer_partial(rows)))
    assert (first["cost"], first["answer_cost"], first["error"]) == ("mine", 0.5, "mine")
    assert pd.isna(first["answer_error"])
    assert (second["cost"], second["error"], second["answer_error"]) == ("mine", "mine", "bad request")


class Half(Searcher):
    """Refuses the row b."""

    async def _generate(self, conversation: Conversation) -> Completion:
        if conversation.messages[-1].text.startswith("b"):
            raise rejection()
        return await super()._generate(conversation)


class Problem(BaseModel):
    error: str


class HalfTyped(SimpleEngine):
    """Answers with a property `error`, and refuses the row b."""

    async def _generate(self, conversation: Conversation) -> Completion:
        if conversation.messages[-1].text.startswith("b"):
            raise rejection()
        return Completion(Message(role=Role.ASSISTANT, content='{"error": "a leak"}'), FinishReason.STOP)


async def test_property_with_the_name_of_the_column_of_errors_keeps_its_name() -> None:
    rows = rows_from(DICTS, prompt=PROMPT)
    engine = HalfTyped(ModelParams(model_name="a"))
    first, second = rows.with_answers(await engine.ainfer_partial(rows, response_model=Problem))
    assert (first["error"], first["answer_error"]) == ("a leak", None)
    assert (second["error"], second["answer_error"]) == (None, "bad request")


class UnwritableProblem(Problem):
    @field_serializer("error")
    def _write(self, _: str) -> str:
        raise ZeroDivisionError


async def test_answer_whose_serializer_raises_has_the_values_of_its_text() -> None:
    """As in an output of rows."""
    rows = rows_from(DICTS[:1], prompt=PROMPT)
    [row] = rows.with_answers(
        await HalfTyped(ModelParams(model_name="a")).ainfer(rows, response_model=UnwritableProblem)
    )
    assert row["error"] == "a leak"


class Named(BaseModel):
    answer: str


async def test_property_with_the_name_of_another_column_is_an_error() -> None:
    rows = rows_from(DICTS[:1], prompt=PROMPT)
    answered = Conversation.from_dict({"messages": [{"role": "assistant", "content": '{"answer": "a"}'}]})
    with pytest.raises(ConfigError, match="'answer' .*; rename it in the class or in the schema$"):
        rows.with_answers([answered.with_parsed(Named(answer="a"))])


async def test_counts_are_numbers_also_if_no_answer_has_them() -> None:
    rows = rows_from(pandas_frame(), prompt=PROMPT)
    frame = rows.with_answers(await Atlas(ModelParams(model_name="atlas")).ainfer(rows))
    assert str(frame["total_tokens"].dtype) == "Int64"


def as_dicts(frame: Any) -> list[dict[str, Any]]:
    match frame:
        case pd.DataFrame():
            return frame.to_dict("records")
        case pl.DataFrame():
            return frame.to_dicts()
        case pa.Table():
            return frame.to_pylist()
        case _:
            return list(frame)


async def test_index_of_a_pandas_frame_is_kept() -> None:
    rows = rows_from(pandas_frame(), prompt=PROMPT)
    assert list(rows.with_answers(await FakeEngine().ainfer(rows)).index) == [10, 20]


def refuse_b(text: str, attempt: int) -> None:
    if text.startswith("b"):
        raise rejection()


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "dicts"])
async def test_rows_that_failed_have_a_reason_and_no_answer(kind: str) -> None:
    data = SOURCES[kind]()
    rows = rows_from(data, prompt=PROMPT)
    frame = rows.with_answers(await FakeEngine(refuse_b).ainfer_partial(rows, ONE_ATTEMPT))
    table = pa.Table.from_pylist(frame) if isinstance(frame, list) else pl.DataFrame(frame).to_arrow()
    assert table["answer"].to_pylist() == ["answer to a 1", None]
    assert table["error"].to_pylist() == [None, "bad request"]
    assert table["total_tokens"].to_pylist() == [7, None]


async def test_answers_of_other_rows_are_refused() -> None:
    rows = rows_from(DICTS, prompt=PROMPT)
    answers = await FakeEngine().ainfer(rows)
    with pytest.raises(InputError, match="there are 1 answers for 2 rows"):
        rows.with_answers(answers[:1])
    with pytest.raises(InputError, match="have a column 'answer' already"):
        rows_from([{"answer": 1}] * 2, prompt="a").with_answers(answers)


async def test_dicts_take_the_prompt_of_the_configuration() -> None:
    config = InferenceConfig(input=InputParams(prompt=PROMPT, id="n"))
    answers = await FakeEngine().ainfer(DICTS, config)
    assert [answer.text for answer in answers] == ["answer to a 1", "answer to b "]
    assert answers[0].conversation_id == "1"


async def endless() -> AsyncIterator[dict[str, Any]]:
    number = 0
    while True:
        yield {"text": number, "n": None}
        number += 1


@pytest.mark.parametrize("as_async", [True, False])
async def test_sources_that_are_read_once_take_the_prompt_of_the_configuration(as_async: bool) -> None:
    config = InferenceConfig(input=InputParams(prompt="{{ text }}"))
    source = endless() if as_async else ({"text": number} for number in range(10**9))
    async with FakeEngine().ainfer_iter(source, config) as outcomes:
        async for index, outcome in outcomes:
            assert isinstance(outcome, Conversation)
            assert outcome.messages[0].content == str(index)
            if index == 5:
                break


async def test_bad_row_of_a_source_that_is_read_once_fails_alone() -> None:
    found: dict[int, object] = {}
    rows = rows_from([{"text": "a"}, {"txt": "b"}, 3, {"text": "c"}], prompt="{{ text }}")
    async with FakeEngine().ainfer_iter(rows) as outcomes:
        async for index, outcome in outcomes:
            found[index] = outcome
    assert isinstance(found[0], Conversation)
    assert isinstance(found[3], Conversation)
    first, second = found[1], found[2]
    assert isinstance(first, FailureDetail)
    assert isinstance(second, FailureDetail)
    assert "there is no column 'text'; the columns are txt" in first.error_message
    assert "should be a dict with the columns (found int)" in second.error_message


async def test_bad_rows_are_listed_before_anything_is_sent() -> None:
    engine = FakeEngine()
    with pytest.raises(InputError, match=r"2 bad row\(s\); nothing was run:\n  row 1: input.prompt: .*\n  row 2: "):
        await engine.ainfer(rows_from([{"text": "a"}, {"txt": "b"}, 3], prompt="{{ text }}"))
    assert not engine.asked


async def test_missing_column_of_a_frame_is_one_error() -> None:
    engine = FakeEngine()
    with pytest.raises(InputError, match="input: input.prompt: there is no column 'txt'; the columns are text, n"):
        await engine.ainfer(rows_from(pandas_frame(), prompt="{{ txt }}"))
    assert not engine.asked


def test_conversations_can_be_looked_at() -> None:
    first, second = rows_from(DICTS, prompt=PROMPT, keep=["n"])
    assert (first.messages[0].content, first.metadata) == ("a 1", {"n": 1})
    assert second.metadata == {"n": None}


@pytest.mark.parametrize("data", [3, {"text": "a"}, b"abc", None])
def test_other_objects_are_refused(data: object) -> None:
    with pytest.raises(InputError, match="data should be a path, a data frame or an iterable of dicts"):
        rows_from(data, prompt="a")


def test_async_iterables_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="data is an async iterable: pass it to ainfer_iter"):
        rows_from(endless(), prompt="a")


@pytest.mark.parametrize("kind", [pl.Int128, pl.UInt128])
def test_integers_of_128_bits_in_a_polars_frame_are_text(kind: Any) -> None:
    frame = pl.DataFrame({"a": pl.Series([2**100, None], dtype=kind)})
    assert [row.messages[0].text for row in rows_from(frame, prompt="a{{ a }}")] == [f"a{2**100}", "a"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": ["x"], "b": [2**100]}),
        pd.DataFrame({"a": ["x", "y"], "b": [1, "y"]}),
        pl.DataFrame({"a": ["x"], "b": pl.Series([[1]], dtype=pl.List(pl.Int128))}),
    ],
)
def test_error_names_the_column_that_arrow_cannot_represent(frame: Any) -> None:
    with pytest.raises(InputError, match=r"the column 'b' of the data frame cannot be converted to Arrow: .* to texts"):
        rows_from(frame, prompt="a")


def test_python_objects_in_a_polars_frame_are_refused() -> None:
    with pytest.raises(InputError, match="the column 'a' of the data frame has Python objects"):
        rows_from(pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}), prompt="a")


def test_names_of_columns_are_texts() -> None:
    with pytest.raises(InputError, match=r"the names of columns should be texts \(found 1\)"):
        list(rows_from([{1: "a"}], prompt="a"))


class CountedRows:
    """A million rows, which counts those that are read."""

    count = 0

    def __iter__(self) -> Iterator[dict[str, int]]:
        for number in range(10**6):
            self.count += 1
            yield {"n": number}


async def test_template_that_does_too_much_ends_the_check_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_work, "_MOST", 1 << 12)
    engine, rows = FakeEngine(), CountedRows()
    with pytest.raises(InputError, match=r"20 bad row\(s\).*\n  row 0: input.prompt: .* it does too much for this row"):
        await engine.ainfer(rows_from(rows, prompt="{% for i in range(100) %}{% endfor %}"))
    assert (len(engine.asked), rows.count) == (0, 20)


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("{% for i in range(17) %}{{ 'a' * 2 ** 20 }}{% endfor %}", "the text has more than 16,777,216 characters"),
        ("{{ 'a' * 2 ** 25 }}", "the result of .* would be too large: 33,554,432 characters"),
        ("{{ 10 ** 30000 }}", "the result of .* would be too large"),
        ("{% set a = ['a' * 2 ** 23] %}{{ a + a + a == 1 }}", "a value is too large"),
    ],
)
async def test_template_whose_texts_are_too_large_ends_the_check_of_the_rows(prompt: str, why: str) -> None:
    engine, rows = FakeEngine(), CountedRows()
    with pytest.raises(InputError, match=rf"20 bad row\(s\).*\n  row 0: input.prompt: the template fails: {why}"):
        await engine.ainfer(rows_from(rows, prompt=prompt))
    assert (len(engine.asked), rows.count) == (0, 20)


def test_missing_values_of_pandas_are_nulls() -> None:
    frame = pd.DataFrame({"a": [float("nan")], "b": [None], "c": [pd.NaT], "d": [pd.NA]})
    [row] = rows_from(frame, prompt="[{{ a }}{{ b }}{{ c }}{{ d }}]")
    assert row.messages[0].content == "[]"
