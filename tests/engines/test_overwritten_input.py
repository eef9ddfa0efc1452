"""A run does not write the files that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import to_thread

from asyncinfer import ConfigError, InferenceConfig, InputParams, OutputParams, rows_from
from tests.data.tables import write
from tests.fakes import FakeEngine


async def refusal(input_path: Path, output: Path, shards: int | None = 1) -> str:
    """The error of a run that reads and writes these files. Nothing is sent."""
    config = InferenceConfig(
        input=InputParams(path=input_path, prompt="{{ text }}"),
        output=OutputParams(path=output, shards=shards, rows=True),
    )
    engine = FakeEngine()
    with pytest.raises(ConfigError) as caught:
        await engine.arun(config)
    assert not engine.asked
    return str(caught.value)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with four files, which have the names of shards of `out.parquet`."""
    for number in range(4):
        path = tmp_path / f"out-0000{number}-of-00004.parquet"
        await to_thread.run_sync(write, path, [{"text": f"text {number}"}])
    (tmp_path / "other").mkdir()
    return tmp_path


A_SHARD = "out-00001-of-00004.parquet"


@pytest.mark.parametrize(
    "given",
    [A_SHARD, "out-*.parquet", "out-*-of-00004.parquet", f"other/../{A_SHARD}", "other/../out-*-of-0*4.parquet"],
)
async def test_input_that_has_the_name_of_a_shard_is_an_error(folder: Path, given: str) -> None:
    message = await refusal(folder / given, folder / "out.parquet")
    assert message.startswith("output_path: out-0000")
    assert "has the name of a shard of out.parquet, which may replace it" in message


async def test_shards_whose_folder_is_reached_by_a_link_are_found(folder: Path) -> None:
    (folder / "link").symlink_to(folder, target_is_directory=True)
    assert "has the name of a shard" in await refusal(folder / A_SHARD, folder / "link" / "out.parquet")


async def test_input_that_is_a_link_to_a_shard_is_an_error(folder: Path) -> None:
    (folder / "in.parquet").symlink_to(folder / A_SHARD)
    assert "has the name of a shard" in await refusal(folder / "in.parquet", folder / "out.parquet")


async def test_input_that_a_shard_is_a_link_to_is_an_error(folder: Path) -> None:
    """A file that is written replaces the target of a link."""
    (folder / A_SHARD).rename(folder / "other" / "in.parquet")
    (folder / A_SHARD).symlink_to(folder / "other" / "in.parquet")
    assert "has the name of a shard" in await refusal(folder / A_SHARD, folder / "out.parquet")


async def test_shards_that_the_next_run_would_read_are_an_error(folder: Path) -> None:
    for path in folder.glob("out-*"):
        path.rename(folder / path.name.replace("out", "out-of-today"))
    message = await refusal(folder / "out*of-?????.parquet", folder / "out.parquet")
    assert message.startswith("output_path: out-00000-of-00001.parquet matches the pattern of the input")


@pytest.mark.parametrize("pattern", ["*-of-00004.parquet", "other/../*-of-00004.parquet"])
async def test_output_that_is_one_of_several_files_of_the_input_is_an_error(folder: Path, pattern: str) -> None:
    message = await refusal(folder / pattern, folder / A_SHARD, None)
    assert message.startswith("input_path and output_path are the same file")


@pytest.mark.parametrize("pattern", ["*.parquet", "**/*.parquet", "other/../*.parquet", "**"])
async def test_output_that_the_next_run_would_read_is_an_error(folder: Path, pattern: str) -> None:
    message = await refusal(folder / pattern, folder / "out.parquet", None)
    assert message.startswith("output_path: out.parquet matches the pattern of the input")


async def test_output_in_a_folder_that_the_pattern_does_not_name_is_written(folder: Path) -> None:
    params = InputParams(path=folder / "*.parquet", prompt="{{ text }}")
    output = OutputParams(path=folder / "other" / "out.parquet", rows=True)
    summary = await FakeEngine().arun(InferenceConfig(input=params, output=output))
    assert summary.completed == 4


class TestRowsFrom:
    """Rows that Python code gives with `rows_from`."""

    async def test_file_that_has_the_name_of_a_shard_is_an_error(self, folder: Path) -> None:
        rows = await to_thread.run_sync(lambda: rows_from(folder / A_SHARD, prompt="{{ text }}"))
        config = InferenceConfig(output=OutputParams(path=folder / "out.parquet", shards=1, rows=True))
        with pytest.raises(ConfigError, match="has the name of a shard of out.parquet"):
            await FakeEngine().ainfer(rows, config)

    @pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
    async def test_output_of_ainfer_iter_that_is_the_input_is_an_error(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        await to_thread.run_sync(write, path, [{"text": "a"}])
        rows = await to_thread.run_sync(lambda: rows_from(path, prompt="{{ text }}"))
        with pytest.raises(ConfigError, match="input_path and output_path are the same file"):
            await anext(FakeEngine().ainfer_iter(rows, InferenceConfig(output_path=path)))
