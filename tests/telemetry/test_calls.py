"""Spans and metrics of single calls and streams."""

from __future__ import annotations

import gc
import json
from importlib import import_module
from typing import Any

import anyio
import pytest
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, StatusCode

from asyncinfer import (
    Conversation,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    Role,
    TelemetryParams,
    Usage,
    build_engine,
)
from asyncinfer.telemetry import attributes as names
from asyncinfer.types.answer import Completion
from tests.fakes import ONE_ATTEMPT, FakeEngine, question, rejection
from tests.faults import FaultServer, hang_up, sse, stall, status
from tests.telemetry.collected import Collected, attributes


@pytest.fixture
def collected() -> Collected:
    return Collected()


def remote_engine(server: FaultServer, **generation: Any) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(
        ModelParams(model_name="gpt-x"),
        generation_params=GenerationParams(**generation),
        remote_params=RemoteParams(api_url=server.url, retry_backoff_base=0.001),
    )


def test_names_are_those_of_the_conventions() -> None:
    conventions = "opentelemetry.semconv._incubating"
    gen_ai_attributes = import_module(f"{conventions}.attributes.gen_ai_attributes")
    gen_ai_metrics = import_module(f"{conventions}.metrics.gen_ai_metrics")
    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    used = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert used | set(names._PARAMETERS.values()) <= known
    assert gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION == "gen_ai.client.operation.duration"
    assert gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE == "gen_ai.client.token.usage"
    providers = {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    assert set(names._PROVIDERS.values()) <= providers


async def test_call_has_a_span_with_request_and_answer(collected: Collected) -> None:
    async with FaultServer(lambda _: None) as server, remote_engine(server, max_new_tokens=32, top_p=0.9) as engine:
        collected.instrument(engine)
        answered = await engine.agenerate(question("Hello", conversation_id="c1"))
        port = int(server.url.split(":")[2].split("/")[0])
    [span] = collected.spans()
    assert (span.name, span.kind, span.status.status_code) == ("chat gpt-x", SpanKind.CLIENT, StatusCode.UNSET)
    found, usage = attributes(span), answered.metadata["usage"]
    assert found | {} == found | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "remote",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.max_tokens": 32,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.conversation.id": "c1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    assert "gen_ai.input.messages" not in found
    assert "gen_ai.output.messages" not in found


async def test_one_span_covers_all_attempts(collected: Collected) -> None:
    faults = iter([status(503), status(429)])
    async with FaultServer(lambda _: next(faults, None)) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        await engine.agenerate("Hello")
        assert len(server.asks) == 3
    [span] = collected.spans()
    assert span.status.status_code is StatusCode.UNSET


async def test_failed_call_has_its_error(collected: Collected) -> None:
    async with FaultServer(lambda _: status(422)) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        with pytest.raises(RequestError):
            await engine.agenerate("Hello", ONE_ATTEMPT)
    [span] = collected.spans()
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "422")
    [duration] = collected.points("gen_ai.client.operation.duration")
    assert attributes(duration)["error.type"] == "422"
    assert collected.points("gen_ai.client.token.usage") == []


async def test_metrics_count_durations_and_tokens(collected: Collected) -> None:
    engine = FakeEngine()
    collected.instrument(engine)
    for _ in range(3):
        await engine.agenerate("Hello")
    [duration] = collected.points("gen_ai.client.operation.duration")
    assert (duration.count, attributes(duration)) == (
        3,
        {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "remote", "gen_ai.request.model": "fake"},
    )
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    tokens = {attributes(point)["gen_ai.token.type"]: point for point in collected.points("gen_ai.client.token.usage")}
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {"input": (3, 9), "output": (3, 12)}
    assert tokens["input"].explicit_bounds[:3] == (1, 4, 16)


async def test_stream_has_a_span_with_the_time_to_its_first_part(collected: Collected) -> None:
    async with FaultServer(lambda _: sse(["Par", "is"])) as server, remote_engine(server) as engine:
        collected.instrument(engine, capture_content=True)
        async with engine.astream("Where is the Eiffel Tower?") as deltas:
            assert "".join([delta.content async for delta in deltas]) == "Paris"
    [span] = collected.spans()
    found = attributes(span)
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.time_to_first_chunk"] > 0
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    [output] = json.loads(found["gen_ai.output.messages"])
    assert output == {"role": "assistant", "parts": [{"type": "text", "content": "Paris"}], "finish_reason": "stop"}


