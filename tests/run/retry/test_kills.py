"""A retry of failed rows is killed right before and right after each of its file operations, and run again."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from asyncinfer import ConfigError, InferenceConfig
from tests.conftest import BlockWatch
from tests.fakes import FakeEngine, questions, read_jsonl, rejection, write_jsonl
from tests.faulty_disk import Faults, faulty_disk

# One process imports everything, and a child for each run is forked from it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
ROWS, FAILED = 8, ("question 1", "question 3", "question 4", "question 7")
MOST_OPERATIONS = 200


def run(folder: Path, name: str, failing: tuple[str, ...], *, retry: bool = True) -> None:
    """Run the job in `folder`. The questions that are sent are appended to the file `asked`."""

    def script(text: str, _: int) -> None:
        with (folder / "asked").open("a") as file:
            file.write(f"{text}\n")
        if text in failing:
            raise rejection()

    config = InferenceConfig(input_path=folder / "in.jsonl", output_path=folder / name, retry_failures=retry)
    anyio.run(FakeEngine(script, workers=2).arun, config)


def killed(folder: Path, name: str, faults: Faults) -> None:
    with faulty_disk(faults):
        run(folder, name, FAILED[2:3])


def conversations(file: Path) -> list[dict[str, Any]]:
    """The conversations in an output."""
    if not file.exists():
        return []
    if file.suffix != ".csv":
        return read_jsonl(file)
    rows = csv.DictReader(file.read_text().splitlines())
    return [{**row, "messages": json.loads(row["messages"])} for row in rows]


def durable(folder: Path, name: str) -> set[str]:
    """The questions whose answers are in one of the files."""
    names = name, f"{name}.retry.jsonl"
    rows = [row for file in names for row in conversations(folder / file)]
    for scratch in (folder / "scratch" / file for file in names):
        if not scratch.exists():
            continue
        rows += [json.loads(line)["conversation"] for line in scratch.read_bytes().split(b"\n")[:-1]]
    return {row["messages"][0]["content"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_a_kill_at_any_file_operation_loses_no_answer(
    tmp_path: Path, block_watch: BlockWatch, name: str, before: bool
) -> None:
    block_watch.off()
    first = tmp_path / "first"
    first.mkdir()
    write_jsonl(first / "in.jsonl", questions(ROWS))
    await to_thread.run_sync(lambda: run(first, name, FAILED, retry=False))
    for at in range(1, MOST_OPERATIONS):
        folder = tmp_path / str(at)
        shutil.copytree(first, folder)
        process = _FORKS.Process(target=killed, args=(folder, name, Faults(at, before=before)))
        process.start()
        await to_thread.run_sync(process.join)
        assert process.exitcode in (0, -signal.SIGKILL)
        kept = durable(folder, name)
        (folder / "asked").write_text("")
        await to_thread.run_sync(lambda folder=folder: run(folder, name, ()))
        asked = set((folder / "asked").read_text().splitlines())
        assert not asked & kept, "an answer that is on disk was requested again"
        assert asked <= set(FAILED)
        assert [row["conversation_id"] for row in conversations(folder / name)] == [f"q{i}" for i in range(ROWS)]
        left = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        assert left == {"in.jsonl", name, "asked"}
        with pytest.raises(ConfigError, match="there is no file .* with failed rows"):
            await to_thread.run_sync(lambda folder=folder: run(folder, name, ()))
        shutil.rmtree(folder)
        if process.exitcode == 0:
            break
    assert 20 < at < MOST_OPERATIONS - 1
