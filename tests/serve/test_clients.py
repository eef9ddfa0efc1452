"""Other clients judge the server: the blocking openai SDK, LiteLLM, and our own engine. A real model answers some."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import openai
import pytest
from pydantic import BaseModel, Field

from asyncinfer import (
    Conversation,
    FinishReason,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    LlamaCppInferenceEngine,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RequestError,
    Role,
)
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.tools import FunctionCall, ToolCall
from tests.fakes import question, questions
from tests.serve.serving import ASK, HELLO, QUESTION, RunningServer, ScriptedEngine, remote_engine, serving
from tests.smollm2 import ONE_THREAD, PACKAGED

CALL = ToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments='{"city": "Paris"}'))
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


class City(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    big: bool


async def answer_or_call(conversation: Conversation, _: CallSettings) -> Completion:
    """A tool call if there are tools; otherwise a text."""
    if not conversation.tools:
        return HELLO
    message = Message(role=Role.ASSISTANT, content=None, tool_calls=[CALL])
    return Completion(message, FinishReason.TOOL_CALLS, HELLO.usage)


def remote(server: RunningServer, **settings: Any) -> RemoteInferenceEngine:
    return remote_engine(server.api, **{"max_retries": 0, **settings})


def smollm2() -> LlamaCppInferenceEngine:
    kwargs = {"n_parallel": 4, **ONE_THREAD}
    return LlamaCppInferenceEngine(ModelParams(model_name=PACKAGED, model_max_length=1024, model_kwargs=kwargs))


async def test_blocking_openai_sdk_gets_whole_and_streamed_answers() -> None:
    async with serving(ScriptedEngine()) as server:

        def ask() -> tuple[str | None, str]:
            with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
                whole = client.chat.completions.create(**ASK).choices[0].message.content
                chunks = list(client.chat.completions.create(**ASK, stream=True))
                return whole, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        assert await anyio.to_thread.run_sync(ask) == ("Hello.", "Hello.")


@pytest.mark.slow
async def test_litellm_gets_answers_streams_calls_and_errors() -> None:
    async with serving(ScriptedEngine(answer_or_call)) as server:
        program = Path(__file__).with_name("litellm_client.py")
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        done = await anyio.run_process(
            [sys.executable, "-W", "ignore", str(program), server.api], env=environment, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "whole": "Hello.",
        "usage": 7,
        "streamed": "Hello.",
        "streamed_usage": 7,
        "arguments": '{"city": "Paris"}',
        "responses": "Hello.",
        "unknown": "not found",
    }


class TestOwnEngine:
    async def test_whole_answers_streams_and_models(self) -> None:
        async with serving(ScriptedEngine()) as server, remote(server) as engine:
            answered = await engine.agenerate(question("Hi"))
            assert (answered.text, answered.metadata["usage"]["total_tokens"]) == ("Hello.", 7)
            deltas = [delta async for delta in engine.astream(question("Hi"))]
            assert Completion.from_deltas(deltas).message == HELLO.message
            assert (deltas[-1].finish_reason, deltas[-1].usage) == (FinishReason.STOP, HELLO.usage)
            assert await engine.alist_models() == ["my-model"]

    async def test_tool_calls(self) -> None:
        async with serving(ScriptedEngine(answer_or_call)) as server, remote(server) as engine:
            asked = question("Hi", tools=[WEATHER])
            answered = await engine.agenerate(asked)
            streamed = Completion.from_deltas([delta async for delta in engine.astream(asked)])
        assert answered.messages[-1].tool_calls == streamed.message.tool_calls == [CALL]

    async def test_many_conversations_with_a_small_queue_are_all_answered(self) -> None:
        async with (
            serving(ScriptedEngine(), max_concurrency=4, max_queue=8) as server,
            remote_engine(server.api, num_workers=30) as engine,
        ):
            answers = await engine.ainfer(questions(200))
        assert [answer.text for answer in answers] == ["Hello."] * 200

    async def test_unknown_model_is_an_error_of_the_account(self) -> None:
        async with serving(ScriptedEngine()) as server, remote(server, model="other") as engine:
            with pytest.raises(Exception, match="The model 'other' does not exist"):
                await engine.agenerate(question("Hi"))

    async def test_error_within_a_stream_is_raised(self) -> None:
        async def fail(_: Conversation, __: CallSettings) -> Completion:
            raise ValueError("broken")

        async with serving(ScriptedEngine(fail)) as server, remote(server) as engine:
            with pytest.raises(RequestError, match="The server failed to answer"):
                [delta async for delta in engine.astream(question("Hi"))]


@pytest.mark.model
class TestRealModel:
    async def test_answers_are_those_of_the_engine(self) -> None:
        greedy = GenerationParams(max_new_tokens=12, temperature=0.0)
        async with smollm2() as engine:
            [own] = await engine.ainfer(
                [question("What is the capital of France?")], InferenceConfig(generation=greedy)
            )
            async with serving(engine, any_model=True) as server:
                fields: Any = {"model": "any", "max_tokens": 12, "temperature": 0}
                messages: Any = [{"role": "user", "content": "What is the capital of France?"}]
                client = server.openai()
                whole = await client.chat.completions.create(**fields, messages=messages)
                stream = await client.chat.completions.create(**fields, messages=messages, stream=True)
                streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert whole.choices[0].message.content == streamed == own.text
        assert whole.usage is not None
        assert whole.usage.completion_tokens == own.metadata["usage"]["completion_tokens"]

    async def test_parse_gives_an_object_of_the_schema(self) -> None:
        async with serving(smollm2(), any_model=True) as server:
            answer = await server.openai().chat.completions.parse(
                model="any", messages=QUESTION, response_format=City, max_tokens=200
            )
            parsed = await server.openai().responses.parse(
                model="any", input="Name a city.", text_format=City, max_output_tokens=200
            )
        assert isinstance(answer.choices[0].message.parsed, City)
        assert isinstance(parsed.output_parsed, City)

    async def test_schema_through_our_own_engine(self) -> None:
        guided = GenerationParams(max_new_tokens=200, guided_decoding=GuidedDecodingParams(json=City))
        async with serving(smollm2(), any_model=True) as server, remote(server) as engine:
            answered = await engine.agenerate(question("Name a city."), InferenceConfig(generation=guided))
        City.model_validate_json(answered.text)

    async def test_more_clients_than_the_engine_has_slots_are_all_answered(self) -> None:
        answers: list[int] = []
        async with serving(smollm2(), any_model=True) as server, anyio.create_task_group() as tasks:

            async def ask(number: int) -> None:
                message = {"role": "user", "content": f"Count to {number}."}
                status, answer = await server.chat(messages=[message], max_tokens=4)
                assert status == 200
                answers.append(answer["usage"]["completion_tokens"])

            for number in range(12):
                tasks.start_soon(ask, number)
        assert len(answers) == 12
