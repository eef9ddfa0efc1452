"""The limits on cost and tokens in unusual jobs: duplicates, caches, several answers, missing counts, several prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    ContentItem,
    Conversation,
    EndpointParams,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Role,
    RunInterruptedError,
    SpendingLimitError,
    Stop,
    Type,
    Usage,
)
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, question, questions, read_jsonl, refusal, rejection
from tests.recorder import Recorder
from tests.run.prices import ANSWER_COST, PRICES, settings

# The bound of `question N`: 330 tokens of the prompt, and 10 of the answer.
BOUND, BOUND_COST = 340, 350e-6


class Silent(FakeEngine):
    """Answers without usage."""

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        completion.usage = None
        return completion


class Number(BaseModel):
    n: int


class TestRowsThatCostNothing:
    async def test_duplicates_reserve_and_cost_nothing(self, tmp_path: Path) -> None:
        engine = FakeEngine(workers=1)
        rows = [question(f"question {i % 2}") for i in range(1_000)]
        answers = await engine.ainfer(rows, settings(max_tokens=2 * BOUND, output_path=str(tmp_path / "out.jsonl")))
        assert (len(answers), engine.asked.total()) == (1_000, 2)

    async def test_answers_from_the_cache_reserve_and_cost_nothing(self, tmp_path: Path) -> None:
        cached = {"cache": True, "cache_path": str(tmp_path / "cache.sqlite3")}
        await FakeEngine().ainfer(questions(50), settings(**cached))
        engine = FakeEngine()
        answers = await engine.ainfer(questions(50), settings(**cached, max_cost=1e-9))
        assert (len(answers), engine.asked.total()) == (50, 0)

    async def test_answers_of_an_earlier_run_with_duplicates_count_once(self, tmp_path: Path) -> None:
        rows = [question(f"question {i % 5}") for i in range(100)] + questions(200)[100:]
        config = settings(output_path=str(tmp_path / "out.jsonl"), max_tokens=BOUND + 7 * 40)
        with pytest.raises(SpendingLimitError) as first:
            await FakeEngine(workers=1).ainfer(rows, config)
        sent = first.value.summary.completed - first.value.summary.deduplicated
        with pytest.raises(SpendingLimitError, match=f"So far, {7 * sent} tokens"):
            await FakeEngine().ainfer(rows, config)


class TestResume:
    @pytest.mark.parametrize("limit", [{"max_tokens": 20 * BOUND}, {"max_cost": 20 * BOUND_COST}])
    async def test_answers_without_usage_count_at_their_bound_after_a_resume_too(
        self, tmp_path: Path, limit: dict[str, float]
    ) -> None:
        rows = [question(f"{number:010}") for number in range(100)]
        config = settings(output_path=str(tmp_path / "out.jsonl"), **limit)
        with pytest.raises(SpendingLimitError):
            await Silent(workers=1).ainfer(rows, config)
        saved = len(read_jsonl(tmp_path / "scratch" / "out.jsonl"))
        assert saved == 20
        again = Silent()
        with pytest.raises(SpendingLimitError):
            await again.ainfer(rows, config)
        assert again.asked.total() == 0

    async def test_answers_that_were_saved_without_a_price_are_priced_now(self, tmp_path: Path) -> None:
        config = InferenceConfig(output_path=tmp_path / "out.jsonl", generation=GenerationParams(max_new_tokens=10))
        stop = Stop()
        engine = FakeEngine(lambda *_: stop.request() if engine.asked.total() == 40 else None, workers=1)
        with pytest.raises(RunInterruptedError):
            await engine.ainfer(questions(100), config, stop=stop)
        saved = len(read_jsonl(tmp_path / "scratch" / "out.jsonl"))
        assert saved
        limited = settings(output_path=str(tmp_path / "out.jsonl"), max_cost=saved * ANSWER_COST)
        with pytest.raises(SpendingLimitError, match=f"So far, {7 * saved} tokens and \\$0"):
            await FakeEngine().ainfer(questions(100), limited)

    async def test_three_runs_spend_no_more_than_the_last_limit(self, tmp_path: Path) -> None:
        sent = 0
        for answers in (100, 200, 300):
            engine = FakeEngine()
            with pytest.raises(SpendingLimitError) as stopped:
                config = settings(output_path=str(tmp_path / "out.jsonl"), max_cost=answers * ANSWER_COST)
                await engine.ainfer(questions(1_000), config)
            sent += engine.asked.total()
            assert stopped.value.summary.completed == sent
            assert answers - BOUND_COST / ANSWER_COST < sent <= answers


class Rejecting(FakeEngine):
    """Half of the rows fail, although each of their attempts uses tokens."""

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        if int(str(conversation.messages[-1].content).split()[-1]) % 2:
            error = rejection()
            error.usage = completion.usage
            raise error
        return completion


class TestRowsThatFail:
    @pytest.mark.parametrize("limit", [{"max_tokens": 2_000}, {"max_cost": 2_000 * ANSWER_COST / 7}])
    async def test_failed_rows_of_earlier_runs_count(self, tmp_path: Path, limit: dict[str, float]) -> None:
        config, sent = settings(output_path=str(tmp_path / "out.jsonl"), **limit), list[int]()
        for _ in range(3):
            engine = Rejecting()
            with pytest.raises(SpendingLimitError):
                await engine.ainfer(questions(1_000), config)
            sent.append(engine.asked.total())
        assert 2_000 - 2 * BOUND < 7 * sent[0] <= 2_000
        assert 7 * sum(sent) <= 2_000

    async def test_failed_rows_count_once_and_until_the_job_ends(self, tmp_path: Path) -> None:
        config = settings(output_path=str(tmp_path / "out.jsonl"))
        await Rejecting().ainfer_partial(questions(10), config)
        await Rejecting().ainfer_partial(questions(10), config)
        spent = 7 * (10 + 5)
        for _ in range(2):
            with pytest.raises(SpendingLimitError, match=f"So far, {spent} tokens"):
                await FakeEngine().ainfer(questions(10), config.model_copy(update={"max_tokens": spent}))
        await FakeEngine().ainfer(questions(10), config.model_copy(update={"max_tokens": spent + 6 * BOUND}))
        assert not (tmp_path / "scratch").exists()

    async def test_failed_rows_of_other_settings_do_not_count(self, tmp_path: Path) -> None:
        config = settings(output_path=str(tmp_path / "out.jsonl"))
        await Rejecting().ainfer_partial(questions(10), config)
        other = settings(output_path=str(tmp_path / "out.jsonl"), generation={"max_new_tokens": 11}, max_tokens=341)
        with pytest.raises(SpendingLimitError, match=r"So far, (0|7) tokens"):
            await FakeEngine().ainfer(questions(10), other)

    async def test_attempts_at_rows_that_a_stop_leaves_open_count(self, tmp_path: Path) -> None:
        class Waiting(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                completion = await super()._generate(conversation)
                stop.request()
                error = refusal(after=1e6)
                error.usage = completion.usage
                raise error

        stop, config = Stop(), settings(output_path=str(tmp_path / "out.jsonl"))
        with pytest.raises(RunInterruptedError):
            await (engine := Waiting(workers=1)).ainfer(questions(2), config, stop=stop)
        with pytest.raises(SpendingLimitError, match=f"So far, {7 * engine.asked.total()} tokens"):
            await FakeEngine().ainfer(questions(2), config.model_copy(update={"max_tokens": 20}))

    async def test_iteration_counts_them_too(self, tmp_path: Path) -> None:
        config = settings(output_path=str(tmp_path / "out.jsonl"))
        async for _ in Rejecting().ainfer_iter(iter(questions(10)), config):
            pass
        with pytest.raises(SpendingLimitError, match="So far, 70 tokens"):
            async for _ in FakeEngine().ainfer_iter(iter(questions(10)), config.model_copy(update={"max_tokens": 70})):
                pass

    async def test_nothing_is_saved_without_a_price_and_a_limit(self, tmp_path: Path) -> None:
        engine = Rejecting()
        await engine.ainfer_partial([question("1"), question("3")], InferenceConfig(output_path=tmp_path / "out.jsonl"))
        assert engine.asked.total() == 2
        assert not (tmp_path / "scratch").exists()


class TestBounds:
    async def test_typed_answers_that_are_asked_again_stay_within_the_limit(self) -> None:
        class Wordy(FakeEngine):
            """Uses all tokens that it may, and never answers with JSON."""

            used = 0

            async def _generate(self, conversation: Conversation) -> Completion:
                await super()._generate(conversation)
                prompt = sum(len(str(message.content)) for message in conversation.messages)
                self.used += prompt + 10
                text = Message(role=Role.ASSISTANT, content="x" * 10)
                return Completion(text, FinishReason.STOP, Usage(prompt, 10, prompt + 10))

        engine, limit = Wordy(), 100_000
        generation = GenerationParams(max_new_tokens=10, response_model=Number)
        with pytest.raises(SpendingLimitError):
            await engine.ainfer(questions(1_000), InferenceConfig(generation=generation, max_tokens=limit))
        assert 0.9 * limit < engine.used <= limit

    async def test_several_answers_are_reserved(self) -> None:
        with pytest.raises(SpendingLimitError, match=f"may use up to {BOUND - 10 + 50} tokens"):
            await FakeEngine().ainfer(
                questions(2), settings(generation={"max_new_tokens": 10, "n": 5}, max_tokens=BOUND + 30)
            )

    async def test_images_are_reserved(self) -> None:
        items = [ContentItem(type=Type.IMAGE_BINARY, binary=b"\x89PNG"), ContentItem(type=Type.TEXT, content="What?")]
        row = Conversation(messages=[Message(role=Role.USER, content=items)])
        with pytest.raises(SpendingLimitError, match="may use up to 3,3"):
            await FakeEngine().ainfer([row, question("a")], settings(max_tokens=3_000))

    async def test_dearest_endpoint_decides(self, tmp_path: Path) -> None:
        async with Recorder() as dear, Recorder() as cheap:
            endpoints = [
                EndpointParams.model_validate({"api_url": api.url, "cost_per_million": {"input": usd, "output": usd}})
                for api, usd in ((cheap, 1), (dear, 100))
            ]
            remote = RemoteParams(endpoints=endpoints, num_workers=50, use_adaptive_concurrency=False)
            engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
            config = InferenceConfig(
                max_cost=0.2, generation=GenerationParams(max_new_tokens=10), output_path=tmp_path / "out.jsonl"
            )
            with pytest.raises(SpendingLimitError) as stopped:
                await engine.ainfer(questions(2_000), config)
            sent = (len(cheap.sent), len(dear.sent))
        cost = stopped.value.summary.cost
        assert cost is not None
        assert cost.usd == pytest.approx(7e-6 * (sent[0] + 100 * sent[1]))
        assert 0.2 - 100 * BOUND_COST < cost.usd <= 0.2

    async def test_endpoint_without_a_price_is_named_before_anything_is_sent(self) -> None:
        async with Recorder() as one, Recorder() as other:
            endpoints = [
                EndpointParams.model_validate({"api_url": one.url, "cost_per_million": PRICES}),
                EndpointParams(api_url=other.url),
            ]
            engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(endpoints=endpoints))
            with pytest.raises(ConfigError, match=r"max_cost: the price of 'm' at .* is unknown"):
                await engine.ainfer(questions(2), InferenceConfig(max_cost=1))
            assert not one.sent
            assert not other.sent

    async def test_row_that_asks_for_a_model_without_a_price_fails_alone(self) -> None:
        prices = {"models": {"fake": PRICES}}
        rows = [*questions(20), question("other", model_name="other"), *questions(40)[20:]]
        result = await FakeEngine().ainfer_partial(rows, settings(cost_per_million=prices, max_cost=1))
        assert len(result.successful) == 40
        [(index, failure)] = result.failures.items()
        assert index == 20
        assert "row 20 asks for the model 'other', whose price is unknown" in failure.error_message


class TestWrongBounds:
    """Requests that use more than their bound, as a provider may charge more than the price list says."""

    @pytest.mark.parametrize("limit", [{"max_cost": 0.1}, {"max_tokens": 100_000}])
    async def test_limit_is_exceeded_by_no_more_than_what_is_in_flight(
        self, tmp_path: Path, limit: dict[str, float]
    ) -> None:
        class Dear(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                completion = await super()._generate(conversation)
                completion.usage = Usage(3, 4, 2_000, cost=0.002)
                return completion

        engine, config = Dear(workers=5), settings(output_path=str(tmp_path / "out.jsonl"), **limit)
        with pytest.raises(SpendingLimitError, match="Requests used more than was reserved") as stopped:
            await engine.ainfer(questions(1_000), config)
        assert 50 <= engine.asked.total() <= 50 + 5
        assert stopped.value.summary.completed == engine.asked.total()
        assert len(read_jsonl(tmp_path / "scratch" / "out.jsonl")) == engine.asked.total()
        more = {name: 100 * value for name, value in limit.items()}
        again = Dear()
        await again.ainfer(questions(1_000), config.model_copy(update=more))
        assert engine.asked.total() + again.asked.total() == 1_000

    async def test_iteration_yields_what_was_paid(self) -> None:
        class Dear(FakeEngine):
            async def _generate(self, conversation: Conversation) -> Completion:
                completion = await super()._generate(conversation)
                completion.usage = Usage(3, 4, 2_000)
                return completion

        engine, seen = Dear(workers=2), 0
        with pytest.raises(SpendingLimitError):
            async for _ in engine.ainfer_iter(iter(questions(1_000)), settings(max_tokens=20_000)):
                seen += 1
        assert seen == engine.asked.total()
        assert 10 <= seen <= 12

    async def test_job_that_ends_exactly_at_its_limit_is_complete(self, tmp_path: Path) -> None:
        rows = [question(f"{number:010}") for number in range(3)]
        config = settings(output_path=str(tmp_path / "out.jsonl"), max_tokens=3 * BOUND)
        assert len(await Silent().ainfer(rows, config)) == 3


class TestMethods:
    @pytest.mark.parametrize("method", ["ainfer", "ainfer_partial"])
    async def test_limit_ends_the_run_with_what_was_spent(self, method: str, tmp_path: Path) -> None:
        engine: Any = FakeEngine()
        with pytest.raises(SpendingLimitError, match=r"max_tokens is 1,000. So far, \d+ tokens were used"):
            await getattr(engine, method)(questions(500), settings(max_tokens=1_000))
        assert engine.asked.total() * 7 <= 1_000

    @pytest.mark.parametrize("method", ["infer", "infer_partial"])
    def test_blocking_twins_end_at_the_limit_too(self, method: str) -> None:
        engine: Any = FakeEngine()
        with pytest.raises(SpendingLimitError):
            getattr(engine, method)(questions(500), settings(max_tokens=1_000))

    def test_blocking_iteration_ends_at_the_limit(self, tmp_path: Path) -> None:
        engine, seen = FakeEngine(), 0
        config = settings(max_tokens=1_000, output_path=str(tmp_path / "out.jsonl"))
        with pytest.raises(SpendingLimitError):
            for _ in engine.infer_iter(iter(questions(500)), config):
                seen += 1
        assert seen == engine.asked.total()
        with pytest.raises(SpendingLimitError):  # What the first run spent still counts.
            list(engine.infer_iter(iter(questions(500)), config))
        assert engine.asked.total() == seen

    async def test_single_row_respects_the_limit(self) -> None:
        engine = FakeEngine()
        with pytest.raises(SpendingLimitError):
            await engine.ainfer(questions(1), settings(max_tokens=10))
        assert engine.asked.total() == 0
