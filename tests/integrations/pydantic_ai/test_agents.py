"""Agents of pydantic-ai whose model is an engine: tools, structured output, streams, and histories."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, ToolOutput, UnexpectedModelBehavior
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters

from asyncinfer import DeepSeekInferenceEngine, ModelParams, OpenAIInferenceEngine, RemoteParams
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from tests.integrations.scripted_chat import ScriptedChat, call_list, calls, text


class City(BaseModel):
    name: str
    country: str


PARIS = {"name": "Paris", "country": "France"}


def weather(city: str) -> str:
    """Report the weather.

    Args:
        city: The name of the city.
    """
    return f"It is sunny in {city}."


class TestText:
    async def test_agent_answers(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("Tokyo.")]
        result = await Agent(model, instructions="Be brief.").run("The capital of Japan?")
        assert result.output == "Tokyo."
        assert chat.bodies[0]["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "The capital of Japan?"},
        ]

    async def test_response_has_usage_and_provenance(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("Tokyo.", finish="length")]
        response = (await Agent(model).run("?")).all_messages()[-1]
        assert isinstance(response, ModelResponse)
        assert (response.usage.input_tokens, response.usage.output_tokens) == (30, 12)
        assert (response.usage.cache_read_tokens, response.usage.output_reasoning_tokens) == (10, 4)
        assert (response.provider_name, response.model_name) == ("remote", "gpt-test")
        assert (response.provider_response_id, response.finish_reason) == ("chatcmpl-1", "length")
        assert response.provider_details == {"finish_reason": "length"}

    async def test_settings_of_run_override_those_of_engine(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("Tokyo.")]
        settings: Any = {
            "max_tokens": 7,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 3,
            "stop_sequences": ["END"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "logit_bias": {"42": 5},
            "extra_body": {"user": "u"},
            "extra_headers": {"x-trace": "t"},
            "timeout": 20,
        }
        await Agent(model).run("?", model_settings=settings)
        body = chat.bodies[0]
        assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (7, 0.5, 0.9, 3)
        assert (body["stop"], body["presence_penalty"], body["frequency_penalty"]) == (["END"], 0.1, 0.2)
        assert (body["logit_bias"], body["user"]) == ({"42": 5.0}, "u")
        assert chat.sent[0].headers["x-trace"] == "t"

    async def test_agents_with_equal_settings_share_one_config(
        self, chat: ScriptedChat, model: AsyncInferModel
    ) -> None:
        settings: Any = {"max_tokens": 7}
        parameters = model.prepare_request(settings, ModelRequestParameters())[1]
        first = model._requests.new(settings, parameters, model.profile).config
        assert model._requests.new(dict(settings), parameters, model.profile).config is first  # pyright: ignore


class TestTools:
    async def test_tool_runs_and_its_result_is_sent_to_the_model(
        self, chat: ScriptedChat, model: AsyncInferModel
    ) -> None:
        chat.script += [calls(weather={"city": "Paris"}), text("It is sunny.")]
        result = await Agent(model, tools=[weather]).run("The weather in Paris?")
        assert result.output == "It is sunny."
        [first, second] = chat.bodies
        [tool] = first["tools"]
        assert tool["function"]["name"] == "weather"
        assert tool["function"]["description"] == "Report the weather."
        assert tool["function"]["parameters"]["properties"]["city"]["type"] == "string"
        assert first["tool_choice"] == "auto"
        call, answer = second["messages"][1:]
        assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
        assert answer == {
            "role": "tool",
            "tool_call_id": call["tool_calls"][0]["id"],
            "content": "It is sunny in Paris.",
        }

    async def test_parallel_tools_run_and_are_answered_in_order(
        self, chat: ScriptedChat, model: AsyncInferModel
    ) -> None:
        chat.script += [call_list(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})), text("Both sunny.")]
        await Agent(model, tools=[weather]).run("?")
        results = [message for message in chat.bodies[1]["messages"] if message["role"] == "tool"]
        assert [message["content"] for message in results] == ["It is sunny in Paris.", "It is sunny in Rome."]

    async def test_tool_that_asks_for_a_retry_is_called_again(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        def strict(city: str) -> str:
            if city != "Paris":
                raise ModelRetry("Only Paris is known.")
            return "Sunny."

        chat.script += [calls(strict={"city": "Rome"}), calls(strict={"city": "Paris"}), text("Done.")]
        result = await Agent(model, tools=[strict]).run("?")
        assert result.output == "Done."
        assert "Only Paris is known." in chat.bodies[1]["messages"][-1]["content"]

    async def test_tool_choice_of_the_settings_is_sent(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        def other(city: str) -> str:
            return city

        chat.script += [text("a"), text("b")]
        agent = Agent(model, tools=[weather, other])
        await agent.run("?", model_settings={"tool_choice": "none", "parallel_tool_calls": False})
        assert (chat.bodies[0]["tool_choice"], chat.bodies[0]["parallel_tool_calls"]) == ("none", False)


class TestStructuredOutput:
    async def test_output_tool_is_required(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [calls(final_result=PARIS)]
        result = await Agent(model, output_type=ToolOutput(City)).run("?")
        assert result.output == City(**PARIS)
        assert chat.bodies[0]["tool_choice"] == "required"

    async def test_native_output_sends_the_schema(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text(json.dumps(PARIS))]
        result = await Agent(model, output_type=NativeOutput(City)).run("?")
        assert result.output == City(**PARIS)
        form = chat.bodies[0]["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["schema"]["required"] == ["name", "country"]
        assert "tools" not in chat.bodies[0]

    async def test_prompted_output_describes_the_schema(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text(json.dumps(PARIS))]
        result = await Agent(model, output_type=PromptedOutput(City)).run("?")
        assert result.output == City(**PARIS)
        assert "response_format" not in chat.bodies[0]
        assert '"country"' in chat.bodies[0]["messages"][0]["content"]

    async def test_invalid_output_is_returned_to_the_model(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [calls(final_result={"name": "Paris"}), calls(final_result=PARIS)]
        result = await Agent(model, output_type=City).run("?")
        assert result.output == City(**PARIS)
        assert "country" in chat.bodies[1]["messages"][-1]["content"]

    async def test_output_validator_asks_for_a_retry(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        agent = Agent(model, output_type=NativeOutput(City))

        @agent.output_validator
        def only_france(city: City) -> City:
            if city.country != "France":
                raise ModelRetry("The country must be France.")
            return city

        chat.script += [text(json.dumps({**PARIS, "country": "Texas"})), text(json.dumps(PARIS))]
        assert (await agent.run("?")).output == City(**PARIS)
        assert "The country must be France." in str(chat.bodies[1]["messages"][-1])

    async def test_too_many_retries_end_the_run(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("no JSON")] * 2
        with pytest.raises(UnexpectedModelBehavior, match="retries"):
            await Agent(model, output_type=NativeOutput(City), retries=1).run("?")


class TestStreams:
    async def test_text_arrives_in_pieces(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text("It is sunny in Paris.")]
        async with Agent(model).run_stream("?") as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        assert len(pieces) > 2
        assert "".join(pieces) == "It is sunny in Paris."
        assert result.usage.input_tokens == 30
        assert result.response.finish_reason == "stop"

    async def test_structured_output_arrives_in_pieces(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [text(json.dumps(PARIS, indent=1))]
        agent = Agent(model, output_type=NativeOutput(City))
        async with agent.run_stream("?") as result:
            output = await result.get_output()
        assert output == City(**PARIS)

    async def test_tools_run_before_the_streamed_answer(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [calls(weather={"city": "Paris"}), text("It is sunny.")]
        async with Agent(model, tools=[weather]).run_stream("?") as result:
            assert await result.get_output() == "It is sunny."
        assert chat.bodies[1]["messages"][-1]["content"] == "It is sunny in Paris."

    async def test_iter_streams_the_events_of_each_request(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        given = call_list(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))
        chat.script += [given, text("Both sunny.", reasoning="Easy enough.")]
        events: list[Any] = []
        async with Agent(model, tools=[weather]).iter("?") as run:
            async for node in run:
                if Agent.is_model_request_node(node) or Agent.is_call_tools_node(node):
                    async with node.stream(run.ctx) as stream:
                        events += [event async for event in stream]
        started = [event.part for event in events if isinstance(event, PartStartEvent)]
        assert [type(part) for part in started] == [ToolCallPart, ToolCallPart, ThinkingPart, TextPart]
        assert len([event for event in events if isinstance(event, FunctionToolCallEvent)]) == 2
        deltas = {type(event.delta) for event in events if isinstance(event, PartDeltaEvent)}
        assert deltas >= {TextPartDelta, ThinkingPartDelta}
        assert run.result is not None
        assert run.result.output == "Both sunny."

    async def test_streamed_calls_have_the_arguments_that_the_model_wrote(
        self, chat: ScriptedChat, model: AsyncInferModel
    ) -> None:
        chat.script += [call_list(("weather", {"city": "Paris"}), ("weather", {"city": "Rome"}))]
        async with model.request_stream([ModelRequest.user_text_prompt("?")], None, ModelRequestParameters()) as stream:
            events = [event async for event in stream]
        arguments = [part.args_as_dict() for part in stream.get().parts if isinstance(part, ToolCallPart)]
        assert arguments == [{"city": "Paris"}, {"city": "Rome"}]
        deltas = [event.delta for event in events if isinstance(event, PartDeltaEvent)]
        assert all(isinstance(delta, ToolCallPartDelta) for delta in deltas)

    async def test_streamed_response_equals_the_whole_one(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        answer = {**calls(weather={"city": "Paris"})}
        answer["message"] = {**answer["message"], "content": "Let me see.", "reasoning_content": "Hm."}
        chat.script += [answer, answer]
        history: Any = [ModelRequest.user_text_prompt("?")]
        whole = await model.request(history, None, ModelRequestParameters())
        async with model.request_stream(history, None, ModelRequestParameters()) as stream:
            async for _ in stream:
                pass
        streamed = stream.get()
        assert streamed.parts == whole.parts
        assert streamed.usage == whole.usage
        assert (streamed.model_name, streamed.finish_reason) == (whole.model_name, whole.finish_reason)
        assert (streamed.provider_details, streamed.provider_response_id) == (
            whole.provider_details,
            whole.provider_response_id,
        )


class TestHistory:
    async def test_stored_history_can_be_continued(self, chat: ScriptedChat, model: AsyncInferModel) -> None:
        chat.script += [calls(weather={"city": "Paris"}), text("Sunny."), text("As I said.")]
        agent = Agent(model, tools=[weather], instructions="Be brief.")
        stored = ModelMessagesTypeAdapter.dump_json((await agent.run("Paris?")).all_messages())
        await agent.run("Again?", message_history=ModelMessagesTypeAdapter.validate_json(stored))
        sent = chat.bodies[2]["messages"]
        assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "assistant", "user"]
        assert sent[:-2] == chat.bodies[1]["messages"]

    async def test_reasoning_goes_back_to_the_api_that_expects_it(self, chat: ScriptedChat) -> None:
        remote = RemoteParams(chat.url, api_key="k")
        async with DeepSeekInferenceEngine(ModelParams("m"), remote_params=remote) as engine:
            agent = Agent(AsyncInferModel(engine), tools=[weather])
            answer = calls(weather={"city": "Paris"})
            answer["message"]["reasoning_content"] = "I need the weather."
            chat.script += [answer, text("Sunny.")]
            result = await agent.run("?")
        assert chat.bodies[1]["messages"][1]["reasoning_content"] == "I need the weather."
        [thinking] = [p for m in result.all_messages() for p in m.parts if isinstance(p, ThinkingPart)]
        assert (thinking.content, thinking.provider_name) == ("I need the weather.", "deepseek")

    async def test_reasoning_of_another_system_is_sent_as_text(self, chat: ScriptedChat) -> None:
        remote = RemoteParams(chat.url, api_key="k")
        async with OpenAIInferenceEngine(ModelParams("m"), remote_params=remote) as engine:
            thought = ThinkingPart("It rains.", provider_name="deepseek", signature="s")
            history = [ModelRequest.user_text_prompt("?"), ModelResponse([thought, TextPart("Take an umbrella.")])]
            chat.script += [text("Yes.")]
            await Agent(AsyncInferModel(engine)).run("Sure?", message_history=history)
        assert chat.bodies[0]["messages"][1] == {
            "role": "assistant",
            "content": "<think>\nIt rains.\n</think>\n\nTake an umbrella.",
        }
