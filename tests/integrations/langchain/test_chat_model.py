"""The chat model: the settings of a call, tools, callbacks, sharing and cancellation."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.tools import tool
from pydantic import SecretStr, ValidationError

from asyncinfer import (
    ConfigError,
    GenerationParams,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.fakes import FakeEngine
from tests.faults import FaultServer, sse, stall
from tests.integrations.obedient_chat import ObedientChat


@tool
def get_weather(city: str) -> str:
    """Report the weather."""
    return f"It is sunny in {city}."


@pytest.fixture
def model(engine: RemoteInferenceEngine) -> AsyncInferChatModel:
    return AsyncInferChatModel(engine=engine)


def body(chat: ObedientChat) -> dict[str, Any]:
    return chat.sent[-1].body


# Settings


async def test_fields_of_the_model_are_settings_of_each_call(chat: ObedientChat, engine: RemoteInferenceEngine) -> None:
    fields = {"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "seed": 3, "stop": ["x"], "model": "other"}
    await AsyncInferChatModel(engine=engine, **fields, model_kwargs={"presence_penalty": 1.0}).ainvoke("Hi")
    expected = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["x"], "model": "other", "presence_penalty": 1.0}
    assert body(chat).items() >= expected.items()
    assert 7 in (body(chat).get("max_tokens"), body(chat).get("max_completion_tokens"))


async def test_settings_of_a_call_replace_those_of_the_model(chat: ObedientChat, engine: RemoteInferenceEngine) -> None:
    model = AsyncInferChatModel(engine=engine, temperature=0.5, stop=["x"])
    await model.ainvoke("Hi", temperature=1, stop=["y"])
    assert (body(chat)["temperature"], body(chat)["stop"]) == (1, ["y"])
    await model.bind(temperature=0.7).ainvoke("Hi")
    assert (body(chat)["temperature"], body(chat)["stop"]) == (0.7, ["x"])


async def test_settings_that_are_not_set_are_those_of_the_engine(chat: ObedientChat) -> None:
    engine = RemoteInferenceEngine(
        ModelParams(model_name="m"),
        generation_params=GenerationParams(temperature=0.3, extra_body={"top_k": 5, "mirostat": 1}),
        remote_params=RemoteParams(api_url=chat.url),
    )
    await AsyncInferChatModel(engine=engine).ainvoke("Hi", extra_body={"top_k": 6})
    assert body(chat).items() >= {"temperature": 0.3, "top_k": 6, "mirostat": 1}.items()
    await engine.aclose()


async def test_names_of_generation_params_are_settings_too(chat: ObedientChat, model: AsyncInferChatModel) -> None:
    await model.ainvoke("Hi", max_new_tokens=9, stop_strings=["z"])
    assert body(chat)["stop"] == ["z"]


@pytest.mark.parametrize("wrong", [{"temprature": 1}, {"temperature": "hot"}])
async def test_wrong_setting_of_a_call_is_an_error_that_names_it(
    model: AsyncInferChatModel, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        await model.ainvoke("Hi", **wrong)


def test_unknown_field_is_an_error(engine: RemoteInferenceEngine) -> None:
    with pytest.raises(ValidationError, match="temprature"):
        AsyncInferChatModel.model_validate({"engine": engine, "temprature": 1})


@pytest.mark.parametrize("name", ["api_key", "temperature"])
def test_field_within_model_kwargs_is_an_error(engine: RemoteInferenceEngine, name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}: pass it to the constructor itself"):
        AsyncInferChatModel(engine=engine, model_kwargs={name: 1})


async def test_key_of_the_model_is_sent_in_place_of_the_engines(chat: ObedientChat) -> None:
    params = RemoteParams(api_url=chat.url, api_key="sk-engine")
    engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params)
    for key in ("sk-1", "sk-2"):
        await AsyncInferChatModel(engine=engine, api_key=SecretStr(key)).ainvoke("Hi")
        assert chat.sent[-1].headers["Authorization"] == f"Bearer {key}"
    await engine.aclose()


async def test_calls_with_equal_settings_are_prepared_once(model: AsyncInferChatModel) -> None:
    prepared = model._configs
    first = prepared.find({"temperature": 1, "max_tokens": 5})
    assert prepared.find({"max_tokens": 5, "temperature": 1}) is first
    assert prepared.find({"temperature": None}) is None


# Tools


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        (True, "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
        ({"type": "tool", "name": "get_weather"}, {"type": "function", "function": {"name": "get_weather"}}),
        (None, None),
    ],
)
async def test_tool_choice_is_sent(chat: ObedientChat, model: AsyncInferChatModel, choice: Any, sent: Any) -> None:
    await model.bind_tools([get_weather], tool_choice=choice).ainvoke("Hi")
    assert body(chat).get("tool_choice") == sent
    [definition] = body(chat)["tools"]
    assert definition["function"]["name"] == "get_weather"


async def test_strict_tools_and_their_cache_settings_are_sent(chat: ObedientChat, model: AsyncInferChatModel) -> None:
    claude = {"name": "search", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
    await model.bind_tools([get_weather], strict=True, parallel_tool_calls=False).ainvoke("Hi")
    assert body(chat)["tools"][0]["function"]["strict"] is True
    assert body(chat)["parallel_tool_calls"] is False
    await model.bind_tools([claude]).ainvoke("Hi")
    assert body(chat)["tools"][0]["cache_control"] == {"type": "ephemeral"}


def test_unknown_tool_choice_is_an_error(model: AsyncInferChatModel) -> None:
    with pytest.raises(ConfigError, match="there is no tool 'get_time'; the tools are get_weather"):
        model.bind_tools([get_weather], tool_choice="get_time")


def test_tool_that_a_provider_runs_is_refused(model: AsyncInferChatModel) -> None:
    with pytest.raises(ConfigError, match=r"type 'web_search' is not a function\. Put .* extra_body"):
        model.bind_tools([{"type": "web_search"}])


async def test_failed_tool_is_marked_only_for_apis_that_know_it(chat: ObedientChat, model: AsyncInferChatModel) -> None:
    bound = model.bind_tools([get_weather])
    question = HumanMessage("Weather in 'Rome'?")
    call = await bound.ainvoke([question])
    result = await get_weather.ainvoke(call.tool_calls[0])
    await bound.ainvoke([question, call, result.model_copy(update={"status": "error"})])
    assert body(chat)["messages"][-1] == {
        "role": "tool",
        "tool_call_id": call.tool_calls[0]["id"],
        "content": "It is sunny in Rome.",
    }


# Callbacks


class Tokens(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.answers: list[str] = []

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)

    async def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        self.answers.append(response.generations[0][0].text)


@pytest.mark.parametrize("streaming", [True, False])
async def test_callbacks_get_each_token_once(engine: RemoteInferenceEngine, streaming: bool) -> None:
    seen = Tokens()
    model = AsyncInferChatModel(engine=engine, streaming=True)
    if streaming:
        async for _ in model.astream("Hello there", config={"callbacks": [seen]}):
            pass
    else:
        await model.ainvoke("Hello there", config={"callbacks": [seen]})
    assert [token for token in seen.tokens if token] == ["You ", "said: ", "Hello ", "there"]
    assert seen.answers == ["You said: Hello there"]


async def test_usage_callback_adds_up_the_tokens_by_model(model: AsyncInferChatModel) -> None:
    usage = UsageMetadataCallbackHandler()
    answers = await model.abatch(["a", "b"], config={"callbacks": [usage]})
    total = sum(answer.usage_metadata["total_tokens"] for answer in answers if answer.usage_metadata)
    assert usage.usage_metadata["gpt-test"]["total_tokens"] == total


class Started(BaseCallbackHandler):
    def __init__(self) -> None:
        self.shown: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.shown.append((serialized, kwargs))


async def test_tracing_shows_no_key(chat: ObedientChat) -> None:
    params = RemoteParams(api_url=chat.url, api_key="sk-engine")
    engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params)
    model = AsyncInferChatModel(engine=engine, api_key=SecretStr("sk-model"), temperature=0.5)
    started = Started()
    await model.ainvoke("Hi", config={"callbacks": [started]})
    assert "sk-" not in repr(started.shown)
    assert "sk-" not in repr(model)
    [(_, shown)] = started.shown
    assert shown["invocation_params"].items() >= {"engine": "REMOTE", "model_name": "m", "temperature": 0.5}.items()
    await engine.aclose()


def test_langsmith_gets_the_settings_in_effect(engine: RemoteInferenceEngine) -> None:
    shown = AsyncInferChatModel(engine=engine, max_tokens=5)._get_ls_params(stop=["x"], temperature=0.5, model="other")
    assert shown == {
        "ls_provider": "remote",
        "ls_model_type": "chat",
        "ls_model_name": "other",
        "ls_temperature": 0.5,
        "ls_max_tokens": 5,
        "ls_stop": ["x"],
    }


# What the model supports


def test_profile_says_what_the_engine_supports() -> None:
    openai = AsyncInferChatModel(engine=OpenAIInferenceEngine(ModelParams(model_name="m", model_max_length=9000)))
    assert openai.profile == {
        "tool_calling": True,
        "tool_choice": True,
        "structured_output": True,
        "audio_inputs": False,
        "video_inputs": False,
        "max_input_tokens": 9000,
    }
    fake = AsyncInferChatModel(engine=FakeEngine())
    assert fake.profile is not None
    assert (fake.profile.get("tool_calling"), fake.profile.get("image_inputs")) == (False, False)


def test_profile_of_the_caller_is_kept(engine: RemoteInferenceEngine) -> None:
    assert AsyncInferChatModel(engine=engine, profile={"tool_calling": False}).profile == {"tool_calling": False}


# Sharing and cancellation


async def test_hundreds_of_calls_share_the_permits_of_one_engine() -> None:
    engine = FakeEngine(lambda *_: anyio.lowlevel.checkpoint(), workers=10)
    models = [AsyncInferChatModel(engine=engine, temperature=number) for number in range(3)]
    answers: list[str] = []

    async def ask(number: int) -> None:
        answers.append((await models[number % 3].ainvoke(f"question {number}")).text)

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(ask, number)
    assert len(set(answers)) == 300
    assert 1 < engine.peak <= 10


async def test_leaving_a_stream_ends_the_request() -> None:
    async with FaultServer(lambda _: sse(["Hi "] * 3, then=stall)) as server:
        engine = remote(server)
        stream = AsyncInferChatModel(engine=engine).astream("Hi")
        assert (await anext(aiter(stream))).text == "Hi "
        await stream.aclose()  # pyright: ignore
        await server.until(lambda: server.abandoned == 1)
        await engine.aclose()


async def test_breaking_out_of_a_stream_ends_the_request() -> None:
    async with FaultServer(lambda _: sse(["Hi "] * 3, then=stall)) as server:
        engine = remote(server)
        async for _ in AsyncInferChatModel(engine=engine).astream("Hi"):
            break
        await server.until(lambda: server.abandoned == 1)
        await engine.aclose()


@pytest.mark.parametrize("method", ["ainvoke", "astream"])
async def test_cancelling_a_call_ends_the_request(method: str) -> None:
    async with FaultServer(lambda _: stall if method == "ainvoke" else sse(["Hi "], then=stall)) as server:
        engine = remote(server)
        async with anyio.create_task_group() as group:
            group.start_soon(ask, AsyncInferChatModel(engine=engine), method)
            await server.until(lambda: len(server.asks) == 1)
            group.cancel_scope.cancel()
        await server.until(lambda: server.abandoned == 1)
        assert server.in_flight == 0
        await engine.aclose()


async def ask(model: AsyncInferChatModel, method: str) -> None:
    if method == "ainvoke":
        await model.ainvoke("Hi")
    async for _ in model.astream("Hi"):
        pass


def remote(server: FaultServer) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=server.url))


async def test_blocking_methods_work_while_a_loop_runs(model: AsyncInferChatModel) -> None:
    assert model.invoke("Hi").text == "You said: Hi"
    assert "".join(chunk.text for chunk in model.stream("Hi")) == "You said: Hi"
