"""The cost of each answer: computed from prices, or as the response reports it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import (
    AttemptFailed,
    EndpointParams,
    GenerationParams,
    InferenceConfig,
    InvalidAnswerError,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    RowFailed,
    RowFinished,
    RunEvent,
    RunSummary,
)
from asyncinfer.types.answer import Completion
from tests.fakes import FakeEngine, question, questions, write_jsonl
from tests.recorder import SUCCESS, Recorder
from tests.run.prices import ANSWER_COST, PRICES


class Number(BaseModel):
    n: int


@pytest.fixture
async def api() -> Any:
    async with Recorder() as recorder:
        yield recorder


def engine_at(api: Recorder, **remote: object) -> RemoteInferenceEngine:
    given = {"api_url": api.url, "retry_backoff_base": 0.001, "retry_backoff_max": 0.001, **remote}
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams.model_validate(given))


def priced(**more: object) -> InferenceConfig:
    return InferenceConfig.model_validate({"cost_per_million": PRICES, **more})


def answer(content: str | None = "Hello.", finish: str = "stop", **usage: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return {**SUCCESS, "choices": [choice], "usage": {**SUCCESS["usage"], **usage}}


async def summary_of(engine: RemoteInferenceEngine, config: InferenceConfig, folder: Any, rows: int = 1) -> RunSummary:
    config = config.model_copy(deep=True)
    config.input_path = write_jsonl(folder / "in.jsonl", questions(rows))
    config.output_path = folder / "out.jsonl"
    return await engine.arun(config, relax_gc=False)


class TestCalls:
    async def test_call_has_its_cost(self, api: Recorder) -> None:
        answered = await engine_at(api).agenerate("Hello", priced())
        assert answered.metadata["cost"] == ANSWER_COST

    def test_blocking_call_has_its_cost(self) -> None:
        assert FakeEngine().generate("Hello", priced()).metadata["cost"] == ANSWER_COST

    async def test_single_row_has_its_cost(self, api: Recorder) -> None:
        [answered] = await engine_at(api).ainfer([question("Hello")], priced())
        assert answered.metadata["cost"] == ANSWER_COST

    async def test_stream_has_its_cost_in_the_last_delta(self, api: Recorder) -> None:
        async with engine_at(api).astream("Hello", priced()) as deltas:
            parts = [delta async for delta in deltas]
        assert parts[-1].usage is not None
        assert parts[-1].usage.cost == ANSWER_COST
        whole = Completion.from_deltas(parts).append_to(question("Hello"))
        assert whole.metadata["cost"] == ANSWER_COST

    async def test_call_at_a_server_without_prices_has_no_cost(self, api: Recorder) -> None:
        assert "cost" not in (await engine_at(api).agenerate("Hello")).metadata

    async def test_price_of_the_list_is_used_without_settings(self, api: Recorder) -> None:
        engine = OpenAIInferenceEngine(ModelParams(model_name="gpt-4o-mini"), remote_params=RemoteParams(api_key="k"))
        access = await engine.access()
        assert access.pricing is not None
        assert not access.pricing.is_loaded
        access.pricing.load()
        assert access.pricing.is_priced

    async def test_rejected_answers_of_a_call_are_part_of_its_usage_and_cost(self, api: Recorder) -> None:
        api.answers_in_turn(answer("no JSON"), answer('{"n": 1}'))
        answered = await engine_at(api).agenerate("Hello", priced(), response_model=Number)
        assert answered.metadata["usage"]["total_tokens"] == 14
        assert answered.metadata["cost"] == pytest.approx(2 * ANSWER_COST)

    async def test_failed_attempts_of_a_call_are_part_of_its_usage_and_cost(self, api: Recorder) -> None:
        api.answers_in_turn({**SUCCESS, "choices": []}, answer())
        answered = await engine_at(api).agenerate("Hello", priced())
        assert answered.metadata["usage"]["total_tokens"] == 14
        assert answered.metadata["cost"] == pytest.approx(2 * ANSWER_COST)

    async def test_error_of_a_call_has_the_usage_and_the_cost_of_all_attempts(self, api: Recorder) -> None:
        api.answers({**SUCCESS, "choices": []})
        with pytest.raises(RequestError) as raised:
            await engine_at(api, max_retries=2).agenerate("Hello", priced())
        usage = raised.value.usage
        assert usage is not None
        assert (usage.total_tokens, usage.cost) == (7 * len(api.sent), pytest.approx(ANSWER_COST * len(api.sent)))
        assert len(api.sent) > 1

    async def test_error_of_a_stream_has_the_usage_that_had_arrived(self, api: Recorder) -> None:
        piece = b'data: {"choices": [{"index": 0, "delta": {"content": "Par"}}], "usage": {"prompt_tokens": 3, '
        api.streams(piece + b'"completion_tokens": 4, "total_tokens": 7}}\n\n', breaks=True)
        with pytest.raises(RequestError) as raised:
            async with engine_at(api).astream("Hello", priced()) as deltas:
                assert [delta.content async for delta in deltas]
        assert raised.value.usage is not None
        assert raised.value.usage.cost == ANSWER_COST

    async def test_typed_stream_that_does_not_fit_has_its_cost(self, api: Recorder) -> None:
        with pytest.raises(InvalidAnswerError) as raised:
            async with engine_at(api).astream("Hello", priced(), response_model=Number) as deltas:
                async for _ in deltas:
                    pass
        assert raised.value.usage is not None
        assert raised.value.usage.cost == ANSWER_COST


class TestFailedAttempts:
    """Attempts whose response has no answer, but reports its tokens."""

    @pytest.mark.parametrize(
        ("body", "more"),
        [
            pytest.param({**SUCCESS, "choices": []}, {}, id="no answer"),
            pytest.param({**SUCCESS, "error": {"message": "no", "code": 400}, "choices": []}, {}, id="error"),
            pytest.param(answer('{"n": ', "length"), {"response_model": Number}, id="cut off"),
            pytest.param(answer("no JSON"), {"response_model": Number}, id="not valid"),
            pytest.param(answer("", "content_filter"), {"response_model": Number}, id="content filter"),
            pytest.param(answer(None, refusal="no"), {"response_model": Number}, id="refusal"),
        ],
    )
    async def test_each_attempt_at_a_failed_row_is_counted(
        self, api: Recorder, tmp_path: Any, body: dict[str, Any], more: dict[str, Any]
    ) -> None:
        api.answers(body)
        config = priced(generation=GenerationParams(**more))
        summary = await summary_of(engine_at(api, max_retries=2), config, tmp_path)
        assert summary.failed == 1
        assert summary.cost is not None
        assert (summary.cost.usd, summary.cost.unpriced) == (pytest.approx(ANSWER_COST * len(api.sent)), 0)
        assert summary.usage.total_tokens == 7 * len(api.sent)

    @pytest.mark.parametrize("finish", ["length", "content_filter"])
    async def test_answer_that_ended_early_is_counted(self, api: Recorder, tmp_path: Any, finish: str) -> None:
        api.answers(answer("Hel", finish))
        summary = await summary_of(engine_at(api), priced(), tmp_path)
        assert summary.cost is not None
        assert (summary.completed, summary.cost.usd) == (1, pytest.approx(ANSWER_COST))

    async def test_row_that_is_answered_after_failures_has_the_usage_and_cost_of_all(self, api: Recorder) -> None:
        api.answers_in_turn(
            {**SUCCESS, "choices": []}, answer("no JSON"), {**SUCCESS, "choices": []}, answer('{"n": 1}')
        )
        events: list[RunEvent] = []
        config = priced(generation=GenerationParams(response_model=Number))
        [answered] = await engine_at(api).ainfer([question("a")], config, observers=[events.append])
        assert answered.metadata["usage"]["total_tokens"] == 28
        assert answered.metadata["cost"] == pytest.approx(4 * ANSWER_COST)
        [finished] = [event for event in events if isinstance(event, RowFinished)]
        assert (finished.cost, finished.usage and finished.usage.total_tokens) == (pytest.approx(4 * ANSWER_COST), 28)
        failed = [event.error for event in events if isinstance(event, AttemptFailed)]
        assert [error.usage and error.usage.total_tokens for error in failed if isinstance(error, RequestError)] == [
            7
        ] * 3

    async def test_failed_row_has_the_usage_of_its_attempts(self, api: Recorder) -> None:
        api.answers({**SUCCESS, "choices": []})
        events: list[RunEvent] = []
        await engine_at(api, max_retries=2).ainfer_partial(questions(2), priced(), observers=[events.append])
        failed = [event for event in events if isinstance(event, RowFailed)]
        assert sum(event.usage.total_tokens for event in failed if event.usage) == 7 * len(api.sent)

    async def test_attempt_without_usage_is_not_counted(self, api: Recorder, tmp_path: Any) -> None:
        api.answers({"choices": []})
        summary = await summary_of(engine_at(api, max_retries=0), priced(), tmp_path)
        assert summary.cost is not None
        assert (summary.cost.usd, summary.cost.unpriced) == (0, 0)

    async def test_answer_that_cannot_be_saved_is_counted_once(self, tmp_path: Any) -> None:
        class Broken(FakeEngine):
            async def _generate(self, conversation: Any) -> Completion:
                completion = await super()._generate(conversation)
                completion.metadata = {"cannot": object()}
                return completion

        events: list[RunEvent] = []
        config = priced(output_path=tmp_path / "out.jsonl", max_tokens=1_000_000)
        await Broken().ainfer_partial(questions(2), config, observers=[events.append])
        costs = [event.usage.cost for event in events if isinstance(event, RowFailed) and event.usage]
        assert costs in ([ANSWER_COST, ANSWER_COST], [])  # Metadata that JSON cannot hold may be left out.


class TestEndpoints:
    async def test_each_attempt_has_the_price_of_its_endpoint(self) -> None:
        """A rejected answer of the dear endpoint, and the answer of the cheap one."""
        async with Recorder() as dear, Recorder() as cheap:
            dear.answers(answer("no JSON"))
            cheap.answers(answer('{"n": 1}'))
            endpoints = [
                EndpointParams.model_validate({"api_url": api.url, "cost_per_million": {"input": usd, "output": usd}})
                for api, usd in ((dear, 1000), (cheap, 1))
            ]
            engine = RemoteInferenceEngine(
                ModelParams(model_name="m"), remote_params=RemoteParams(endpoints=endpoints, num_workers=2)
            )
            config = InferenceConfig(generation=GenerationParams(response_model=Number, max_validation_retries=50))
            summary: list[Any] = []
            result = await engine.ainfer_partial(questions(20), config, on_progress=summary.append)
            assert dear.sent
            assert cheap.sent
        expected = 7e-6 * (1000 * len(dear.sent) + len(cheap.sent))
        assert summary[-1].cost.usd == pytest.approx(expected)
        assert sum(row.metadata["cost"] for _, row in result.successful) == pytest.approx(expected)


class TestReportedCosts:
    async def test_reported_cost_takes_precedence(self, api: Recorder, tmp_path: Any) -> None:
        api.answers(answer(cost=0.5))
        summary = await summary_of(engine_at(api), priced(), tmp_path, rows=3)
        assert summary.cost is not None
        assert (summary.cost.usd, summary.cost.source) == (1.5, "the responses of the provider")

    async def test_cost_is_counted_without_any_price(self, api: Recorder, tmp_path: Any) -> None:
        api.answers(answer(cost=0.5))
        summary = await summary_of(engine_at(api), InferenceConfig(), tmp_path, rows=2)
        assert summary.cost is not None
        assert (summary.cost.usd, summary.cost.unpriced) == (1.0, 0)
        answered = await engine_at(api).agenerate("Hello")
        assert answered.metadata["cost"] == 0.5

    async def test_cost_in_the_headers_of_a_proxy_is_counted(self, api: Recorder, tmp_path: Any) -> None:
        api.answers(answer(), headers={"x-litellm-response-cost": "0.25"})
        summary = await summary_of(engine_at(api), InferenceConfig(), tmp_path, rows=2)
        assert summary.cost is not None
        assert summary.cost.usd == 0.5

    async def test_source_names_both_kinds_of_costs(self, api: Recorder, tmp_path: Any) -> None:
        api.answers_in_turn(answer(cost=0.5), answer())
        summary = await summary_of(engine_at(api, num_workers=1), priced(), tmp_path, rows=2)
        assert summary.cost is not None
        assert summary.cost.usd == pytest.approx(0.5 + ANSWER_COST)
        assert summary.cost.source == "cost_per_million and the responses of the provider"
