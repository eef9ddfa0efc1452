"""`limit` runs the first rows of any input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.to_thread import run_sync

from asyncinfer import ConfigError, Conversation, InferenceConfig, InputParams, OutputParams
from tests.data.tables import write as write_table
from tests.fakes import FakeEngine, question, questions, read_jsonl, write_jsonl


async def test_first_rows_of_a_list_are_answered() -> None:
    engine = FakeEngine()
    assert len(await engine.ainfer(questions(10), InferenceConfig(limit=3))) == 3
    assert set(engine.asked) == {"question 0", "question 1", "question 2"}


async def test_first_rows_of_a_file_are_answered(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in.jsonl", questions(10))
    engine = FakeEngine()
    config = InferenceConfig(input_path=rows, output_path=tmp_path / "out.jsonl", limit=4)
    assert (await engine.arun(config)).total == 4
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4


async def test_whole_run_after_a_limited_one_reuses_its_answers(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in.jsonl", questions(10))
    engine = FakeEngine()
    config = InferenceConfig(input_path=rows, output_path=tmp_path / "out.jsonl", limit=4)
    await engine.arun(config)
    summary = await engine.arun(config.model_copy(update={"limit": None, "reuse_output": True}))
    assert (summary.completed, summary.resumed) == (10, 4)
    assert max(engine.asked.values()) == 1


async def test_no_item_after_the_first_rows_is_read() -> None:
    read: list[int] = []

    def endless() -> Iterator[Conversation]:
        number = 0
        while True:
            read.append(number)
            yield question(f"question {number}")
            number += 1

    async with FakeEngine().ainfer_iter(endless(), InferenceConfig(limit=3)) as outcomes:
        assert sorted([index async for index, _ in outcomes]) == [0, 1, 2]
    assert read == [0, 1, 2]


def test_limit_of_zero_is_an_error() -> None:
    with pytest.raises(ConfigError, match="limit"):
        InferenceConfig(limit=0)


@pytest.mark.parametrize("reuse", [False, True])
async def test_trial_does_not_replace_the_answers_to_more_rows(reuse: bool, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in.jsonl", questions(10))
    job = InferenceConfig(input_path=rows, output_path=tmp_path / "out.jsonl", reuse_output=reuse)
    await FakeEngine().arun(job)
    before, engine = (tmp_path / "out.jsonl").read_bytes(), FakeEngine()
    with pytest.raises(ConfigError, match=r"limit: .*out.jsonl has 10 answers.*at most 4.*another output_path"):
        await engine.arun(job.model_copy(update={"limit": 4}))
    with pytest.raises(ConfigError, match=r"limit: .*out.jsonl has 10 answers"):
        async for _ in engine.ainfer_iter(questions(10), InferenceConfig(output_path=tmp_path / "out.jsonl", limit=4)):
            pass
    assert not engine.asked
    assert (tmp_path / "out.jsonl").read_bytes() == before


async def test_trial_replaces_the_output_of_an_earlier_trial(tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in.jsonl", questions(10))
    job = InferenceConfig(input_path=rows, output_path=tmp_path / "out.jsonl", limit=4)
    await FakeEngine().arun(job)
    await FakeEngine(model="other").arun(job.model_copy(update={"limit": 5}))
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 5


TABLES = ["out.csv", "out.tsv", "out.csv.gz", "out.parquet", "out.jsonl.gz", "out.jsonl.zst", "out.jsonl"]


def table_job(tmp_path: Path, name: str) -> InferenceConfig:
    """Ten rows; each output of JSONL that is not compressed has rows too."""
    write_table(tmp_path / "in.csv", [{"text": f"question {n}"} for n in range(10)])
    output = OutputParams(path=tmp_path / name, rows=None if name.startswith("out.jsonl.") else True)
    return InferenceConfig(input=InputParams(path=tmp_path / "in.csv", prompt="{{ text }}"), output=output)


@pytest.mark.parametrize("name", TABLES)
async def test_trial_does_not_replace_more_rows_of_any_format(name: str, tmp_path: Path) -> None:
    job, output = await run_sync(table_job, tmp_path, name), tmp_path / name
    await FakeEngine().arun(job)
    failed_rows = tmp_path / f"{name}.failures.jsonl"
    failed_rows.write_text("{}\n")
    before, engine = output.read_bytes(), FakeEngine()
    with pytest.raises(ConfigError, match=rf"limit: .*{name} has 10 answers.*at most 4.*another output_path"):
        await engine.arun(job.model_copy(update={"limit": 4}))
    assert not engine.asked
    assert output.read_bytes() == before
    assert failed_rows.exists()
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("name", TABLES)
async def test_trial_replaces_the_table_of_an_earlier_trial(name: str, tmp_path: Path) -> None:
    job = (await run_sync(table_job, tmp_path, name)).model_copy(update={"limit": 4})
    await FakeEngine().arun(job)
    assert (await FakeEngine(model="other").arun(job)).completed == 4


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
async def test_trial_does_not_replace_a_file_whose_rows_cannot_be_counted(name: str, tmp_path: Path) -> None:
    job, engine = await run_sync(table_job, tmp_path, name), FakeEngine()
    (tmp_path / name).write_bytes(b'text\n"not closed')
    with pytest.raises(ConfigError, match=rf"limit: .*{name} exists already, and its rows cannot be counted: .*move"):
        await engine.arun(job.model_copy(update={"limit": 4}))
    assert not engine.asked
    assert (tmp_path / name).read_bytes() == b'text\n"not closed'


async def test_trial_does_not_replace_a_file_of_other_content(tmp_path: Path) -> None:
    rows, output = write_jsonl(tmp_path / "in.jsonl", questions(10)), tmp_path / "out.jsonl"
    output.write_text('{"notes": 1}\n' * 9)
    with pytest.raises(ConfigError, match=r"out.jsonl has 9 answers"):
        await FakeEngine().arun(InferenceConfig(input_path=rows, output_path=output, limit=4))


async def test_trial_over_an_iterable_does_not_replace_a_compressed_output(tmp_path: Path) -> None:
    output, engine = tmp_path / "out.jsonl.gz", FakeEngine()
    await engine.arun(InferenceConfig(input_path=write_jsonl(tmp_path / "in.jsonl", questions(10)), output_path=output))
    before = output.read_bytes()
    with pytest.raises(ConfigError, match=r"limit: .*out.jsonl.gz has 10 answers"):
        async for _ in engine.ainfer_iter(questions(10), InferenceConfig(output_path=output, limit=4)):
            pass
    assert output.read_bytes() == before
