"""Spans and metrics of runs."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from opentelemetry.trace import StatusCode

from asyncinfer import Conversation, CostPerMillion, InferenceConfig, RunInterruptedError, Stop, Usage
from asyncinfer.types.answer import Completion
from tests.fakes import FakeClock, FakeEngine, questions, refusal, rejection
from tests.telemetry.collected import Collected, attributes


@pytest.fixture
def collected() -> Collected:
    return Collected()


def script(text: str, attempt: int) -> None:
    if text == "question 1":
        raise rejection()
    if text == "question 2" and attempt == 1:
        raise refusal(0.001)


async def test_each_row_has_a_span_below_that_of_the_run(collected: Collected) -> None:
    engine = FakeEngine(script)
    collected.instrument(engine)
    with collected.tracer.start_as_current_span("job"):
        await engine.ainfer_partial(questions(4))
    [job], [run] = collected.spans("job"), collected.spans("run")
    assert run.parent is not None
    assert job.context is not None
    assert run.parent.span_id == job.context.span_id
    rows = {attributes(span)["asyncinfer.row.index"]: span for span in collected.spans()}
    assert set(rows) == {0, 1, 2, 3}
    assert {span.parent and span.parent.span_id for span in rows.values()} == {run.context and run.context.span_id}
    answered, rejected, retried = attributes(rows[0]), attributes(rows[1]), attributes(rows[2])
    assert (answered["gen_ai.usage.output_tokens"], answered["gen_ai.response.finish_reasons"]) == (4, ("stop",))
    assert (rejected["error.type"], rows[1].status.status_code) == ("400", StatusCode.ERROR)
    assert (retried["asyncinfer.attempts"], [event.name for event in rows[2].events]) == (2, ["retry"])
    counts = attributes(run)
    assert (counts["asyncinfer.run.total"], counts["asyncinfer.run.completed"], counts["asyncinfer.run.failed"]) == (
        4,
        3,
        1,
    )
    assert counts["asyncinfer.run.state"] == "finished"


async def test_metrics_count_the_rows(collected: Collected) -> None:
    engine = FakeEngine(script)
    collected.instrument(engine)
    await engine.ainfer_partial(questions(4))
    durations = {attributes(p).get("error.type"): p.count for p in collected.points("gen_ai.client.operation.duration")}
    assert durations == {None: 3, "400": 1}
    tokens = {attributes(p)["gen_ai.token.type"]: p.sum for p in collected.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 9, "output": 12}


async def test_span_of_a_row_takes_as_long_as_its_request(collected: Collected) -> None:
    clock = FakeClock()
    engine = FakeEngine(lambda *_: clock.sleep(30), clock=clock)
    collected.instrument(engine)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await engine.ainfer_partial(questions(2))
        tasks.cancel_scope.cancel()
    for span in collected.spans():
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time - span.start_time == 30_000_000_000


async def test_saved_rows_have_no_span(collected: Collected, tmp_path: Path) -> None:
    config = InferenceConfig(output_path=tmp_path / "out.jsonl")
    await FakeEngine(script).ainfer_partial(questions(4), config)
    engine = FakeEngine()
    collected.instrument(engine)
    await engine.ainfer_partial(questions(4), config)
    assert [attributes(span)["asyncinfer.row.index"] for span in collected.spans()] == [1]
    assert [span.name for span in collected.spans("run")] == ["run out.jsonl"]


async def test_interrupted_run_has_a_span(collected: Collected) -> None:
    stop = Stop(grace=0)
    engine = FakeEngine(lambda text, _: stop.request() if text == "question 3" else None, workers=1)
    collected.instrument(engine)
    with pytest.raises(RunInterruptedError):
        await engine.ainfer_partial(questions(50), stop=stop)
    [run] = collected.spans("run")
    assert attributes(run)["asyncinfer.run.state"] == "interrupted"
    assert run.status.status_code is StatusCode.UNSET


async def test_iterated_run_has_spans(collected: Collected) -> None:
    engine = FakeEngine()
    collected.instrument(engine)
    with collected.tracer.start_as_current_span("job"):
        async with engine.ainfer_iter(questions(3)) as outcomes:
            assert all([isinstance(outcome, Conversation) async for _, outcome in outcomes])
    [job], [run] = collected.spans("job"), collected.spans("run")
    assert len(collected.spans()) == 3
    assert run.parent is not None
    assert job.context is not None
    assert run.parent.span_id == job.context.span_id


async def test_single_row_has_one_span(collected: Collected) -> None:
    engine = FakeEngine()
    collected.instrument(engine)
    await engine.ainfer(questions(1))
    assert [span.name for span in collected.spans()] == ["chat fake"]


async def test_row_has_the_names_of_the_response_and_its_cost(collected: Collected) -> None:
    class Described(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            completion = await super()._generate(conversation)
            completion.metadata = {"response_id": "r1", "response_model": "m-2026"}
            return completion

    engine = Described()
    collected.instrument(engine)
    await engine.ainfer(questions(2), InferenceConfig(cost_per_million=CostPerMillion(input=1, output=2)))
    for span in collected.spans():
        found = attributes(span)
        assert (found["gen_ai.request.model"], found["gen_ai.response.model"]) == ("fake", "m-2026")
        assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == ("chat", "remote")
        assert found["gen_ai.response.id"] == "r1"
        assert found["asyncinfer.cost"] == 11e-6


async def test_failed_row_has_the_tokens_that_its_attempts_used(collected: Collected) -> None:
    def fail(*_: object) -> None:
        error = rejection()
        error.usage = Usage(3, 4, 7)
        raise error

    engine = FakeEngine(fail)
    collected.instrument(engine)
    await engine.ainfer_partial(questions(2))
    assert [attributes(span)["gen_ai.usage.input_tokens"] for span in collected.spans()] == [3, 3]
    tokens = {attributes(p)["gen_ai.token.type"]: p.sum for p in collected.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 6, "output": 8}
