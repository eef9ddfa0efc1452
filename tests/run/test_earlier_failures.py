"""A run of a part of the rows keeps what an earlier run has written about the failures of the other rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import ConfigError, InferenceConfig, RunInterruptedError, Stop
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, write_jsonl

ROWS = 6


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl.failures.jsonl"


def rejecting(*rows: int, message: str = "bad request") -> Callable[[str, int], None]:
    def script(text: str, _: int) -> None:
        if text in {f"question {row}" for row in rows}:
            error = rejection()
            error.args = (message,)
            raise error

    return script


def failures(file: Path) -> list[dict[str, Any]]:
    return [row["metadata"]["failure"] for row in read_jsonl(file)]


def failed(file: Path) -> list[tuple[int, str]]:
    """The rows of the file, and why they failed."""
    return [(failure["row"], failure["error_message"]) for failure in failures(file)]


def places(file: Path) -> list[tuple[int, int]]:
    return [(failure["output_position"], failure["output_rows"]) for failure in failures(file)]


def limited(config: InferenceConfig, limit: int) -> InferenceConfig:
    return config.model_copy(update={"limit": limit})


def answered(output: str | None) -> list[str]:
    return [row["messages"][0]["content"] for row in read_jsonl(Path(str(output)))]


async def stopped(config: InferenceConfig, script: Callable[[str, int], None], *, at: int) -> None:
    """A run that is stopped when it sends this row."""
    stop = Stop(grace=0.0)

    async def until_stopped(text: str, attempt: int) -> None:
        if text == f"question {at}":
            stop.request()
            await anyio.sleep_forever()
        script(text, attempt)

    with pytest.raises(RunInterruptedError):
        await FakeEngine(until_stopped, workers=1).arun(config, stop=stop)


class TestLimit:
    async def test_run_without_failures_keeps_the_failures_of_the_other_rows(
        self, config: InferenceConfig, file: Path
    ) -> None:
        await stopped(config, rejecting(1, 3, 4), at=5)
        assert failed(file) == [(1, "bad request"), (3, "bad request"), (4, "bad request")]
        summary = await FakeEngine().arun(limited(config, 2))
        assert (summary.completed, summary.failures_path) == (2, None)
        assert failed(file) == [(3, "bad request"), (4, "bad request")]

    async def test_failures_of_a_run_are_joined_with_those_of_the_other_rows(
        self, config: InferenceConfig, file: Path
    ) -> None:
        await stopped(config, rejecting(1, 3, 4), at=5)
        summary = await FakeEngine(rejecting(1, message="still bad")).arun(limited(config, 2))
        assert (summary.failed, summary.failures_path) == (1, file)
        assert failed(file) == [(1, "still bad"), (3, "bad request"), (4, "bad request")]

    async def test_retry_merges_the_answers_to_all_of_them(self, config: InferenceConfig, file: Path) -> None:
        await stopped(config, rejecting(1, 3, 4), at=5)
        await FakeEngine(rejecting(1)).arun(limited(config, 2))
        assert places(file) == [(1, 1), (1, 1), (1, 1)]
        await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))
        assert answered(config.output_path) == [f"question {row}" for row in (0, 1, 3, 4)]
        assert not file.exists()

    async def test_file_is_removed_when_no_failure_is_left(self, config: InferenceConfig, file: Path) -> None:
        await stopped(config, rejecting(1), at=5)
        await FakeEngine().arun(limited(config, 2))
        assert not file.exists()

    async def test_file_that_the_user_has_written_is_kept(self, config: InferenceConfig, file: Path) -> None:
        file.write_text('not json\n{"messages": []}\n')
        await FakeEngine().arun(limited(config, 2))
        assert file.read_text() == 'not json\n{"messages": []}\n'

    async def test_row_is_found_by_its_key_where_rows_have_moved(self, config: InferenceConfig, file: Path) -> None:
        await stopped(config, rejecting(3), at=5)
        write_jsonl(Path(str(config.input_path)), [*questions(ROWS)[3:], *questions(3)])
        await FakeEngine().arun(limited(config, 1))
        assert not file.exists()

    async def test_iterator_keeps_them_too(self, config: InferenceConfig, file: Path) -> None:
        await stopped(config, rejecting(1, 3), at=5)
        only_output = InferenceConfig(output_path=config.output_path, limit=2)
        assert len([row async for row in FakeEngine().ainfer_iter(questions(ROWS), only_output)]) == 2
        assert failed(file) == [(3, "bad request")]
        assert places(file) == [(2, 2)]

    async def test_whole_run_replaces_the_file(self, config: InferenceConfig, file: Path) -> None:
        await stopped(config, rejecting(1, 3), at=5)
        await FakeEngine(rejecting(5)).arun(config)
        assert failed(file) == [(5, "bad request")]


class TestInterruption:
    async def test_interrupted_run_keeps_the_failures_of_rows_that_it_did_not_try(
        self, config: InferenceConfig, file: Path
    ) -> None:
        await FakeEngine(rejecting(1, 3, 4)).arun(config)
        await stopped(config, rejecting(), at=3)
        assert failed(file) == [(3, "bad request"), (4, "bad request")]

    async def test_failures_of_an_interrupted_run_are_joined_with_them(
        self, config: InferenceConfig, file: Path
    ) -> None:
        await FakeEngine(rejecting(1, 3, 4)).arun(config)
        await stopped(config, rejecting(1, message="still bad"), at=3)
        assert failed(file) == [(1, "still bad"), (3, "bad request"), (4, "bad request")]

    async def test_places_in_the_output_of_the_earlier_run_stay(self, config: InferenceConfig, file: Path) -> None:
        await FakeEngine(rejecting(1, 3, 4)).arun(config)
        before = places(file)
        await stopped(config, rejecting(1), at=3)
        assert places(file) == before
        await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))
        assert answered(config.output_path) == [f"question {row}" for row in range(ROWS)]

    @pytest.mark.parametrize(("new", "at"), [(0, 1), (2, 3)], ids=["first line", "a later line"])
    async def test_retry_explains_that_a_new_row_has_no_place_yet(
        self, config: InferenceConfig, file: Path, new: int, at: int
    ) -> None:
        await FakeEngine(rejecting(1, 3)).arun(config)
        rows = questions(ROWS)
        write_jsonl(Path(str(config.input_path)), [*rows[:new], question("question 100"), *rows[new:]])
        await stopped(config, rejecting(1, 100), at=at)
        assert len(failures(file)) == 3
        with pytest.raises(ConfigError, match="was interrupted.*Run the same again without retry_failures"):
            await FakeEngine().arun(config.model_copy(update={"retry_failures": True}))

    async def test_iterator_that_ends_early_keeps_the_file(self, config: InferenceConfig, file: Path) -> None:
        await FakeEngine(rejecting(1, 3)).arun(config)
        stop, before = Stop(grace=0.0), file.read_bytes()

        async def script(*_: object) -> None:
            stop.request()
            await anyio.sleep_forever()

        only_output = InferenceConfig(output_path=config.output_path)
        with pytest.raises(RunInterruptedError):
            async for _ in FakeEngine(script).ainfer_iter(questions(ROWS), only_output, stop=stop):
                pass
        assert file.read_bytes() == before
