"""Typed answers, and rows with settings of their own, in runs with batch jobs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import GenerationParams, ToolDefinition
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


async def test_single_methods_send_the_schema_too(job: BatchJob) -> None:
    config = job.config()
    config.input_path = config.output_path = None
    config.generation = GenerationParams(response_model=Number)
    async with job.engine() as engine:
        await engine.ainfer_batch(["good"], config)
    [sent] = job.server.jobs.values()
    [line] = read_jsonl(job.server.path(sent.file_id))
    assert line["body"]["response_format"]["type"] == "json_schema"
