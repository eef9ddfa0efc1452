"""Typed answers, and rows with settings of their own, in runs with batch jobs."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, create_model

from asyncinfer import (
    BatchError,
    GenerationParams,
    InferenceConfig,
    InferenceFailedError,
    InputError,
    ToolDefinition,
)
from tests.batch.conftest import BatchJob
from tests.batch.server import Faults, Job, Line
from tests.fakes import question, read_jsonl, write_jsonl


class Number(BaseModel):
    n: int


def says(line: Line, text: str) -> Line:
    """The result with another text."""
    body = line["response"]["body"]
    body["choices"][0]["message"]["content"] = text
    return line


@pytest.fixture(autouse=True)
def typed_answers(faults: Faults) -> None:
    """`late` is answered well only by a single request that shows what was wrong, and `bad` never."""

    def result(text: str, line: Line, _: Job) -> Line:
        return says(line, '{"n": "x"}' if text in ("late", "bad") else '```json\n{"n": 3}\n```')

    def single(body: dict[str, Any]) -> str:
        first = body["messages"][0]["content"]
        return '{"n": "x"}' if first == "bad" or len(body["messages"]) == 1 else '{"n": 4}'

    faults.result, faults.single = result, single


async def test_answers_that_do_not_fit_are_asked_again_alone(job: BatchJob) -> None:
    write_jsonl(job.folder / "in.jsonl", [question(text) for text in ("good", "late", "bad")])
    config = job.config()
    config.generation = GenerationParams(response_model=Number)
    async with job.engine() as engine:
        summary = await engine.arun(config, relax_gc=False)
    assert (summary.completed, summary.failed) == (2, 1)
    [(index, failure)] = summary.failure_samples
    assert (index, failure.error_type) == (2, "invalid_answer")
    assert job.answers() == ['```json\n{"n": 3}\n```', '{"n": 4}']
    assert len(job.server.jobs) == 1
    assert job.server.asked == {"good": 1, "late": 1, "bad": 1}


async def test_schema_is_in_the_requests_of_the_job(job: BatchJob) -> None:
    write_jsonl(job.folder / "in.jsonl", [question("good")])
    config = job.config()
    config.generation = GenerationParams(response_model=Number)
    async with job.engine() as engine:
        await engine.arun(config, relax_gc=False)
    [sent] = job.server.jobs.values()
    [line] = read_jsonl(job.server.path(sent.file_id))
    assert line["body"]["response_format"]["json_schema"]["schema"] == Number.model_json_schema()


async def test_rows_that_need_other_settings_are_sent_alone(job: BatchJob, faults: Faults) -> None:
    def look_up(city: str) -> str:
        return city

    bodies: list[dict[str, Any]] = []

    def single(body: dict[str, Any]) -> str:
        bodies.append(body)
        return '{"n": 5}'

    faults.single = single
    rows = [question("good"), question("own", model_name="other"), question("tools")]
    rows[2].tools = [ToolDefinition.from_callable(look_up)]
    write_jsonl(job.folder / "in.jsonl", rows)
    config = job.config()
    config.generation = GenerationParams(response_model=Number)
    async with job.engine() as engine:
        summary = await engine.arun(config, relax_gc=False)
    assert (summary.completed, summary.failed) == (3, 0)
    assert job.server.asked == {"good": 1}
    assert {body["messages"][-1]["content"]: body["model"] for body in bodies} == {"own": "other", "tools": "m"}


class TestSingleJobs:
    """The methods for one job check answers as runs do."""

    @staticmethod
    def config(**more: Any) -> InferenceConfig:
        return InferenceConfig(generation=GenerationParams(response_model=Number, **more))

    async def test_partial_results_are_parsed_and_others_are_failures(self, job: BatchJob) -> None:
        async with job.engine() as engine:
            batch_id = await engine.ainfer_batch(["good", "bad"], self.config())
            await engine.aget_batch_status(batch_id)
            result = await engine.aget_batch_results_partial(batch_id, ["good", "bad"], self.config())
        [(index, answered)] = result.successful
        assert (index, answered.parsed, answered.text) == (0, Number(n=3), '```json\n{"n": 3}\n```')
        [failure] = result.failures
        assert failure.index == 1
        assert failure.error.startswith("the answer does not fit Number: n: should be a valid integer")
        assert job.server.single == {}

    async def test_rows_that_do_not_fit_are_sent_again_as_single_requests(self, job: BatchJob) -> None:
        async with job.engine() as engine:
            batch_id = await engine.ainfer_batch(["good", "late"], self.config())
            await engine.aget_batch_status(batch_id)
            answers = await engine.aget_batch_results(batch_id, ["good", "late"], self.config())
            assert [answered.parsed for answered in answers] == [Number(n=3), Number(n=4)]
            with pytest.raises(BatchError):
                await engine.aget_batch_results(batch_id, ["bad"], self.config())

    async def test_row_that_never_fits_is_a_failure(self, job: BatchJob) -> None:
        async with job.engine() as engine:
            batch_id = await engine.ainfer_batch(["bad"], self.config())
            await engine.aget_batch_status(batch_id)
            with pytest.raises(InferenceFailedError, match="does not fit Number"):
                await engine.aget_batch_results(batch_id, ["bad"], self.config())

    async def test_validator_that_raises_fails_its_row_only(self, job: BatchJob) -> None:
        def validate(n: int) -> int:
            raise SystemExit(n)

        model = create_model("Faulty", n=(Annotated[int, AfterValidator(validate)], ...))
        config = InferenceConfig(generation=GenerationParams(response_model=model))
        async with job.engine() as engine:
            batch_id = await engine.ainfer_batch(["good"], config)
            await engine.aget_batch_status(batch_id)
            result = await engine.aget_batch_results_partial(batch_id, ["good"], config)
        assert result.error_messages == {
            0: "the answer cannot be validated: a validator of Faulty raised SystemExit: 3"
        }

    async def test_rows_that_need_other_settings_are_refused(self, job: BatchJob) -> None:
        def look_up(city: str) -> str:
            return city

        own, tools = question("own", generation={"seed": 1}), question("tools")
        tools.tools = [ToolDefinition.from_callable(look_up)]
        async with job.engine() as engine:
            with pytest.raises(InputError, match="settings of its own.*\n.*tools, which the API does not combine"):
                await engine.ainfer_batch([question("good"), own, tools], self.config())
        assert not job.server.jobs


async def test_single_methods_send_the_schema_too(job: BatchJob) -> None:
    config = job.config()
    config.input_path = config.output_path = None
    config.generation = GenerationParams(response_model=Number)
    async with job.engine() as engine:
        await engine.ainfer_batch(["good"], config)
    [sent] = job.server.jobs.values()
    [line] = read_jsonl(job.server.path(sent.file_id))
    assert line["body"]["response_format"]["type"] == "json_schema"
