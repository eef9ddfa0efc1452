"""Memory does not grow with the size of a table."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncinfer import Conversation, InferenceConfig, InputParams, OutputParams
from asyncinfer.config import OutputFormat
from asyncinfer.data.compression import Compression
from asyncinfer.data.layout import OutputLayout
from asyncinfer.data.row_writer import row_writer
from asyncinfer.types.answer import Completion
from tests.data.tables import opened
from tests.fakes import FakeEngine, rejection

ROWS = 8_000
MIB = 1 << 20


def text(number: int) -> str:
    return f"{number:>5000}"  # 40 MB in total, which Parquet compresses to a tenth.


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("table") / "in.parquet", ROWS)


def written(path: Path, rows: int) -> Path:
    """A file whose rows are all in one row group."""
    columns = {"id": [*range(rows)], "text": [text(number) for number in range(rows)]}
    pq.write_table(pa.table(columns), path, row_group_size=rows, use_dictionary=False)
    return path


def peak_of_arrow(steps: Iterator[object]) -> int:
    """The most memory that Arrow had during the steps, beyond that at the start."""
    start, most = pa.total_allocated_bytes(), 0
    for _ in steps:
        most = max(most, pa.total_allocated_bytes() - start)
    return most


def test_one_row_group_is_read_in_pieces(table: Path) -> None:
    assert peak_of_arrow(opened(table).rows()) < 16 * MIB


def test_rows_are_written_in_row_groups_of_bounded_size(tmp_path: Path) -> None:
    schema = pa.schema([("text", pa.string())])
    layout = OutputLayout(OutputFormat.PARQUET, Compression.NONE, ",", has_rows=True)

    def write() -> Iterator[None]:
        with (tmp_path / "out.parquet").open("wb") as file, row_writer(file, layout, ["text"], [*schema]) as writer:
            for number in range(3 * ROWS):
                writer.write({"text": text(number)})
                yield

    assert peak_of_arrow(write()) < 60 * MIB
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert metadata.num_row_groups > 2
    assert metadata.num_rows == 3 * ROWS


class ForgetfulEngine(FakeEngine):
    """Does not remember the questions."""

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        self.asked.clear()
        return completion


@pytest.mark.parametrize("shards", [None, pytest.param(500, marks=pytest.mark.slow)])
async def test_a_run_from_parquet_to_parquet_needs_little_memory(
    table: Path, tmp_path: Path, shards: int | None
) -> None:
    def config(source: Path) -> InferenceConfig:
        given = InputParams(path=source, prompt="{{ text }}", keep=["id"])
        return InferenceConfig(
            input=given, output=OutputParams(path=tmp_path / f"{source.stem}_out.parquet", shards=shards)
        )

    await ForgetfulEngine().arun(config(written(tmp_path / "few.parquet", 100)))  # Imports and caches.
    tracemalloc.start()
    try:
        await ForgetfulEngine().arun(config(table))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (16 if shards is None else 24) * MIB


@pytest.mark.slow
async def test_a_retry_of_failed_rows_of_parquet_needs_little_memory(table: Path, tmp_path: Path) -> None:
    def reject(text: str, _: int) -> None:
        if int(text) % 4 == 0:
            raise rejection()

    config = InferenceConfig(
        input=InputParams(path=table, prompt="{{ text }}", keep=["id"]), output_path=tmp_path / "out.parquet"
    )
    await ForgetfulEngine(reject).arun(config)
    retry = config.model_copy(update={"retry_failures": True})
    tracemalloc.start()
    try:
        await ForgetfulEngine().arun(retry)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == ROWS
    assert peak < 24 * MIB
