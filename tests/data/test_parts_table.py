"""Patterns such as `data/*.parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anyio import to_thread

from asyncinfer import ConfigError, InferenceConfig, InputError, InputParams, OutputParams, rows_from
from tests.data.tables import opened, read, write
from tests.fakes import FakeEngine, questions, read_jsonl, rejection, write_jsonl


def saved(folder: Path, name: str, *texts: str) -> None:
    folder.mkdir(exist_ok=True)
    write(folder / name, [{"id": name, "text": text} for text in texts])


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl", "jsonl.zst"])
def test_files_that_match_are_read_in_the_order_of_their_names(tmp_path: Path, suffix: str) -> None:
    for number in (2, 0, 1):
        saved(tmp_path, f"part-{number}.{suffix}", f"a{number}", f"b{number}")
    (tmp_path / f"part-x.{suffix}").mkdir()
    found = [row["text"] for row in read(tmp_path / f"part-*.{suffix}")]
    assert found == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none-\*.csv: no file matches this pattern"):
        opened(tmp_path / "none-*.csv")


def test_file_whose_name_has_brackets_is_a_file(tmp_path: Path) -> None:
    saved(tmp_path, "a[1].csv", "x")
    assert read(tmp_path / "a[1].csv")[0]["text"] == "x"


def test_pattern_in_a_url_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a pattern, which is possible only for local files"):
        opened("s3://bucket/*.parquet")


def test_files_with_other_columns_are_an_error_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [{"x": 1, "y": 2}])
    write(tmp_path / "b.csv", [{"x": 1, "z": 2}])
    with pytest.raises(InputError, match=r"b.csv: has the columns x, z, but .*a.csv has x, y"):
        opened(tmp_path / "*.csv")


def test_types_of_the_columns_are_those_that_hold_all_values(tmp_path: Path) -> None:
    for name, values in (("a", [1]), ("b", [0.5]), ("c", [None])):
        pq.write_table(pa.table({"x": values}), tmp_path / f"{name}.parquet")
    schema = opened(tmp_path / "*.parquet").arrow_schema()
    assert schema == pa.schema([("x", pa.float64())])
    pq.write_table(pa.table({"x": ["text"]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match="the types of the columns differ"):
        opened(tmp_path / "*.parquet")


def job(tmp_path: Path, pattern: str, output: str, **more: Any) -> InferenceConfig:
    prompt = InputParams(path=tmp_path / "in" / pattern, prompt="{{ text }}", **more)
    return InferenceConfig(input=prompt, output=OutputParams(path=tmp_path / output, rows=True))


async def test_run_over_several_files_writes_one_output_and_is_resumed(tmp_path: Path) -> None:
    await to_thread.run_sync(saved, tmp_path / "in", "a.parquet", "a", "bad")
    await to_thread.run_sync(saved, tmp_path / "in", "b.parquet", "c")

    def refuse(text: str, attempt: int) -> None:
        if text == "bad":
            raise rejection()

    summary = await FakeEngine(refuse).arun(job(tmp_path, "*.parquet", "out.parquet"))
    assert (summary.completed, summary.failed) == (2, 1)
    await to_thread.run_sync(saved, tmp_path / "in", "0.parquet", "new")
    engine = FakeEngine()
    summary = await engine.arun(job(tmp_path, "*.parquet", "out.parquet"))
    assert summary.resumed == 2
    assert sorted(engine.asked) == ["bad", "new"]
    assert pq.read_table(tmp_path / "out.parquet")["text"].to_pylist() == ["new", "a", "bad", "c"]


async def test_bad_rows_are_named_with_line_and_file(tmp_path: Path) -> None:
    await to_thread.run_sync(saved, tmp_path / "in", "a.csv", "a")
    (tmp_path / "in" / "b.csv").write_text("id,text\n1\n")
    with pytest.raises(InputError, match=r"line 2 of .*b.csv: has 1 values"):
        await FakeEngine().arun(job(tmp_path, "*.csv", "out.csv"))


async def test_files_of_conversations_keep_all_their_keys(tmp_path: Path) -> None:
    for number, row in enumerate(questions(2)):
        write_jsonl(tmp_path / f"{number}.jsonl", [row.model_copy(update={"more": number})])
    await FakeEngine().arun(InferenceConfig(input_path=tmp_path / "?.jsonl", output_path=tmp_path / "out.jsonl"))
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["conversation_id"], row["more"]) for row in rows] == [("q0", 0), ("q1", 1)]


@pytest.mark.parametrize("pattern", ["*.csv", "*"])
async def test_output_that_the_next_run_would_read_is_an_error(tmp_path: Path, pattern: str) -> None:
    await to_thread.run_sync(saved, tmp_path / "in", "a.csv", "a")
    with pytest.raises(ConfigError, match="output_path: out.csv matches the pattern of the input"):
        await FakeEngine().arun(job(tmp_path, pattern, "in/out.csv"))


def test_rows_from_takes_a_pattern(tmp_path: Path) -> None:
    saved(tmp_path, "a.csv", "a")
    saved(tmp_path, "b.csv", "b")
    texts = [row.messages[0].content for row in rows_from(tmp_path / "*.csv", prompt="{{ text }}")]
    assert texts == ["a", "b"]
