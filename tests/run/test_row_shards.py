"""Shards of outputs that are not plain JSONL: rows in every format, and compressed conversations."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Awaitable, Generator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from asyncinfer import (
    GuidedDecodingParams,
    InferenceConfig,
    InputError,
    InputParams,
    OutputParams,
    RunInterruptedError,
    Stop,
)
from asyncinfer.data.arrow_table import ParquetTable
from asyncinfer.data.layout import output_layout
from asyncinfer.data.row_prompt import RowPrompt
from asyncinfer.data.table import TableRow
from asyncinfer.run.row_output import RowOutput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.table_source import TableSource
from asyncinfer.scratch.file import ScratchFile
from tests.data.tables import opened, read, write
from tests.fakes import FakeEngine, ReasoningEngine, TextEngine, questions, rejection, write_jsonl

TABLES = ["out.parquet", "out.csv", "out.tsv", "out.csv.gz", "out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "text": f"text {number}"} for number in range(count)]


async def job(folder: Path, name: str, count: int, shards: int, **more: Any) -> InferenceConfig:
    """A job from Parquet to rows, in shards."""
    await to_thread.run_sync(write, folder / "in.parquet", [*rows(count)])
    return InferenceConfig(
        input=InputParams(path=folder / "in.parquet", prompt="{{ text }}", id="id"),
        output=OutputParams(path=folder / name, shards=shards, rows=True),
        **more,
    )


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("out-*"))


async def read_all(*paths: Path) -> list[list[dict[str, Any]]]:
    """The rows of each file."""
    return await to_thread.run_sync(lambda: [read(path) for path in paths])


async def ids(folder: Path) -> list[list[str]]:
    """The ids in each shard."""
    return [[row["id"] for row in part] for part in await read_all(*shards_in(folder))]


def with_values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, "")}


@pytest.mark.parametrize("name", TABLES)
async def test_shards_of_every_format_are_parts_of_the_output(tmp_path: Path, name: str) -> None:
    await FakeEngine().arun(await job(tmp_path, name, 10, 4))
    ending = name.removeprefix("out")
    assert [path.name for path in shards_in(tmp_path)] == [f"out-0000{n}-of-00003{ending}" for n in range(3)]
    assert await ids(tmp_path) == [
        ["r0", "r1", "r2", "r3"],
        ["r4", "r5", "r6", "r7"],
        ["r8", "r9"],
    ]
    *parts, whole = await read_all(*shards_in(tmp_path), tmp_path / name)
    assert [with_values(row) for part in parts for row in part] == [*map(with_values, whole)]


async def test_compressed_conversations_have_compressed_shards(tmp_path: Path) -> None:
    output = OutputParams(path=tmp_path / "out.jsonl.gz", shards=4)
    await FakeEngine().ainfer(questions(10), InferenceConfig(output=output))
    names = [path.name for path in shards_in(tmp_path)]
    assert names == [f"out-0000{number}-of-00003.jsonl.gz" for number in range(3)]
    joined = b"".join(gzip.decompress(path.read_bytes()) for path in shards_in(tmp_path))
    assert joined == gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes())


async def test_conversations_as_input_have_shards_of_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", questions(4))
    await FakeEngine().arun(InferenceConfig(input_path=path, output=OutputParams(path=tmp_path / "out.csv", shards=2)))
    assert [row["conversation_id"] for part in await read_all(*shards_in(tmp_path)) for row in part] == [
        "q0",
        "q1",
        "q2",
        "q3",
    ]


# Columns


class TestColumns:
    """All shards of a job have the same columns, whatever their answers are."""

    async def test_readers_of_data_sets_find_columns_that_only_some_answers_need(self, tmp_path: Path) -> None:
        await ReasoningEngine(only="text 5").arun(await job(tmp_path, "out.parquet", 6, 2))
        paths = [str(path) for path in shards_in(tmp_path)]
        assert len({str(pq.read_schema(path)) for path in paths}) == 1
        reasoning = [None, None, None, None, None, "Let me see."]
        found: pa.Table = pyarrow.dataset.dataset(paths).to_table()
        assert found["reasoning_content"].to_pylist() == reasoning
        assert pl.scan_parquet(paths).collect()["reasoning_content"].to_list() == reasoning
        frame = pd.concat([pd.read_parquet(path) for path in paths])
        assert [None if pd.isna(text) else text for text in frame["reasoning_content"]] == reasoning
        assert set(pq.read_schema(tmp_path / "out.parquet").names) < set(found.column_names)

    async def test_csv_files_have_the_same_first_line(self, tmp_path: Path) -> None:
        await ReasoningEngine(only="text 5").arun(await job(tmp_path, "out.csv", 6, 2))
        heads = {path.read_text().splitlines()[0] for path in shards_in(tmp_path)}
        assert len(heads) == 1
        assert "reasoning_content" in heads.pop()

    async def test_typed_answers_have_a_column_for_an_answer_that_does_not_fit(self, tmp_path: Path) -> None:
        engine = TextEngine(lambda text: '{"stars": "many"}' if text == "text 3" else '{"stars": 5}')
        config = await job(tmp_path, "out.parquet", 4, 2)
        schema = {"type": "object", "properties": {"stars": {"type": "integer"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        await engine.arun(config)
        found = pl.scan_parquet([str(path) for path in shards_in(tmp_path)]).collect()
        assert found["stars"].to_list() == [5, 5, 5, None]
        assert found["answer"].to_list() == [None, None, None, '{"stars": "many"}']

    async def test_times_of_typed_answers_are_text(self, tmp_path: Path) -> None:
        """Whether times have an offset from UTC is known only when all rows are answered."""

        def answer(text: str) -> str:
            return '{"at": "2026-01-02T12:00:00%s"}' % ("Z" if text == "text 3" else "")

        config = await job(tmp_path, "out.parquet", 4, 2)
        schema = {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}
        config.generation.guided_decoding = GuidedDecodingParams(json=schema)
        await TextEngine(answer).arun(config)
        found = pl.scan_parquet([str(path) for path in shards_in(tmp_path)]).collect()
        assert found["at"].to_list() == [*["2026-01-02T12:00:00"] * 3, "2026-01-02T12:00:00Z"]

    async def test_column_of_the_input_keeps_its_name(self, tmp_path: Path) -> None:
        config = await job(tmp_path, "out.parquet", 4, 2)
        await to_thread.run_sync(write, tmp_path / "in.parquet", [{**row, "cost": "mine"} for row in rows(4)])
        await FakeEngine().arun(config)
        for path in shards_in(tmp_path):
            shard = pq.read_table(path)
            assert shard["cost"].to_pylist() == ["mine"] * 2
            assert "answer_cost" in shard.column_names

    async def test_shard_without_any_answer_is_readable(self, tmp_path: Path) -> None:
        def script(text: str, _: int) -> None:
            if text in ("text 0", "text 1"):
                raise rejection()

        await FakeEngine(script).arun(await job(tmp_path, "out.parquet", 4, 2))
        first, second = map(pq.read_table, shards_in(tmp_path))
        assert (len(first), len(second)) == (0, 2)
        assert first.schema == second.schema


# Resume


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl.gz"])
async def test_next_run_writes_shards_with_the_rows_that_had_failed(tmp_path: Path, name: str) -> None:
    def script(text: str, _: int) -> None:
        if text == "text 1":
            raise rejection()

    config = await job(tmp_path, name, 4, 2)
    await FakeEngine(script).arun(config)
    assert await ids(tmp_path) == [["r0"], ["r2", "r3"]]
    await FakeEngine().arun(config)
    assert await ids(tmp_path) == [["r0", "r1"], ["r2", "r3"]]


async def test_interrupted_run_leaves_whole_shards(tmp_path: Path) -> None:
    config, stop = await job(tmp_path, "out.parquet", 40, 4), Stop(grace=0)
    engine = FakeEngine(lambda text, _: stop.request() if text == "text 20" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.arun(config, stop=stop)
    assert 0 < len(shards_in(tmp_path)) < 10
    assert {len(part) for part in await ids(tmp_path)} == {4}
    await FakeEngine().arun(config)
    assert [number for part in await ids(tmp_path) for number in part] == [f"r{n}" for n in range(40)]


async def test_input_that_changes_ends_the_shards_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The shard 0 is complete after the input has changed, and reads it again from its start."""
    config, has_changed = await job(tmp_path, "out.parquet", 8, 2), anyio.Event()

    async def script(text: str, _: int) -> None:
        if text == "text 0":
            await has_changed.wait()
        if text == "text 7":
            await wait_for(tmp_path / "out-00001-of-00004.parquet")
            changed = [{**row, "id": f"new {row['id']}"} for row in rows(8)]
            await to_thread.run_sync(write, tmp_path / "in.parquet", changed)
            has_changed.set()

    with (
        anyio.fail_after(30),
        caplog.at_level(logging.WARNING),
        pytest.raises(InputError, match="changed while it was read"),
    ):
        await FakeEngine(script, workers=8).arun(config)
    [warning] = [record.message for record in caplog.records if "no further shards" in record.message]
    assert re.fullmatch(
        r"no further shards are written: .*in.parquet: changed while it was read \(row 0\). .*", warning
    )
    written = await ids(tmp_path)
    assert ["r2", "r3"] in written
    assert ["r0", "r1"] not in written


