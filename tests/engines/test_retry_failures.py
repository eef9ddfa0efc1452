"""`retry_failures` runs the failed rows of an earlier run, and merges their answers into its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asyncinfer import ConfigError, InferenceConfig, RunInterruptedError, Stop
from asyncinfer.scratch import disk
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, write_jsonl


def rejecting(*numbers: int) -> Callable[[str, int], None]:
    def script(text: str, _: int) -> None:
        if text in {f"question {number}" for number in numbers}:
            raise rejection()

    return script


def job(folder: Path, **more: object) -> InferenceConfig:
    return InferenceConfig.model_validate(
        {"input_path": str(folder / "in.jsonl"), "output_path": str(folder / "out.jsonl"), **more}
    )


async def run_first(folder: Path, *failing: int, rows: int = 10) -> InferenceConfig:
    """Run a job in which some rows fail. Returns the configuration that tries these rows again."""
    write_jsonl(folder / "in.jsonl", questions(rows))
    await FakeEngine(rejecting(*failing)).arun(job(folder))
    return job(folder, retry_failures=True)


def ids(path: Path) -> list[str]:
    return [row["conversation_id"] for row in read_jsonl(path)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_answers_get_the_places_of_their_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 3, 4, 9)
    assert ids(tmp_path / "out.jsonl") == ["q1", "q2", "q5", "q6", "q7", "q8"]
    engine = FakeEngine()
    summary = await engine.arun(config)
    assert (summary.total, summary.completed, summary.failed, summary.failures_path) == (4, 4, 0, None)
    assert set(engine.asked) == {"question 0", "question 3", "question 4", "question 9"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]
    assert all("failure" not in row["metadata"] for row in read_jsonl(tmp_path / "out.jsonl"))
    assert names(tmp_path) == {"in.jsonl", "out.jsonl"}


async def test_rows_that_fail_again_stay_in_the_file(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 3, 4, 9)
    summary = await FakeEngine(rejecting(3, 9)).arun(config)
    assert (summary.completed, summary.failures_path) == (2, tmp_path / "out.jsonl.failures.jsonl")
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1", "q2", "q4", "q5", "q6", "q7", "q8"]
    failures = read_jsonl(tmp_path / "out.jsonl.failures.jsonl")
    assert [row["metadata"]["failure"]["row"] for row in failures] == [3, 9]
    await FakeEngine().arun(config)
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_nothing_changes_if_all_fail_again(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 1, 2)
    before = (tmp_path / "out.jsonl").read_bytes()
    await FakeEngine(rejecting(1, 2)).arun(config)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert ids(tmp_path / "out.jsonl.failures.jsonl") == ["q1", "q2"]


async def test_output_is_created_if_every_row_had_failed(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 0, 1, rows=2)
    assert not (tmp_path / "out.jsonl").exists()
    await FakeEngine().arun(config)
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1"]


async def test_corrected_row_is_sent_as_it_is_in_the_file(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2)
    path = tmp_path / "out.jsonl.failures.jsonl"
    path.write_text(path.read_text().replace("question 2", "a better question"))
    engine = FakeEngine()
    await engine.arun(config)
    assert set(engine.asked) == {"a better question"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_limit_tries_the_first_failed_rows(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5, 7)
    await FakeEngine().arun(config.model_copy(update={"limit": 1}))
    assert ids(tmp_path / "out.jsonl") == ["q0", "q1", "q2", "q3", "q4", "q6", "q8", "q9"]
    assert ids(tmp_path / "out.jsonl.failures.jsonl") == ["q5", "q7"]


async def test_next_run_of_the_whole_input_sends_no_merged_row(tmp_path: Path) -> None:
    config = await run_first(tmp_path, 2, 5)
    await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(job(tmp_path))
    assert set(engine.asked) == {"question 5"}
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


async def test_interrupted_retry_resumes(tmp_path: Path) -> None:
    config, stop = await run_first(tmp_path, *range(10)), Stop(grace=0)
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 4" else None, workers=1)
    with pytest.raises(RunInterruptedError):
        await engine.arun(config, stop=stop)
    again = FakeEngine()
    await again.arun(config)
    assert 0 < len(again.asked) < 10
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]


@pytest.mark.parametrize("replacements", [0, 1])
async def test_merge_that_was_cut_off_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacements: int
) -> None:
    config = await run_first(tmp_path, 2, 5)
    replace, seen = disk.replace, list[Path]()

    class Killed(BaseException):
        pass

    def killed(source: Path, target: Path) -> None:
        if source.name.startswith("out.jsonl.retry."):
            seen.append(target)
            if len(seen) > replacements:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(disk, "replace", killed)
        with pytest.raises(Killed):
            await FakeEngine(rejecting(5)).arun(config)
    engine = FakeEngine()
    await engine.arun(config)
    assert ids(tmp_path / "out.jsonl") == [f"q{number}" for number in range(10)]
    assert set(engine.asked) == {"question 5"}
    assert not [name for name in names(tmp_path) if "retry" in name or "failures" in name]


async def test_job_without_failed_rows_is_an_error(tmp_path: Path) -> None:
    config = await run_first(tmp_path)
    with pytest.raises(ConfigError, match="no row of .*out.jsonl has failed"):
        await FakeEngine().arun(config)


async def test_duplicates_keep_their_answers(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [question("same") for _ in range(3)])
    first = iter([True])

    def script(*_: object) -> None:
        if next(first, False):
            raise rejection()

    await FakeEngine(script, workers=1).arun(job(tmp_path))
    await FakeEngine().arun(job(tmp_path, retry_failures=True))
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 3
