"""The file of the failed rows of a run, and the counts of failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    ConfigError,
    Conversation,
    EngineDeadError,
    FailureDetail,
    InferenceConfig,
    InferenceErrorType,
    InferenceFailedError,
    RunInterruptedError,
    Stop,
)
from asyncinfer.run.failures import Failures
from tests.fakes import FakeEngine, question, questions, read_jsonl, rejection, timeout, write_jsonl


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    write_jsonl(tmp_path / "in.jsonl", questions(6))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl.failures.jsonl"


def rejecting(*texts: str) -> Callable[[str, int], None]:
    def script(text: str, _: int) -> None:
        if text in texts:
            raise rejection()

    return script


def texts(path: Path) -> list[str]:
    return [row["messages"][0]["content"] for row in read_jsonl(path)]


class TestFile:
    async def test_failed_rows_are_written_in_input_order_with_the_reason(
        self, config: InferenceConfig, file: Path
    ) -> None:
        summary = await FakeEngine(rejecting("question 4", "question 1")).arun(config)
        assert summary.failures_path == file
        assert texts(file) == ["question 1", "question 4"]
        assert read_jsonl(file)[0]["conversation_id"] == "q1"
        failure = read_jsonl(file)[0]["metadata"]["failure"]
        assert len(failure.pop("row_key")) == 32
        assert failure == {
            "row": 1,
            "error_message": "bad request",
            "error_type": "api_status",
            "status_code": 400,
            "is_retryable": False,
            "output_position": 1,
            "output_rows": 4,
            "input_rows": 6,
        }
        assert texts(Path(str(config.output_path))) == ["question 0", "question 2", "question 3", "question 5"]

    async def test_input_that_becomes_shorter_leaves_an_older_file_and_logs_a_warning(
        self, config: InferenceConfig, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file.write_text("older\n")

        async def cut(text: str, _: int) -> None:
            if text == "question 4":
                await anyio.Path(tmp_path / "in.jsonl").write_bytes(b"")
                raise rejection()

        await FakeEngine(cut, workers=1).arun(config)
        assert "the failed rows are not written: in.jsonl: changed while it was read (row 0)" in caplog.text.replace(
            f"{tmp_path}/", ""
        )
        assert file.read_text() == "older\n"

    async def test_a_run_without_failures_writes_no_file_and_removes_an_older_one(
        self, config: InferenceConfig, file: Path
    ) -> None:
        await FakeEngine(rejecting("question 4")).arun(config)
        assert file.exists()
        engine = FakeEngine()
        summary = await engine.arun(config)
        assert summary.failures_path is None
        assert not file.exists()
        assert list(engine.asked) == ["question 4"]

    async def test_the_file_can_be_the_input_of_another_run(self, config: InferenceConfig, file: Path) -> None:
        await FakeEngine(rejecting("question 4")).arun(config)
        retry = InferenceConfig(input_path=str(file), output_path=str(file.with_name("retry.jsonl")))
        assert (await FakeEngine().arun(retry)).completed == 1
        [row] = read_jsonl(file.with_name("retry.jsonl"))
        assert "failure" not in row["metadata"]
        assert file.exists()

    async def test_the_input_of_a_run_is_never_its_file_of_failed_rows(
        self, config: InferenceConfig, file: Path
    ) -> None:
        write_jsonl(file, questions(2))
        with pytest.raises(ConfigError, match="the file of failed rows"):
            await FakeEngine().arun(config.model_copy(update={"input_path": str(file)}))
        assert texts(file) == ["question 0", "question 1"]

    async def test_a_stopped_run_writes_the_rows_that_failed(self, config: InferenceConfig, file: Path) -> None:
        stop = Stop(grace=0.0)

        async def script(text: str, _: int) -> None:
            if text == "question 0":
                raise rejection()
            stop.request()
            await anyio.sleep_forever()

        with pytest.raises(RunInterruptedError) as caught:
            await FakeEngine(script).arun(config, stop=stop)
        assert texts(file) == ["question 0"]
        assert caught.value.summary.failures_path == file

    async def test_rows_after_the_end_of_the_engine_are_in_the_file(self, config: InferenceConfig, file: Path) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 2":
                raise EngineDeadError("the key was revoked", error_type=InferenceErrorType.ENGINE_FAILURE)

        await FakeEngine(script, workers=1).arun(config)
        assert texts(file) == ["question 2", "question 3", "question 4", "question 5"]

    async def test_lists_with_an_output_path_write_it_too(self, config: InferenceConfig, file: Path) -> None:
        engine = FakeEngine(rejecting("question 1"))
        rows, only_output = questions(3), InferenceConfig(output_path=config.output_path)
        await engine.ainfer_partial(rows, only_output)
        assert texts(file) == ["question 1"]
        with pytest.raises(InferenceFailedError):
            await engine.ainfer(rows, only_output)
        assert texts(file) == ["question 1"]

    async def test_iterators_remove_the_file_of_an_earlier_run(self, config: InferenceConfig, file: Path) -> None:
        await FakeEngine(rejecting("question 1")).arun(config)
        only_output = InferenceConfig(output_path=config.output_path)
        assert [o async for _, o in FakeEngine().ainfer_iter([question("a")], only_output)]
        assert not file.exists()

    async def test_a_file_that_cannot_be_written_costs_no_answer(
        self, config: InferenceConfig, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file.mkdir()
        summary = await FakeEngine(rejecting("question 1")).arun(config)
        assert (summary.completed, summary.failed, summary.failures_path) == (5, 1, None)
        assert len(read_jsonl(Path(str(config.output_path)))) == 5
        assert "failed rows cannot be written" in caplog.text

    async def test_content_of_all_kinds_is_kept(self, tmp_path: Path, file: Path) -> None:
        row: dict[str, Any] = {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "content": "https://example.com/a.png", "x": None}]}
            ],
            "metadata": {"kind": "a"},
            "own": 1,
        }
        rows = [Conversation.from_dict(row), question("b")]

        def script(text: str, _: int) -> None:
            raise rejection()

        await FakeEngine(script).ainfer_partial(rows, InferenceConfig(output_path=str(tmp_path / "out.jsonl")))
        written = read_jsonl(file)[0]
        del written["metadata"]["failure"]
        assert written == row


class TestCounts:
    def test_messages_that_differ_in_details_have_one_reason(self) -> None:
        failures = Failures(keep_all=False)
        for row in range(5):
            failures.add(row, FailureDetail(f"the prompt of request 'r{row}' has {row} tokens"))
        failures.add(5, FailureDetail("the image is broken", is_retryable=False))
        assert failures.commonest is not None
        assert failures.commonest.rows == 5
        assert "the prompt of request" in failures.commonest.error_message
        assert (failures.count, failures.retryable) == (6, 5)

    async def test_summary_counts_rows_that_another_run_may_answer(self, config: InferenceConfig) -> None:
        def script(text: str, _: int) -> None:
            if text == "question 1":
                raise rejection()
            if text == "question 2":
                raise timeout()

        summary = await FakeEngine(script, max_retries=0).arun(config)
        assert (summary.failed, summary.retryable) == (2, 1)
