"""The runner of the OpenAI Agents SDK, with an engine as the model of its agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.from_thread
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    ModelSettings,
    RunConfig,
    Runner,
    Span,
    Trace,
    TracingProcessor,
    WebSearchTool,
    function_tool,
    set_trace_processors,
)
from agents.exceptions import ModelBehaviorError, ModelRefusalError, UserError
from agents.tracing import GenerationSpanData, get_trace_provider
from openai.types.shared import Reasoning
from pydantic import BaseModel

from asyncinfer import (
    AnthropicInferenceEngine,
    DeepSeekInferenceEngine,
    FinishReason,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
    ToolCallDelta,
)
from asyncinfer.integrations.openai_agents import AsyncInferModel, AsyncInferProvider
from tests.engines.test_remote import engine_at
from tests.faults import FaultServer, sse, stall
from tests.integrations.delta_engine import DeltaEngine
from tests.integrations.scripted_chat import ScriptedChat, call_list, calls, failure, text
from tests.recorder import MESSAGE, Recorder


class Recording(TracingProcessor):
    """Keeps the spans of requests."""

    def __init__(self) -> None:
        self.spans: list[Span[Any]] = []

    def on_trace_start(self, trace: Trace) -> None: ...

    def on_trace_end(self, trace: Trace) -> None: ...

    def on_span_start(self, span: Span[Any]) -> None: ...

    def on_span_end(self, span: Span[Any]) -> None:
        if isinstance(span.span_data, GenerationSpanData):
            self.spans.append(span)

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


@pytest.fixture(autouse=True)
def recording() -> Iterator[Recording]:
    """Spans are kept here, and sent nowhere."""
    recording = Recording()
    set_trace_processors([recording])
    yield recording
    set_trace_processors([])
    get_trace_provider().shutdown()


@pytest.fixture
async def chat() -> AsyncIterator[ScriptedChat]:
    async with ScriptedChat() as chat:
        yield chat


@pytest.fixture
async def model(chat: ScriptedChat) -> AsyncIterator[AsyncInferModel]:
    async with RemoteInferenceEngine(ModelParams("m"), remote_params=RemoteParams(chat.url, max_retries=0)) as engine:
        yield AsyncInferModel(engine)


@function_tool
def weather(city: str) -> str:
    """Report the weather."""
    return f"It is sunny in {city}."


class City(BaseModel):
    name: str
    country: str


PARIS = {"name": "Paris", "country": "France"}


async def test_agent_answers(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [text("Tokyo.")]
    result = await Runner.run(Agent("a", instructions="Be brief.", model=model), "The capital of Japan?")
    assert result.final_output == "Tokyo."
    assert chat.bodies[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The capital of Japan?"},
    ]
    usage = result.context_wrapper.usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (1, 30, 12)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (10, 4)


async def test_tools_run_and_their_results_are_sent(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [call_list(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})), text("Both sunny.")]
    result = await Runner.run(Agent("a", tools=[weather], model=model), "?")
    assert result.final_output == "Both sunny."
    assert chat.bodies[0]["tools"][0]["function"]["name"] == "weather"
    results = [message["content"] for message in chat.bodies[1]["messages"] if message["role"] == "tool"]
    assert results == ["It is sunny in Paris.", "It is sunny in Rome."]


async def test_handoff_lets_another_agent_answer(chat: ScriptedChat, model: AsyncInferModel) -> None:
    french = Agent("French", instructions="Answer in French.", model=model)
    chat.script += [calls(transfer_to_french={}), text("Oui.")]
    result = await Runner.run(Agent("Triage", handoffs=[french], model=model), "Parlez-vous?")
    assert (result.final_output, result.last_agent.name) == ("Oui.", "French")
    assert chat.bodies[1]["messages"][0] == {"role": "system", "content": "Answer in French."}


async def test_output_type_is_a_schema(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [text(json.dumps(PARIS))]
    result = await Runner.run(Agent("a", output_type=City, model=model), "?")
    assert result.final_output == City(**PARIS)
    schema = chat.bodies[0]["response_format"]["json_schema"]
    assert schema["strict"]
    assert set(schema["schema"]["required"]) == {"name", "country"}


async def test_settings_of_an_agent_are_sent(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [text("Yes.")]
    settings = ModelSettings(
        temperature=0.5,
        max_tokens=7,
        tool_choice="weather",
        parallel_tool_calls=False,
        reasoning=Reasoning(effort="low"),
        extra_args={"seed": 3, "user": "u"},
        extra_headers={"x-trace": "t"},
    )
    await Runner.run(Agent("a", tools=[weather], model=model, model_settings=settings), "?")
    body = chat.bodies[0]
    assert (body["temperature"], body["max_tokens"], body["seed"], body["user"]) == (0.5, 7, 3, "u")
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert (body["parallel_tool_calls"], body["reasoning_effort"]) == (False, "low")
    assert chat.sent[0].headers["x-trace"] == "t"


async def test_second_run_continues_the_history_of_the_first(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [calls(weather={"city": "Paris"}), text("Sunny."), text("As I said.")]
    agent = Agent("a", tools=[weather], model=model)
    first = await Runner.run(agent, "Paris?")
    again: Any = {"role": "user", "content": "Again?"}
    await Runner.run(agent, [*first.to_input_list(), again])
    roles = [message["role"] for message in chat.bodies[2]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_reasoning_goes_back_to_its_model(chat: ScriptedChat) -> None:
    answer = calls(weather={"city": "Paris"})
    answer["message"]["reasoning_content"] = "I need the weather."
    chat.script += [answer, text("Sunny.")]
    async with DeepSeekInferenceEngine(ModelParams("m"), remote_params=RemoteParams(chat.url, api_key="k")) as engine:
        await Runner.run(Agent("a", tools=[weather], model=AsyncInferModel(engine)), "?")
    assert chat.bodies[1]["messages"][1]["reasoning_content"] == "I need the weather."


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_signed_thinking_is_sent_back(is_streamed: bool) -> None:
    thought = {"type": "thinking", "thinking": "They want the weather.", "signature": "sig-1"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    async with (
        Recorder() as api,
        AnthropicInferenceEngine(
            ModelParams("claude-sonnet-4-6"), remote_params=RemoteParams(f"{api.url}/messages", api_key="k")
        ) as engine,
    ):
        api.answers_in_turn({**MESSAGE, "content": [thought, use], "stop_reason": "tool_use"}, MESSAGE)
        agent = Agent("a", tools=[weather], model=AsyncInferModel(engine))
        await history_after(agent, "?", is_streamed)
    assert api.sent[1].body["messages"][1]["content"][:2] == [thought, use]


SIGNED_CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
    "extra_content": {"google": {"thought_signature": "sig-1"}},
}

REFUSAL = (
    StreamDelta("I cannot ", is_refusal=True),
    StreamDelta("help.", is_refusal=True),
    StreamDelta(finish_reason=FinishReason.STOP, extra={"refusal": "I cannot help."}),
)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_signature_of_a_call_is_sent_back(is_streamed: bool) -> None:
    engine = DeltaEngine(
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, "1", "weather", '{"city": "Paris"}'),)),
        StreamDelta(tool_calls=(SIGNED_CALL,), finish_reason=FinishReason.TOOL_CALLS),
        model="gemini-3-pro",
    )
    model = AsyncInferModel(engine)
    agent = Agent("a", tools=[weather], model=model, tool_use_behavior="stop_on_first_tool")
    history = await history_after(agent, "?", is_streamed)
    await history_after(agent, history, is_streamed)
    [call] = [*(engine.asked[1].messages[1].tool_calls or ())]
    assert call.model_extra == {"extra_content": SIGNED_CALL["extra_content"]}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_refusal_of_the_model_is_an_error(is_streamed: bool) -> None:
    agent = Agent("a", model=AsyncInferModel(DeltaEngine(*REFUSAL)))
    with pytest.raises(ModelRefusalError) as raised:
        await history_after(agent, "?", is_streamed)
    assert raised.value.refusal == "I cannot help."


async def history_after(agent: Agent[Any], input: Any, is_streamed: bool) -> list[Any]:
    """Run the agent, and return the history of the run."""
    if not is_streamed:
        return (await Runner.run(agent, input)).to_input_list()
    result = Runner.run_streamed(agent, input)
    async for _ in result.stream_events():
        pass
    return result.to_input_list()


async def test_provider_answers_for_all_agents(chat: ScriptedChat, model: AsyncInferModel) -> None:
    chat.script += [text("a"), text("b")]
    config = RunConfig(model_provider=AsyncInferProvider(model.engine))
    await Runner.run(Agent("own"), "?", run_config=config)
    await Runner.run(Agent("named", model="other-model"), "?", run_config=config)
    assert [body["model"] for body in chat.bodies] == ["m", "other-model"]


async def test_guardrail_stops_a_run(chat: ScriptedChat, model: AsyncInferModel) -> None:
    def refuse(context: Any, agent: Any, input: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    chat.script += [text("Never seen.")]
    agent = Agent("a", model=model, input_guardrails=[InputGuardrail(refuse, run_in_parallel=False)])
    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(agent, "?")
    assert not chat.sent


class TestStreams:
    async def test_text_arrives_in_pieces(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("It is sunny in Paris.")]
        result = Runner.run_streamed(Agent("a", model=model), "?")
        pieces = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        assert len(pieces) > 2
        assert "".join(pieces) == result.final_output == "It is sunny in Paris."
        assert result.context_wrapper.usage.input_tokens == 30

    async def test_streamed_parallel_tools_run(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [call_list(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})), text("Both sunny.")]
        result = Runner.run_streamed(Agent("a", tools=[weather], model=model), "?")
        names = [event.name async for event in result.stream_events() if event.type == "run_item_stream_event"]
        assert names.count("tool_called") == names.count("tool_output") == 2
        assert result.final_output == "Both sunny."

    async def test_refusal_arrives_as_a_refusal_only(self) -> None:
        result = Runner.run_streamed(Agent("a", model=AsyncInferModel(DeltaEngine(*REFUSAL))), "?")
        pieces: list[tuple[str, str]] = []
        with pytest.raises(ModelRefusalError):
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type.endswith("delta"):
                    pieces.append((event.data.type, event.data.delta))  # pyright: ignore
        assert pieces == [("response.refusal.delta", "I cannot "), ("response.refusal.delta", "help.")]

    async def test_cancelled_stream_ends_the_request(self) -> None:
        async with FaultServer(lambda _: sse(["It ", "is "], stall)) as server, engine_at(server.url) as engine:
            result = Runner.run_streamed(Agent("a", model=AsyncInferModel(engine)), "?")
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    result.cancel()
            await server.until(lambda: server.in_flight == 0)
        assert server.abandoned == 1


class TestTracing:
    async def test_span_has_request_answer_and_usage(
        self, chat: ScriptedChat, model: AsyncInferModel, recording: Recording
    ) -> None:
        chat.script += [text("Tokyo."), text("Tokyo.")]
        agent = Agent("a", model=model)
        await Runner.run(agent, "?")
        async for _ in Runner.run_streamed(agent, "?").stream_events():
            pass
        whole, streamed = recording.spans
        for span in (whole, streamed):
            assert span.span_data.model == "m"
            assert span.span_data.input == [{"role": "user", "content": "?"}]
            assert "Tokyo." in str(span.span_data.output)
            assert span.span_data.usage["input_tokens"] == 30

    async def test_span_has_no_data_if_that_is_switched_off(
        self, chat: ScriptedChat, model: AsyncInferModel, recording: Recording
    ) -> None:
        chat.script += [text("Tokyo.")]
        config = RunConfig(trace_include_sensitive_data=False)
        await Runner.run(Agent("a", model=model), "?", run_config=config)
        [span] = recording.spans
        assert (span.span_data.input, span.span_data.output) == (None, None)

    async def test_span_has_the_error(self, chat: ScriptedChat, model: AsyncInferModel, recording: Recording) -> None:
        chat.script += [failure(400, "no such field")]
        with pytest.raises(RequestError, match="no such field"):
            await Runner.run(Agent("a", model=model), "?")
        [span] = recording.spans
        assert span.error is not None
        assert "no such field" in str(span.error)


class TestErrors:
    async def test_hosted_tool_is_refused(self, model: AsyncInferModel) -> None:
        with pytest.raises(UserError, match="[Hh]osted tools"):
            await Runner.run(Agent("a", tools=[WebSearchTool()], model=model), "?")

    async def test_arguments_that_need_state_at_the_api_are_refused(self, model: AsyncInferModel) -> None:
        with pytest.raises(UserError, match="previous_response_id"):
            await Runner.run(Agent("a", model=model), "?", previous_response_id="resp_1")

    async def test_answer_without_a_visible_token_is_an_error(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("", reasoning="Hm.", finish="length")]
        with pytest.raises(ModelBehaviorError, match="limit of tokens"):
            await Runner.run(Agent("a", model=model), "?")


@pytest.fixture
def loop_of_thread() -> Iterator[None]:
    """The loop that `run_sync` uses, and leaves open for the next call."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def test_runner_answers_without_async(loop_of_thread: None) -> None:
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(ScriptedChat()) as chat,
    ):
        chat.script += [text("Tokyo.")]
        engine = RemoteInferenceEngine(ModelParams("m"), remote_params=RemoteParams(chat.url))
        assert Runner.run_sync(Agent("a", model=AsyncInferModel(engine)), "?").final_output == "Tokyo."
        engine.close()