async def wait_for(path: Path) -> None:
    while not await anyio.Path(path).exists():
        await checkpoint()


# Reading the input


@pytest.fixture
def read_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of each row of Parquet that is read, in order."""
    found, original = list[int](), ParquetTable.rows

    def counted(self: ParquetTable) -> Generator[TableRow]:
        for number, row in enumerate(original(self)):
            found.append(number)
            yield row

    monkeypatch.setattr(ParquetTable, "rows", counted)
    return found


async def test_shards_that_complete_in_order_read_the_input_once_in_all(tmp_path: Path, read_rows: list[int]) -> None:
    config = await job(tmp_path, "out.parquet", 400, 4)
    await FakeEngine(workers=1).arun(config)
    with_shards = len(read_rows)
    read_rows.clear()
    (tmp_path / "out.parquet").unlink()
    assert config.output is not None
    plain = config.output.model_copy(update={"shards": None})
    await FakeEngine(workers=1).arun(config.model_copy(update={"output": plain}))
    assert with_shards == len(read_rows) + 400


async def test_shards_that_complete_in_reverse_order_are_all_written(
    tmp_path: Path, read_rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    tries, original = list[int](), RowOutput.write_shard

    async def counted(self: RowOutput, path: Path, rows: range, *args: Any, **options: Any) -> int:
        tries.append(rows.start)
        return await original(self, path, rows, *args, **options)

    monkeypatch.setattr(RowOutput, "write_shard", counted)
    answered = [anyio.Event() for _ in range(count + 1)]
    answered[count].set()

    async def after_the_next(text: str, _: int) -> None:
        number = int(text.split()[1])
        await answered[number + 1].wait()
        if number % 3 == 2 and number + 1 < count:
            while number + 1 not in tries:
                await checkpoint()
        answered[number].set()

    with anyio.fail_after(30):
        await FakeEngine(after_the_next, workers=count).arun(await job(tmp_path, "out.parquet", count, 3))
    assert len(read_rows) <= (3 + 3) * count
    assert [number for part in await ids(tmp_path) for number in part] == [f"r{n}" for n in range(count)]
    # A late shard is tried again only when enough rows are done.
    assert len(tries) <= 3 * len(shards_in(tmp_path))


def input_rows(path: Path) -> TableSource:
    return TableSource(opened(path), RowPrompt(InputParams(prompt="{{ text }}")))


ORDERS = {
    "in order": [*range(100)],
    "reversed": [*range(99, -1, -1)],
    "pairs swapped": [number ^ 1 for number in range(100)],
    "first one last": [*range(1, 100), 0],
    "even ones first": [*range(0, 100, 2), *range(1, 100, 2)],
    "from both ends": [number // 2 if number % 2 else 99 - number // 2 for number in range(100)],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
async def test_reading_is_linear_in_whatever_order_shards_complete(
    tmp_path: Path, order: Sequence[int], read_rows: list[int]
) -> None:
    await job(tmp_path, "out.parquet", 1000, 10)
    source = await to_thread.run_sync(input_rows, tmp_path / "in.parquet")
    output = RowOutput(
        tmp_path / "out.jsonl", output_layout(str(tmp_path / "out.jsonl"), OutputParams(rows=True)), None, None
    )
    checksums = await to_thread.run_sync(lambda: [item.checksum for item in source.items()])
    await output.prepare(source, checksums)
    read_rows.clear()
    statuses, scratch = RowStatusTable(1000), ScratchFile(tmp_path / "scratch")
    waiting = list[range]()

    async def write(rows: range, *, is_end: bool = False) -> bool:
        path = tmp_path / f"shard-{rows.start}.jsonl"
        return not await output.write_shard(path, rows, scratch, statuses, is_end=is_end)

    for number in order:
        shard = range(number * 10, number * 10 + 10)
        for row in shard:
            statuses.fail(row)
        waiting = [rows for rows in sorted([*waiting, shard], key=lambda rows: rows.start) if not await write(rows)]
    assert all([await write(rows, is_end=True) for rows in waiting])
    await output.aclose()
    assert len([*tmp_path.glob("shard-*.jsonl")]) == 100
    assert len(read_rows) <= 3000
    if order == ORDERS["in order"]:
        assert len(read_rows) == 1000


async def test_late_shard_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    """One row that takes long delays its own shard only."""
    released, late_shard = anyio.Event(), tmp_path / "out-00001-of-00010.parquet"

    def script(text: str, _: int) -> Awaitable[None] | None:
        if text == "text 5":
            return released.wait()
        if text == "text 30":
            released.set()
        if text == "text 39":
            return wait_for(late_shard)
        return None

    with anyio.fail_after(30):
        await FakeEngine(script, workers=2).arun(await job(tmp_path, "out.parquet", 40, 4))
    assert len(shards_in(tmp_path)) == 10
