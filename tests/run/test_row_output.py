"""Runs over tables: every format in and out, resumed, changed and broken."""

from __future__ import annotations

import gzip
import io
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from anyio import to_thread
from pydantic import BaseModel, Field, create_model, field_serializer, field_validator

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    GuidedDecodingParams,
    InferenceConfig,
    InputError,
    InputParams,
    Message,
    ModelParams,
    OutputParams,
    Role,
    RunInterruptedError,
    ScratchError,
    Stop,
    ToolCall,
    rows_from,
)
from asyncinfer.run import row_output
from asyncinfer.types.answer import Completion
from tests.data.tables import write
from tests.fakes import ONE_ATTEMPT, FakeEngine, SimpleEngine, questions, read_jsonl, rejection, write_jsonl

ROWS = [{"id": f"r{n}", "text": f'text {n}, "quoted"\nü', "label": f"{n % 3}"} for n in range(20)]
INPUTS = ["in.csv", "in.tsv", "in.csv.gz", "in.jsonl", "in.jsonl.gz", "in.jsonl.zst", "in.parquet", "in.arrow"]
OUTPUTS = ["out.csv", "out.tsv", "out.csv.zst", "out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"]


async def saved(folder: Path, name: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write the rows to a file of the format in its name."""
    return await to_thread.run_sync(_saved, folder / name, rows)


def _saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".arrow":
        pl.DataFrame(rows).write_ipc(path)
    else:
        write(path, [*rows])
    return path


def loaded(path: Path) -> list[dict[str, Any]]:
    """Read a file with other libraries."""
    match path.suffixes:
        case [".parquet"]:
            return pq.read_table(path).to_pylist()
        case [".csv"] | [".tsv"] | [".csv", ".zst"]:
            separator = "\t" if path.suffix == ".tsv" else ","
            text = io.BytesIO(_unpacked(path))
            return pd.read_csv(text, sep=separator, dtype=str, keep_default_na=False).to_dict("records")
        case _:
            return [json.loads(line) for line in _unpacked(path).splitlines()]


def _unpacked(path: Path) -> bytes:
    unpack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.decompress,
        ".zst": lambda data: zstandard.ZstdDecompressor().stream_reader(data).read(),
    }
    return unpack.get(path.suffix, bytes)(path.read_bytes())


def job(input_path: Path, output: Path, **more: Any) -> InferenceConfig:
    return InferenceConfig(
        input=InputParams(path=input_path, prompt="Summarise: {{ text }}", **more),
        output=OutputParams(path=output, rows=True),
    )


def prompt_of(row: dict[str, Any]) -> str:
    return f"Summarise: {row['text']}"


def answered(row: dict[str, Any], *, as_text: bool) -> dict[str, Any]:
    tokens = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    counts = {name: str(count) for name, count in tokens.items()} if as_text else tokens
    return {**row, "answer": f"answer to {prompt_of(row)}", "finish_reason": "stop", **counts}


@pytest.mark.parametrize("input_name", INPUTS)
async def test_rows_of_every_format_become_parquet(tmp_path: Path, input_name: str) -> None:
    output = tmp_path / "out.parquet"
    summary = await FakeEngine().arun(job(await saved(tmp_path, input_name), output))
    assert (summary.completed, summary.failed) == (20, 0)
    assert loaded(output) == [answered(row, as_text=False) for row in ROWS]
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("output_name", OUTPUTS)
async def test_rows_of_parquet_become_every_format(tmp_path: Path, output_name: str) -> None:
    output = tmp_path / output_name
    await FakeEngine().arun(job(await saved(tmp_path, "in.parquet"), output))
    assert loaded(output) == [answered(row, as_text="sv" in output_name) for row in ROWS]


@pytest.mark.parametrize("input_name", ["in.csv", "in.parquet", "in.jsonl.gz"])
@pytest.mark.parametrize("output_name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
async def test_rows_of_tables_become_conversations(tmp_path: Path, input_name: str, output_name: str) -> None:
    prompt = InputParams(prompt="Summarise: {{ text }}", id="id", keep=["label"])
    output = tmp_path / output_name
    await FakeEngine().arun(
        InferenceConfig(input_path=await saved(tmp_path, input_name), output_path=output, input=prompt)
    )
    lines = loaded(output)
    assert [line["conversation_id"] for line in lines] == [row["id"] for row in ROWS]
    assert [line["metadata"]["label"] for line in lines] == [row["label"] for row in ROWS]
    assert [line["messages"][0]["content"] for line in lines] == [*map(prompt_of, ROWS)]


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.jsonl.zst"])
async def test_compressed_files_of_conversations_are_read(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    (tmp_path / name).write_bytes(pack(write_jsonl(tmp_path / "plain.jsonl", questions(3)).read_bytes()))
    answers = await FakeEngine().ainfer(inference_config=InferenceConfig(input_path=tmp_path / name))
    assert [answer.text for answer in answers] == [f"answer to question {n}" for n in range(3)]


async def test_conversations_become_rows_with_their_keys(tmp_path: Path) -> None:
    config = InferenceConfig(
        input_path=write_jsonl(tmp_path / "in.jsonl", questions(2)), output_path=tmp_path / "out.parquet"
    )
    await FakeEngine().arun(config)
    first, _ = loaded(tmp_path / "out.parquet")
    assert first["conversation_id"] == "q0"
    assert json.loads(first["messages"]) == [{"role": "user", "content": "question 0"}]
    assert first["answer"] == "answer to question 0"


async def test_conversations_in_memory_become_rows(tmp_path: Path) -> None:
    answers = await FakeEngine().ainfer(questions(2), InferenceConfig(output_path=tmp_path / "out.csv"))
    assert len(answers) == 2
    assert [row["answer"] for row in loaded(tmp_path / "out.csv")] == [f"answer to question {n}" for n in range(2)]


async def test_kept_columns_are_those_of_the_output_in_their_order(tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    await FakeEngine().arun(job(await saved(tmp_path, "in.parquet"), output, keep=["label", "id"]))
    assert list(loaded(output)[0])[:3] == ["label", "id", "answer"]


async def test_types_of_the_input_are_those_of_the_output(tmp_path: Path) -> None:
    fields = {
        "text": pa.string(),
        "day": pa.date32(),
        "photo": pa.binary(),
        "tags": pa.list_(pa.struct([("x", pa.int8())])),
    }
    rows = [{"text": "a", "day": date(2026, 1, 1), "photo": b"\xff", "tags": [{"x": 1}]}, dict.fromkeys(fields)]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), tmp_path / "in.parquet")
    await FakeEngine().arun(job(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select([*fields]).to_pylist() == rows
    assert found.schema.types[: len(fields)] == [*fields.values()]


async def test_output_without_values_has_the_same_types(tmp_path: Path) -> None:
    """Files of several runs can be read as one data set."""
    for name, count in (("few", 1), ("many", 20)):
        await FakeEngine().arun(job(await saved(tmp_path, f"{name}.csv", ROWS[:count]), tmp_path / f"{name}.parquet"))
    assert pq.read_schema(tmp_path / "few.parquet") == pq.read_schema(tmp_path / "many.parquet")


class Agent(SimpleEngine):
    """Answers with a tool call and its reasoning."""

    async def _generate(self, conversation: Conversation) -> Completion:
        call = ToolCall.model_validate({"id": "c1", "function": {"name": "f", "arguments": "{}"}})
        message = Message(role=Role.ASSISTANT, tool_calls=[call], reasoning_content="Let me see.")
        return Completion(message, FinishReason.TOOL_CALLS)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
async def test_tool_calls_and_reasoning_have_columns_if_there_are_any(tmp_path: Path, name: str) -> None:
    await Agent(ModelParams(model_name="a")).arun(job(await saved(tmp_path, "in.csv", ROWS[:2]), tmp_path / name))
    first, _ = loaded(tmp_path / name)
    assert not first["answer"]
    assert first["reasoning_content"] == "Let me see."
    calls = first["tool_calls"] if name == "out.jsonl" else json.loads(first["tool_calls"])
    assert calls[0]["function"]["name"] == "f"


# Failed rows


def refuse_every_third(text: str, attempt: int) -> None:
    if int(text.split()[2].rstrip(",")) % 3 == 0:
        raise rejection()


@pytest.mark.parametrize("output_name", OUTPUTS)
async def test_failed_rows_are_left_out_and_listed(tmp_path: Path, output_name: str) -> None:
    config = job(await saved(tmp_path, "in.csv"), tmp_path / output_name, id="id").model_copy(
        update={"remote_params": ONE_ATTEMPT.remote_params}
    )
    summary = await FakeEngine(refuse_every_third).arun(config)
    assert summary.failed == 7
    assert [row["id"] for row in loaded(tmp_path / output_name)] == [f"r{n}" for n in range(20) if n % 3]
    failures = read_jsonl(tmp_path / f"{output_name}.failures.jsonl")
    assert [line["conversation_id"] for line in failures] == [f"r{n}" for n in range(0, 20, 3)]
    assert [line["metadata"]["failure"]["row"] for line in failures] == [*range(0, 20, 3)]
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.completed, summary.resumed, len(engine.asked)) == (20, 13, 7)
    assert len(loaded(tmp_path / output_name)) == 20
    assert not (tmp_path / f"{output_name}.failures.jsonl").exists()


# Resume


@pytest.mark.parametrize("input_name", INPUTS)
async def test_interrupted_run_goes_on(tmp_path: Path, input_name: str) -> None:
    stop = Stop(grace=0)

    def stop_after_seven(text: str, attempt: int) -> None:
        if "text 7," in text:
            stop.request()

    config = job(await saved(tmp_path, input_name), tmp_path / "out.parquet")
    first = FakeEngine(stop_after_seven, workers=1)
    with pytest.raises(RunInterruptedError):
        await first.arun(config, stop=stop)
    second = FakeEngine(workers=1)
    summary = await second.arun(config)
    assert 0 < summary.resumed < 20
    assert summary.resumed == 20 - len(second.asked)
    assert loaded(tmp_path / "out.parquet") == [answered(row, as_text=False) for row in ROWS]


async def test_answers_stay_when_the_format_and_other_columns_change(tmp_path: Path) -> None:
    config = job(await saved(tmp_path, "in.csv"), tmp_path / "out.csv").model_copy(
        update={"remote_params": ONE_ATTEMPT.remote_params}
    )
    await FakeEngine(refuse_every_third).arun(config)
    changed = [{"label": "new", "text": row["text"]} for row in reversed(ROWS)]
    again = config.model_copy(update={"input_path": str(await saved(tmp_path, "in.parquet", changed))})
    engine = FakeEngine()
    summary = await engine.arun(again)
    assert (summary.resumed, len(engine.asked)) == (13, 7)
    assert [row["label"] for row in loaded(tmp_path / "out.csv")] == ["new"] * 20


async def test_input_that_changes_during_the_run_is_noticed_and_its_answers_are_kept(tmp_path: Path) -> None:
    path = await saved(tmp_path, "in.csv")

    def change(text: str, attempt: int) -> Awaitable[None] | None:
        changed = [{**row, "label": "changed"} for row in ROWS]
        return saved(tmp_path, "in.csv", changed) if "text 19," in text else None  # type: ignore[return-value]

    config = job(path, tmp_path / "out.parquet")
    with pytest.raises(InputError, match=r"in.csv: changed while it was read \(row 0\), .* are saved in .*scratch"):
        await FakeEngine(change, workers=1).arun(config)
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.resumed, len(engine.asked)) == (20, 0)
    assert {row["label"] for row in loaded(tmp_path / "out.parquet")} == {"changed"}


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
async def test_input_that_becomes_shorter_during_the_run_keeps_its_answers(tmp_path: Path, name: str) -> None:
    path = await saved(tmp_path, "in.csv")

    def cut(text: str, attempt: int) -> Awaitable[None] | None:
        return saved(tmp_path, "in.csv", ROWS[:4]) if "text 19," in text else None  # type: ignore[return-value]

    config = job(path, tmp_path / name)
    with pytest.raises(InputError, match=r"in.csv: changed while it was read \(row 4\), .* are saved in .*scratch"):
        await FakeEngine(cut, workers=1).arun(config)
    assert not (tmp_path / name).exists()
    await saved(tmp_path, "in.csv")
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.resumed, len(engine.asked)) == (20, 0)
    assert len(loaded(tmp_path / name)) == 20


async def test_output_that_cannot_be_written_keeps_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = job(await saved(tmp_path, "in.csv"), tmp_path / "out.parquet")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(row_output, "row_writer", full)
        with pytest.raises(ScratchError, match="out.parquet cannot be written: No space left.*free space"):
            await FakeEngine().arun(config)
    assert [*tmp_path.glob("*.tmp")] == []
    engine = FakeEngine()
    assert (await engine.arun(config)).resumed == 20


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl.gz"])
async def test_existing_output_is_replaced_after_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    config = job(await saved(tmp_path, "in.csv"), tmp_path / name)
    await FakeEngine().arun(config)
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "asyncinfer"):
        engine = FakeEngine()
        await engine.arun(config)
    [record] = caplog.records
    assert f"{name} exists already. Its rows are sent again" in record.message
    assert len(engine.asked) == 20


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl.gz"])
async def test_warning_about_an_existing_output_names_the_rows_that_are_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def reject_some(text: str, _: int) -> None:
        if text.startswith("Summarise: text 7"):
            raise rejection()

    config = job(await saved(tmp_path, "in.csv"), tmp_path / name)
    await FakeEngine(reject_some).arun(config)
    caplog.clear()
    engine = FakeEngine()
    assert (await engine.arun(config)).resumed == 19
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{name} exists already. It is replaced at the end. 19 rows have saved answers" in record.message
    assert len(engine.asked) == 1


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl.gz", "out.jsonl"])
async def test_reusing_an_output_without_row_keys_is_an_error(tmp_path: Path, name: str) -> None:
    config = job(await saved(tmp_path, "in.csv"), tmp_path / name).model_copy(update={"reuse_output": True})
    engine = FakeEngine()
    with pytest.raises(ConfigError, match="reuse_output: .* uncompressed JSONL file of conversations"):
        await engine.arun(config)
    assert not engine.asked


async def test_output_of_conversations_can_be_reused_with_an_input_of_rows(tmp_path: Path) -> None:
    config = InferenceConfig(
        input=InputParams(path=await saved(tmp_path, "in.csv"), prompt="Summarise: {{ text }}"),
        output_path=tmp_path / "out.jsonl",
        reuse_output=True,
    )
    await FakeEngine().arun(config)
    await saved(tmp_path, "in.csv", [*ROWS, {"id": "new", "text": "text 99, new", "label": ""}])
    engine = FakeEngine()
    await engine.arun(config)
    assert [*engine.asked] == ["Summarise: text 99, new"]


# Before anything is sent


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": ["id", "nothing"]}, "input.keep: there is no column 'nothing'; the columns are id, text, label"),
        ({"id": "nothing"}, "input.id: there is no column 'nothing'"),
        ({"id": "label"}, r"conversation_id '0' is already that of (line|row)"),
    ],
)
@pytest.mark.parametrize("name", INPUTS)
async def test_wrong_columns_are_an_error_before_anything_is_sent(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    engine = FakeEngine()
    with pytest.raises(InputError, match=message) as caught:
        await engine.arun(job(await saved(tmp_path, name), tmp_path / "out.parquet", **settings))
    assert name in str(caught.value)
    assert not engine.asked


async def test_column_with_the_name_of_the_answer_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    path = await saved(tmp_path, "in.csv", [{**row, "answer": "a"} for row in ROWS])
    engine = FakeEngine()
    with pytest.raises(ConfigError, match="the column 'answer' has the name of a column of the answer; rename it"):
        await engine.arun(job(path, tmp_path / "out.csv"))
    assert not engine.asked
    await engine.arun(job(path, tmp_path / "out.csv", keep=["id"]))
    assert len(engine.asked) == 20


async def test_kept_column_with_the_name_of_metadata_is_an_error(tmp_path: Path) -> None:
    path = await saved(tmp_path, "in.csv", [{"text": "a", "usage": "b"}])
    prompt = InputParams(prompt="{{ text }}", keep=["usage"])
    with pytest.raises(ConfigError, match="input.keep: the metadata of an answer have the name 'usage' already"):
        await FakeEngine().arun(InferenceConfig(input_path=path, output_path=tmp_path / "out.jsonl", input=prompt))


async def test_table_without_a_prompt_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input.prompt: there is no column 'messages'; the columns are id, text"):
        await FakeEngine().arun(
            InferenceConfig(input_path=await saved(tmp_path, "in.csv"), output_path=tmp_path / "o.csv")
        )


async def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,label\na,1\nb\nc,1\n")
    engine = FakeEngine()
    with pytest.raises(InputError, match=r"in.csv: 1 bad row\(s\); nothing was run:\n  line 3: has 1 values"):
        await engine.arun(job(tmp_path / "in.csv", tmp_path / "out.csv"))
    assert not engine.asked


async def test_empty_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,label\n")
    with pytest.raises(InputError, match=r"in.csv: there are no conversations in it"):
        await FakeEngine().arun(job(tmp_path / "in.csv", tmp_path / "out.csv"))


async def test_rows_cannot_be_written_for_a_source_that_is_read_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ainfer_iter reads its source only once"):
        async with FakeEngine().ainfer_iter(["a"], InferenceConfig(output_path=tmp_path / "out.csv")) as outcomes:
            async for _ in outcomes:
                pass


async def test_source_that_is_read_once_is_saved_to_a_compressed_file(tmp_path: Path) -> None:
    config = InferenceConfig(output_path=tmp_path / "out.jsonl.gz")
    async with FakeEngine().ainfer_iter(["a", "b"], config) as outcomes:
        async for _ in outcomes:
            pass
    assert [line["messages"][1]["content"] for line in loaded(tmp_path / "out.jsonl.gz")] == [
        "answer to a",
        "answer to b",
    ]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            OutputParams(path="out.parquet.gz"),
            "output.path: Parquet compresses its own data; remove .gz from out.parquet.gz",
        ),
        (OutputParams(path="out.csv", rows=False), "a csv file cannot hold conversations"),
    ],
)
async def test_output_that_contradicts_itself_is_an_error(tmp_path: Path, output: OutputParams, message: str) -> None:
    config = InferenceConfig(input=InputParams(path=await saved(tmp_path, "in.csv"), prompt="a"), output=output)
    with pytest.raises(ConfigError, match=message):
        await FakeEngine().arun(config)


async def test_format_may_be_given_where_the_name_does_not_show_it(tmp_path: Path) -> None:
    (await saved(tmp_path, "in.csv")).rename(tmp_path / "data")
    config = InferenceConfig(
        input=InputParams(path=tmp_path / "data", format="csv", prompt="{{ text }}"),  # type: ignore[arg-type]
        output=OutputParams(path=tmp_path / "answers", format="parquet"),  # type: ignore[arg-type]
    )
    await FakeEngine().arun(config)
    assert len(pq.read_table(tmp_path / "answers")) == 20


# Typed answers

REVIEW = {
    "type": "object",
    "properties": {"stars": {"type": "integer"}, "topics": {"type": "array", "items": {"type": "string"}}},
}


class Critic(SimpleEngine):
    """Answers with the next of some texts."""

    texts: ClassVar[list[str]] = []

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {"guided_decoding"}

    async def _generate(self, conversation: Conversation) -> Completion:
        number = int(conversation.messages[-1].text.split()[2].rstrip(","))
        return Completion(Message(role=Role.ASSISTANT, content=self.texts[number]), FinishReason.STOP)


class Place(BaseModel):
    city: str


class Mood(Enum):
    GOOD = "good"


class Report(BaseModel):
    """Fields of many types."""

    stars: int
    score: float
    ok: bool | None
    mood: Mood
    day: date
    price: Decimal
    topics: list[str]
    place: Place


REPORT = {
    "stars": "5", "score": 4, "ok": True, "mood": "good", "day": "2026-01-02", "price": "1.10", "topics": ["a", "b"],
    "place": {"city": "Rome"},
}  # fmt: skip


class Reporter(SimpleEngine):
    """Answers with a report in a fenced block, whose number of stars is a text."""

    async def _generate(self, conversation: Conversation) -> Completion:
        text = f"Here it is:\n```json\n{json.dumps(REPORT)}\n```"
        return Completion(Message(role=Role.ASSISTANT, content=text), FinishReason.STOP)


async def reported(tmp_path: Path, name: str) -> dict[str, Any]:
    config = job(await saved(tmp_path, "in.csv", ROWS[:1]), tmp_path / name, keep=["id"])
    config.generation.response_model = Report
    await Reporter(ModelParams(model_name="a")).arun(config)
    [row] = loaded(tmp_path / name)
    return row


async def test_answers_that_the_model_accepts_are_typed_in_every_format(tmp_path: Path) -> None:
    as_json = {**REPORT, "stars": 5, "score": 4.0}
    found = await reported(tmp_path, "out.jsonl")
    assert {name: found[name] for name in as_json} == as_json
    assert "answer" not in found
    found = await reported(tmp_path, "out.parquet")
    assert {name: found[name] for name in as_json} == {**as_json, "day": date(2026, 1, 2)}
    found = await reported(tmp_path, "out.csv")
    assert (found["stars"], found["ok"], found["day"], found["topics"]) == ("5", "true", "2026-01-02", '["a","b"]')


async def criticised(tmp_path: Path, name: str, texts: list[str]) -> list[dict[str, Any]]:
    engine = Critic(ModelParams(model_name="a"))
    engine.texts = texts  # type: ignore[misc]
    config = job(await saved(tmp_path, "in.csv", ROWS[: len(texts)]), tmp_path / name, keep=["id"])
    config.generation.guided_decoding = GuidedDecodingParams(json=REVIEW)
    await engine.arun(config)
    return loaded(tmp_path / name)


async def test_properties_of_typed_answers_are_columns(tmp_path: Path) -> None:
    texts = ['{"stars": 5, "topics": ["price", "size"]}', '{"topics": []}']
    first, second = await criticised(tmp_path, "out.parquet", texts)
    assert list(first)[:4] == ["id", "stars", "topics", "finish_reason"]
    assert (first["stars"], first["topics"]) == (5, ["price", "size"])
    assert (second["stars"], second["topics"]) == (None, [])
    assert pq.read_schema(tmp_path / "out.parquet").field("stars").type == pa.int64()


async def test_lists_of_typed_answers_stay_lists_in_json(tmp_path: Path) -> None:
    [row] = await criticised(tmp_path, "out.jsonl", ['{"stars": 5, "topics": ["price"]}'])
    assert row["topics"] == ["price"]


async def test_typed_answer_that_does_not_fit_is_kept_whole(tmp_path: Path) -> None:
    first, second = await criticised(tmp_path, "out.parquet", ['{"stars": 5, "topics": []}', '{"stars": 4, "top'])
    assert (first["stars"], first["answer"]) == (5, None)
    assert (second["stars"], second["answer"]) == (None, '{"stars": 4, "top')


async def test_values_of_an_answer_that_fit_are_kept_beside_those_that_do_not(tmp_path: Path) -> None:
    texts = ['{"stars": 4.0, "topics": []}', '{"stars": 4, "topics": [], "why": 1}', '{"stars": 1e30, "topics": ["a"]}']
    rows = await criticised(tmp_path, "out.parquet", texts)
    assert [(row["stars"], row["topics"], row["answer"]) for row in rows] == [
        (4, [], None),
        (4, [], texts[1]),
        (None, ["a"], texts[2]),
    ]


@pytest.mark.parametrize(
    "taken", ["answer", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "id"]
)
async def test_property_with_the_name_of_another_column_is_an_error_before_anything_is_sent(
    tmp_path: Path, taken: str
) -> None:
    config = job(await saved(tmp_path, "in.csv", ROWS[:1]), tmp_path / "out.parquet", keep=["id"])
    engine = FakeEngine()
    for model in ({"type": "object", "properties": {taken: {"type": "string"}}}, create_model("Made", **{taken: str})):  # type: ignore[call-overload]
        config.generation.response_model = model
        with pytest.raises(ConfigError, match=f"'{taken}' .*has the name of a") as caught:
            await engine.arun(config)
        assert ("write conversations, to an output_path that ends in .jsonl" in str(caught.value)) is (taken != "id")
    assert not engine.asked


# With other settings


class Verdict(BaseModel):
    stars: int


class Judge(SimpleEngine):
    """Gives five stars."""

    async def _generate(self, conversation: Conversation) -> Completion:
        return Completion(Message(role=Role.ASSISTANT, content='{"stars": 5}'), FinishReason.STOP)


async def test_properties_of_a_response_model_are_typed_columns(tmp_path: Path) -> None:
    config = job(await saved(tmp_path, "in.csv", ROWS[:2]), tmp_path / "out.parquet")
    config.generation.response_model = "tests.run.test_row_output:Verdict"
    await Judge(ModelParams(model_name="judge")).arun(config)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.field("stars").type == pa.int64()
    assert [(row["id"], row["stars"]) for row in found.to_pylist()] == [("r0", 5), ("r1", 5)]


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"stars": 5}\n```',
        'It deserves {"stars": 5}. The scale was {"stars": "high"}.',
        '{"stars": "5"}',
        '{"stars": 5, "why": "It works."}',
    ],
)
async def test_columns_have_what_was_validated(tmp_path: Path, text: str) -> None:
    engine = Critic(ModelParams(model_name="critic"))
    engine.texts = [text]  # type: ignore[misc]
    config = job(await saved(tmp_path, "in.csv", ROWS[:1]), tmp_path / "out.parquet")
    config.generation.response_model = Verdict
    await engine.arun(config)
    [row] = loaded(tmp_path / "out.parquet")
    assert row["stars"] == 5
    assert "answer" not in row


class Person(BaseModel):
    name: str = Field(validation_alias="fullName")
    level: int = 3

    @field_validator("name")
    @classmethod
    def _tidy(cls, name: str) -> str:
        return name.strip().lower()


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.csv"])
async def test_columns_have_the_defaults_and_the_changes_of_validators(tmp_path: Path, name: str) -> None:
    engine = Critic(ModelParams(model_name="critic"))
    engine.texts = ['{"fullName": " BOB "}', '```\n{"fullName": "Ann", "level": "1"}\n```']  # type: ignore[misc]
    config = job(await saved(tmp_path, "in.csv", ROWS[:2]), tmp_path / name)
    config.generation.response_model = Person
    await engine.arun(config)
    rows = loaded(tmp_path / name)
    assert [(row["name"], int(row["level"])) for row in rows] == [("bob", 3), ("ann", 1)]
    assert "answer" not in rows[0]


async def test_answer_whose_serializer_raises_is_kept_whole(tmp_path: Path) -> None:
    class Unwritable(Verdict):
        @field_serializer("stars")
        def _write(self, _: int) -> int:
            raise SystemExit(3)

    engine = Critic(ModelParams(model_name="critic"))
    engine.texts = ['{"stars": 4}', '{"stars": "5"}']  # type: ignore[misc]
    config = job(await saved(tmp_path, "in.csv", ROWS[:2]), tmp_path / "out.parquet")
    config.generation.response_model = Unwritable
    await engine.arun(config)
    assert [(row["stars"], row["answer"]) for row in loaded(tmp_path / "out.parquet")] == [
        (4, None),
        (None, '{"stars": "5"}'),
    ]


async def test_limit_takes_the_first_rows_of_a_table(tmp_path: Path) -> None:
    config = job(await saved(tmp_path, "in.parquet"), tmp_path / "out.csv").model_copy(update={"limit": 3})
    await FakeEngine().arun(config)
    assert [row["id"] for row in loaded(tmp_path / "out.csv")] == ["r0", "r1", "r2"]


@pytest.mark.parametrize("row", [{"text": "a\ud800"}, {"messages": [{"role": "user", "content": "a\ud800"}]}])
async def test_a_row_of_a_table_that_cannot_be_saved_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    engine, config = FakeEngine(), InferenceConfig(output_path=tmp_path / "out.jsonl")
    good = {name: "b" if name == "text" else [{"role": "user", "content": "b"}] for name in row}
    rows = rows_from([good, row], prompt="{{ text }}" if "text" in row else None)
    with pytest.raises(InputError, match=r"row 1: it cannot be saved as JSON"):
        await engine.arun(config, input=rows)
    assert not engine.asked
