"""What runs cost, and their limits on cost and tokens."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import anyio
import pytest
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    InferenceConfig,
    InferenceErrorType,
    Message,
    ModelParams,
    OpenAIInferenceEngine,
    Progress,
    RemoteParams,
    RequestError,
    Role,
    RowFinished,
    RunEvent,
    RunInterruptedError,
    SpendingLimitError,
    Stop,
    Usage,
)
from asyncinfer.engines.call_spending import spending_of
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.events import Events, Latency
from asyncinfer.run.executor import Executor, OutcomeSink, RowFeed
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, question, questions, read_jsonl, write_jsonl
from tests.run.prices import ANSWER_COST, PRICES, settings


class MeteredEngine(FakeEngine):
    """Answers with as many tokens as it may, and counts them. The first answers wait for `together` requests."""

    def __init__(self, together: int) -> None:
        super().__init__(self._wait, workers=200)
        self._together, self._started, self.used = together, anyio.Event(), 0

    async def _wait(self, *_: object) -> None:
        if self.in_flight == self._together:
            self._started.set()
        await self._started.wait()

    async def _generate(self, conversation: Conversation) -> Completion:
        await super()._generate(conversation)
        size = len(str(conversation.messages[-1].content))
        self.used += size + 10
        return Completion(Message(role=Role.ASSISTANT, content="yes"), FinishReason.STOP, Usage(size, 10, size + 10))


class TestCost:
    async def test_summary_progress_rows_and_events_have_the_cost(self, tmp_path: Path) -> None:
        events, shown = list[RunEvent](), list[Progress]()
        source = write_jsonl(tmp_path / "in.jsonl", questions(5))
        config = settings(
            input_path=str(source), output_path=str(tmp_path / "out.jsonl"), progress_path=str(tmp_path / "p.json")
        )
        summary = await FakeEngine().arun(config, observers=[events.append], on_progress=shown.append)
        assert summary.cost is not None
        assert summary.cost.usd == pytest.approx(5 * ANSWER_COST)
        assert (summary.cost.unpriced, summary.cost.source) == (0, "cost_per_million")
        assert shown[-1].cost == summary.cost
        assert [event.cost for event in events if isinstance(event, RowFinished)] == [pytest.approx(ANSWER_COST)] * 5
        assert [row["metadata"]["cost"] for row in read_jsonl(tmp_path / "out.jsonl")] == [ANSWER_COST] * 5
        file = json.loads((tmp_path / "p.json").read_text())
        assert file["cost"] == {
            "usd": 5.5e-05,
            "unpriced": 0,
            "source": "cost_per_million",
            "date": None,
            "unknown": None,
        }

    async def test_engine_without_prices_costs_nothing(self) -> None:
        shown = list[Progress]()
        [answer, _] = await FakeEngine().ainfer(questions(2), on_progress=shown.append)
        assert shown[-1].cost is None
        assert "cost" not in answer.metadata

    async def test_answers_without_usage_are_counted_as_unpriced(self, tmp_path: Path) -> None:
        class Silent(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                return Completion(Message(role=Role.ASSISTANT, content="yes"), FinishReason.STOP)

        shown = list[Progress]()
        await Silent().ainfer(questions(3), settings(), on_progress=shown.append)
        cost = shown[-1].cost
        assert cost is not None
        assert (cost.usd, cost.unpriced) == (0, 3)
        assert cost.text.startswith("unknown: the responses do not say")

    async def test_answer_is_priced_by_the_model_that_answered(self) -> None:
        class Two(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                completion = await super()._generate(conversation)
                model = "big" if "1" in str(conversation.messages[-1].content) else "small"
                completion.metadata = {"response_model": model}
                return completion

        prices = {**PRICES, "models": {"big": {"input": 100, "output": 200}}}
        answers = await Two().ainfer(questions(2), settings(cost_per_million=prices))
        assert [answer.metadata["cost"] for answer in answers] == [ANSWER_COST, pytest.approx(100 * ANSWER_COST)]

    async def test_rejected_answers_are_part_of_the_cost(self) -> None:
        class Correcting(FakeEngine):
            """Answers with JSON only when it is asked again."""

            async def _generate(self, conversation: Conversation) -> Completion:
                completion = await super()._generate(conversation)
                corrected = len(conversation.messages) > 2
                completion.message = Message(role=Role.ASSISTANT, content='{"n": 1}' if corrected else "no JSON")
                return completion

        class Number(BaseModel):
            n: int

        shown, engine = list[Progress](), Correcting()
        answers = await engine.ainfer(
            questions(2), settings(max_tokens=20_000), on_progress=shown.append, response_model=Number
        )
        assert engine.asked.total() == 4
        cost = shown[-1].cost
        assert cost is not None
        assert cost.usd == pytest.approx(4 * ANSWER_COST)
        assert [answer.metadata["cost"] for answer in answers] == [pytest.approx(2 * ANSWER_COST)] * 2

    async def test_attempts_of_failed_rows_are_part_of_the_cost(self) -> None:
        class Number(BaseModel):
            n: int

        shown, engine = list[Progress](), FakeEngine()
        await engine.ainfer_partial(questions(2), settings(), on_progress=shown.append, response_model=Number)
        cost = shown[-1].cost
        assert cost is not None
        assert (cost.usd, cost.unpriced) == (pytest.approx(engine.asked.total() * ANSWER_COST), 0)

    async def test_unknown_price_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        engine = FakeEngine()
        openai = OpenAIInferenceEngine(ModelParams(model_name="no-such-model"), remote_params=RemoteParams(api_key="k"))
        engine._priced_endpoints = lambda settings: openai._priced_endpoints(openai.settings)
        shown = list[Progress]()
        with caplog.at_level(logging.INFO, "asyncinfer"):
            await engine.ainfer(questions(4), on_progress=shown.append)
        assert sum("no price of 'no-such-model' is known" in record.message for record in caplog.records) == 1
        cost = shown[-1].cost
        assert cost is not None
        assert cost.unpriced == 4

    async def test_provider_at_a_local_address_has_no_price(self) -> None:
        remote = RemoteParams(api_key="k", api_url="http://localhost:8000/v1")
        engine = OpenAIInferenceEngine(ModelParams(model_name="gpt-4o"), remote_params=remote)
        access = await engine.access()
        spending = spending_of(InferenceConfig(), access, lambda: engine._pricing(InferenceConfig(), access.settings))
        assert spending is not None  # The server may report a cost.
        spending.prepare()
        assert spending.total() is None


class TestLimits:
    @pytest.mark.parametrize("limit", [{"max_cost": 0.4}, {"max_tokens": 400_000}])
    async def test_limit_is_never_exceeded_with_200_in_flight(self, limit: dict[str, float], tmp_path: Path) -> None:
        engine = MeteredEngine(together=200)
        config = settings(output_path=str(tmp_path / "out.jsonl"), **limit)
        with pytest.raises(SpendingLimitError) as stopped:
            await engine.ainfer([question("word " * 40 + str(i)) for i in range(3_000)], config)
        assert engine.peak == 200
        summary = stopped.value.summary
        assert summary.cost is not None
        if "max_cost" in limit:
            assert 0.399 < summary.cost.usd <= 0.4
        else:
            assert 399_000 < engine.used <= 400_000

    async def test_stopped_run_goes_on_with_a_higher_limit(self, tmp_path: Path) -> None:
        rows, engine = questions(500), FakeEngine()
        output = tmp_path / "out.jsonl"
        with pytest.raises(SpendingLimitError, match="max_cost is") as stopped:
            await engine.ainfer(rows, settings(output_path=str(output), max_cost=300 * ANSWER_COST))
        text = str(stopped.value)
        assert "raise the limit and run the same again" in text
        assert str(tmp_path / "scratch" / "out.jsonl") in text
        saved = stopped.value.summary.completed
        assert 200 < saved < 300
        assert not output.exists()
        with pytest.raises(SpendingLimitError):  # What the first run spent still counts.
            await engine.ainfer(rows, settings(output_path=str(output), max_cost=300 * ANSWER_COST))
        assert engine.asked.total() == saved
        await engine.ainfer(rows, settings(output_path=str(output), max_cost=1))
        assert engine.asked.total() == 500
        assert len(read_jsonl(output)) == 500

    async def test_limit_counts_the_answers_of_an_interrupted_run(self, tmp_path: Path) -> None:
        rows, config = questions(50), settings(output_path=str(tmp_path / "out.jsonl"), max_tokens=5_000)
        stop = Stop()
        engine = FakeEngine(lambda _, __: stop.request() if engine.asked.total() == 20 else None)
        with pytest.raises(RunInterruptedError):
            await engine.ainfer(rows, config, stop=stop)
        spent = len(read_jsonl(tmp_path / "scratch" / "out.jsonl"))
        assert spent
        with pytest.raises(SpendingLimitError, match=f"So far, {7 * spent} tokens"):
            await FakeEngine().ainfer(rows, config.model_copy(update={"max_tokens": 7 * spent + 1}))

    async def test_limit_that_is_too_low_for_one_request_says_so(self) -> None:
        with pytest.raises(SpendingLimitError, match="the next request may use up to 340 tokens"):
            await FakeEngine().ainfer(questions(2), settings(max_tokens=100))

    async def test_limit_above_the_whole_job_changes_nothing(self, tmp_path: Path) -> None:
        config = settings(output_path=str(tmp_path / "out.jsonl"), max_cost=1, max_tokens=10**6)
        assert len(await FakeEngine().ainfer(questions(20), config)) == 20

    async def test_failed_rows_free_their_reservation(self) -> None:
        def script(text: str, _: int) -> None:
            if text != "question 9":
                raise RequestError("no", error_type=InferenceErrorType.API_STATUS, status_code=400)

        result = await FakeEngine(script, workers=1).ainfer_partial(questions(10), settings(max_tokens=500))
        assert len(result.failures) == 9

    async def test_retry_for_which_there_is_no_room_is_not_made(self) -> None:
        def script(_: str, __: int) -> None:
            error = RequestError("no JSON", error_type=InferenceErrorType.PARSE_ERROR, is_retryable=True)
            error.usage = Usage(300, 10, 310)
            raise error

        engine = FakeEngine(script, retry_backoff_base=0.001, retry_backoff_max=0.001)
        result = await engine.ainfer_partial(questions(2), settings(max_tokens=700))
        assert len(result.failures) == 2
        assert engine.asked.total() == 2

    async def test_iteration_ends_at_the_limit(self, tmp_path: Path) -> None:
        seen, engine = list[int](), FakeEngine(workers=1)
        with pytest.raises(SpendingLimitError):
            async for index, _ in engine.ainfer_iter(iter(questions(1000)), settings(max_tokens=1_000)):
                seen.append(index)
        assert 90 < len(seen) < 143

    async def test_limit_on_cost_needs_a_price(self) -> None:
        with pytest.raises(ConfigError, match="max_cost: the price of 'fake' is unknown; set cost_per_million"):
            await FakeEngine().ainfer(questions(2), InferenceConfig(max_cost=1))

    async def test_batch_executor_gets_the_end_when_no_further_row_fits(self, tmp_path: Path) -> None:
        class Batches(FakeEngine):
            def _new_executor(self, access: EngineAccess, total: int | None) -> Executor:
                return executor

        executor = BatchExecutor()
        with pytest.raises(SpendingLimitError, match="10 of 100 rows are saved"):
            config = settings(output_path=str(tmp_path / "o.jsonl"), max_tokens=3_430)
            await Batches().ainfer([question(f"{i:05}") for i in range(100)], config)


class BatchExecutor:
    """Collects all rows before it answers any."""

    capacity, is_batch, silent_for = 1_000, True, 0.0

    def is_sent_alone(self, conversation: Conversation) -> bool:
        return False

    async def run(self, feed: RowFeed, outcomes: OutcomeSink, events: Events) -> None:
        collected = list[Row]()
        while (rows := await feed.read()) is not None:
            collected += rows
        for row in collected:
            answer = Completion(Message(role=Role.ASSISTANT, content="yes"), FinishReason.STOP, Usage(3, 4, 7))
            await outcomes.answered(row, answer, Latency(0.0, 0.0))

    def stop(self, grace: float) -> None:
        raise AssertionError("the run is not stopped")

    def why_waiting(self) -> str | None:
        return None
