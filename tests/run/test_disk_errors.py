"""Each file operation of a job fails, as on a full or broken disk; then the job is run again."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from asyncinfer import AsyncInferError, InferenceConfig
from asyncinfer.scratch import disk
from asyncinfer.scratch.format import encode
from tests.fakes import FakeEngine, answer_to, questions, read_jsonl, write_jsonl
from tests.faulty_disk import Faults, faulty_disk, synced_questions

ROWS = 6
EXPECTED = [answer_to(f"question {i}") for i in range(ROWS)]


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    """A job whose output replaces an older file that only its owner may read."""
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    (tmp_path / "out.jsonl").write_text("older\n")
    (tmp_path / "out.jsonl").chmod(0o600)
    return InferenceConfig(
        input_path=str(tmp_path / "in.jsonl"),
        output_path=str(tmp_path / "out.jsonl"),
        progress_path=str(tmp_path / "progress.json"),
    )


def durable(folder: Path) -> set[str]:
    scratch = folder / "scratch" / "out.jsonl"
    lines = scratch.read_bytes().split(b"\n")[:-1] if scratch.exists() else []
    rows = [json.loads(line)["conversation"] for line in lines]
    output = (folder / "out.jsonl").read_text()
    rows += [json.loads(line) for line in output.splitlines()] if output != "older\n" else []
    return {row["messages"][0]["content"] for row in rows}


async def run_with(faults: Faults, config: InferenceConfig) -> AsyncInferError | None:
    """Run the job. Returns the error that ended it."""
    try:
        with faulty_disk(faults):
            summary = await FakeEngine(workers=1).arun(config)
    except AsyncInferError as error:
        return error
    assert summary.completed == ROWS
    return None


async def operations(config: InferenceConfig) -> list[str]:
    """The operations of the job, in order."""
    faults = Faults()
    assert await run_with(faults, config) is None
    return faults.called


async def test_the_job_uses_every_operation(config: InferenceConfig) -> None:
    assert set(await operations(config)) == set(disk.OPERATIONS)


@pytest.mark.parametrize(
    ("number", "shared"),
    [
        pytest.param(errno.ENOSPC, False, id="ENOSPC"),
        pytest.param(errno.EDQUOT, True, id="EDQUOT, with rows of others"),
        pytest.param(errno.EIO, True, id="EIO, with rows of others"),
        pytest.param(errno.EROFS, False, id="EROFS"),
    ],
)
async def test_an_error_of_any_file_operation_is_clear_and_loses_nothing(
    config: InferenceConfig, tmp_path: Path, home: Path, number: int, shared: bool
) -> None:
    journal = home / "journal"
    output, scratch = tmp_path / "out.jsonl", tmp_path / "scratch" / "out.jsonl"
    foreign = encode(b"\7" * 16, 0, 0, b'{"messages":[{"role":"user","content":"other"}]}')
    at = 0
    while True:
        at += 1
        output.write_text("older\n")
        if shared:
            scratch.parent.mkdir(exist_ok=True)
            scratch.write_bytes(foreign)
        journal.unlink(missing_ok=True)
        faults = Faults(at, error=number, journal=journal)
        ended = await run_with(faults, config)
        if not faults.happened:
            break
        if ended is None:
            assert [row["messages"][-1]["content"] for row in read_jsonl(output)] == EXPECTED
        else:
            assert os.strerror(number) in str(ended)
            assert str(tmp_path) in str(ended)
        kept = durable(tmp_path) | synced_questions(journal)
        engine = FakeEngine()
        await engine.arun(config.model_copy(update={"reuse_output": True}))
        assert not kept & engine.asked.keys(), f"{faults.called[at - 1]}: a durable row was asked again"
        assert [row["messages"][-1]["content"] for row in read_jsonl(output)] == EXPECTED
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert left - {"scratch/out.jsonl"} == {"in.jsonl", "out.jsonl", "progress.json"}
        assert scratch.exists() == shared
        assert not shared or scratch.read_bytes() == foreign
        assert output.stat().st_mode & 0o777 == 0o600
    assert at > 30