async def test_stream_that_its_reader_leaves_has_a_span_without_error(collected: Collected) -> None:
    async with FaultServer(lambda _: sse(["Par", "is"])) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        async with engine.astream("Hello") as deltas:
            async for _ in deltas:
                break
    [span] = collected.spans()
    assert span.status.status_code is StatusCode.UNSET


async def test_content_is_added_only_on_request(collected: Collected) -> None:
    asked = Conversation.from_dict(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "content": "What is this?"},
                        {"type": "image_url", "content": "https://example.com/a.png"},
                    ],
                },
            ]
        }
    )
    engine = FakeEngine()
    collected.instrument(engine, capture_content=True)
    await engine.agenerate(asked)
    [span] = collected.spans()
    found = attributes(span)
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    [message] = json.loads(found["gen_ai.input.messages"])
    assert message == {
        "role": "user",
        "parts": [
            {"type": "text", "content": "What is this?"},
            {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
        ],
    }


async def test_tool_calls_are_parts_of_the_content(collected: Collected) -> None:
    class Calls(FakeEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            message = Message(role=Role.ASSISTANT, tool_calls=[call])  # pyright: ignore
            return Completion(message, FinishReason.TOOL_CALLS, Usage(1, 2, 3))

    engine = Calls()
    collected.instrument(engine, capture_content=True)
    await engine.agenerate("Look!")
    [span] = collected.spans()
    [output] = json.loads(attributes(span)["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "tool_call", "id": "1", "name": "look", "arguments": "{}"}]
    assert output["finish_reason"] == "tool_call"


# Parents


async def test_span_of_the_caller_is_the_parent_of_calls_and_streams(collected: Collected) -> None:
    engine = FakeEngine()
    collected.instrument(engine)

    async def agent() -> None:
        with collected.tracer.start_as_current_span("agent"):
            await engine.agenerate("Hello")
            async with engine.astream("Hello") as deltas:
                assert [delta async for delta in deltas]

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(agent)
    parents = [span.parent.span_id for span in collected.spans() if span.parent is not None]
    agents = [span.context.span_id for span in collected.spans("agent") if span.context is not None]
    assert len(agents) == 3
    assert sorted(parents) == sorted(agents * 2)


def test_span_of_the_caller_is_the_parent_of_a_blocking_call(collected: Collected) -> None:
    engine = FakeEngine()
    collected.instrument(engine)
    with collected.tracer.start_as_current_span("agent"):
        engine.generate("Hello")
        assert list(engine.stream("Hello"))
    [agent] = collected.spans("agent")
    assert agent.context is not None
    assert [span.parent and span.parent.span_id for span in collected.spans()] == [agent.context.span_id] * 2


async def test_span_of_an_engine_is_current_while_it_answers(collected: Collected) -> None:
    current: list[int] = []
    engine = FakeEngine(lambda *_: current.append(trace.get_current_span().get_span_context().span_id))
    collected.instrument(engine)
    await engine.agenerate("Hello")
    [span] = collected.spans()
    assert span.context is not None
    assert current == [span.context.span_id]


# Switched off and on


async def test_engine_is_silent_unless_instrumented(collected: Collected) -> None:
    engine = FakeEngine()
    await engine.agenerate("Hello")
    assert (await engine.access()).tracing is None
    collected.instrument(engine)
    await engine.agenerate("Hello")
    assert len(collected.spans()) == 1


async def test_configuration_instruments_an_engine_and_a_call(
    collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: collected.tracer_provider)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: collected.meter_provider)
    async with FaultServer(lambda _: None) as server:
        config = InferenceConfig.from_str(
            f"{{engine: OPENAI, model: {{model_name: gpt-x}}, telemetry: {{}}, "
            f"remote_params: {{api_url: '{server.url}', api_key: k}}}}"
        )
        async with build_engine(config) as engine:
            assert (await engine.access()).tracing is not None
    plain = FakeEngine()
    assert (await plain.access(InferenceConfig(telemetry=TelemetryParams()))).tracing is not None
    assert (await plain.access()).tracing is None


async def test_model_in_this_process_has_internal_spans(collected: Collected) -> None:
    engine = FakeEngine()  # It has no URL.
    collected.instrument(engine)
    await engine.agenerate("Hello")
    [span] = collected.spans()
    assert span.kind is SpanKind.INTERNAL


async def test_error_that_is_not_of_a_request_is_named_by_its_class(collected: Collected) -> None:
    def script(*_: object) -> None:
        raise ZeroDivisionError

    engine = FakeEngine(script)
    collected.instrument(engine)
    with pytest.raises(ZeroDivisionError):
        await engine.agenerate("Hello")
    [span] = collected.spans()
    assert attributes(span)["error.type"] == "ZeroDivisionError"


async def test_rejected_call_is_an_error(collected: Collected) -> None:
    def script(*_: object) -> None:
        raise rejection()

    engine = FakeEngine(script)
    collected.instrument(engine)
    with pytest.raises(RequestError):
        await engine.agenerate("Hello", ONE_ATTEMPT)
    [span] = collected.spans()
    assert attributes(span)["error.type"] == "400"


# Content


@pytest.mark.parametrize(
    ("value", "captured"),
    [
        ("span_only", True),
        ("SPAN_AND_EVENT", True),
        ("true", True),
        ("event_only", False),
        ("no_content", False),
        ("", False),
    ],
)
async def test_environment_may_ask_for_content(
    collected: Collected, monkeypatch: pytest.MonkeyPatch, value: str, captured: bool
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    engine = FakeEngine()
    engine.instrument(tracer_provider=collected.tracer_provider, meter_provider=collected.meter_provider)
    await engine.agenerate("Hello")
    [span] = collected.spans()
    assert ("gen_ai.input.messages" in attributes(span)) is captured


async def test_setting_takes_precedence_over_the_environment(
    collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
    engine = FakeEngine()
    collected.instrument(engine, capture_content=False)
    await engine.agenerate("Hello")
    [span] = collected.spans()
    assert "gen_ai.input.messages" not in attributes(span)


# What an answer reports


class Described(FakeEngine):
    """Gives two answers, described as OpenAI's API does."""

    async def _generate(self, conversation: Conversation) -> Completion:
        completion = await super()._generate(conversation)
        choices = [{"index": 0, "finish_reason": "stop"}, {"index": 1, "finish_reason": "length"}]
        described = {"response_id": "r1", "response_model": "m-2026", "service_tier": "flex", "system_fingerprint": "f"}
        completion.metadata = {**described, "choices": choices}
        completion.usage = Usage(3, 4, 7, cached_tokens=1, reasoning_tokens=2, cost=0.5)
        return completion

    @classmethod
    def get_supported_params(cls) -> set[str]:
        return {*super().get_supported_params(), "n"}


async def test_span_has_what_the_answer_reports(collected: Collected) -> None:
    engine = Described()
    collected.instrument(engine)
    await engine.agenerate("Hello", InferenceConfig(generation=GenerationParams(n=2, temperature=1.0)))
    [span] = collected.spans()
    found = attributes(span)
    assert found | {} == found | {
        "gen_ai.request.choice.count": 2,
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.response.service_tier": "flex",
        "openai.response.system_fingerprint": "f",
        "asyncinfer.cost": 0.5,
    }


async def test_failed_call_has_the_tokens_that_its_attempts_used(collected: Collected) -> None:
    def script(*_: object) -> None:
        error = rejection()
        error.usage = Usage(3, 4, 7)
        raise error

    engine = FakeEngine(script)
    collected.instrument(engine)
    with pytest.raises(RequestError):
        await engine.agenerate("Hello", ONE_ATTEMPT)
    [span] = collected.spans()
    assert attributes(span)["gen_ai.usage.output_tokens"] == 4
    assert len(collected.points("gen_ai.client.token.usage")) == 2


# Streams that are not read to their end


async def test_stream_that_is_dropped_ends_its_span(collected: Collected) -> None:
    async with FaultServer(lambda _: sse(["Par", "is"])) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        deltas = engine.astream("Hello")
        assert (await anext(deltas)).content == "Par"
        del deltas
        gc.collect()
        await server.until(lambda: bool(collected.spans()))
    [span] = collected.spans()
    assert span.status.status_code is StatusCode.UNSET


async def test_cancelled_stream_ends_its_span(collected: Collected) -> None:
    async with FaultServer(lambda _: sse(["Par"], stall)) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        with anyio.CancelScope() as scope:
            async with engine.astream("Hello") as deltas:
                async for _ in deltas:
                    scope.cancel()
    [span] = collected.spans()
    assert span.status.status_code is StatusCode.UNSET


async def test_stream_that_breaks_off_has_its_error(collected: Collected) -> None:
    async with FaultServer(lambda _: sse(["Par"], hang_up)) as server, remote_engine(server) as engine:
        collected.instrument(engine)
        with pytest.raises(RequestError):
            async with engine.astream("Hello") as deltas:
                async for _ in deltas:
                    pass
    [span] = collected.spans()
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "connection")
