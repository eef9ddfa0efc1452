"""AnthropicInferenceEngine with the Messages API of a real vLLM server."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    AnthropicInferenceEngine,
    Conversation,
    EngineConfigError,
    GuidedDecodingParams,
    ModelParams,
    RemoteParams,
)
from tests.asking import (
    ASKED_FOR_WEATHER,
    CAPITAL,
    CITY_TOKENS,
    FORCED,
    SEVERAL_TURNS,
    City,
    answer,
    check_64_at_once,
    config,
    failure_between_others,
    said,
    streamed,
    with_result,
)
from tests.fakes import question
from tests.vllm_server import ADAPTER, MAX_LENGTH, MODEL, VllmServer

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra heavy, see .ci/heavy"),
]


def engine_at(server: VllmServer, model: str = MODEL, **remote: Any) -> AnthropicInferenceEngine:
    reached = RemoteParams(api_url=f"{server.url}/messages", api_key="x", **remote)
    return AnthropicInferenceEngine(ModelParams(model_name=model), remote_params=reached)


@pytest.fixture
def engine(vllm_server: VllmServer) -> AnthropicInferenceEngine:
    return engine_at(vllm_server)


async def test_greedy_answer_equals_that_of_the_server(
    engine: AnthropicInferenceEngine, vllm_server: VllmServer
) -> None:
    answered, expected = await answer(engine), vllm_server.answer()
    assert (said(answered), answered.metadata["finish_reason"]) == (expected.text, expected.reason)
    assert answered.metadata["usage"] == expected.usage


async def test_answer_that_is_cut_off_has_finish_reason_length(engine: AnthropicInferenceEngine) -> None:
    metadata = (await answer(engine, max_new_tokens=4)).metadata
    assert (metadata["finish_reason"], metadata["usage"]["completion_tokens"]) == ("length", 4)


async def test_system_prompt_and_all_turns_are_sent(engine: AnthropicInferenceEngine, vllm_server: VllmServer) -> None:
    answered = await answer(engine, Conversation.from_dict({"messages": SEVERAL_TURNS}))
    assert answered.metadata["usage"]["prompt_tokens"] == len(vllm_server.tokens(SEVERAL_TURNS))


async def test_deltas_of_a_stream_add_up_to_the_answer(
    engine: AnthropicInferenceEngine, vllm_server: VllmServer
) -> None:
    deltas, expected = await streamed(engine), vllm_server.answer()
    assert "".join(delta.content for delta in deltas) == expected.text
    assert len(deltas) > 3
    assert deltas[-1].finish_reason == expected.reason
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.to_dict() == expected.usage


async def test_closed_stream_ends_at_the_server(engine: AnthropicInferenceEngine, vllm_server: VllmServer) -> None:
    story = question("Tell me a very long story about a fox.")
    async with engine:
        async with engine.astream(story, config(max_new_tokens=900)) as stream:
            async for _ in stream:
                break
        with anyio.fail_after(15):
            while await anyio.to_thread.run_sync(vllm_server.running):
                await anyio.lowlevel.checkpoint()


async def test_stop_strings_end_the_answer_before_them(
    engine: AnthropicInferenceEngine, vllm_server: VllmServer
) -> None:
    text = vllm_server.answer().text
    stopped = await answer(engine, stop_strings=["no such text", text[6:9]])
    assert (said(stopped), stopped.metadata["finish_reason"]) == (text.partition(text[6:9])[0], "stop")


async def test_sampling_can_be_restricted_to_the_likeliest_token(
    engine: AnthropicInferenceEngine, vllm_server: VllmServer
) -> None:
    assert said(await answer(engine, temperature=1.0, top_p=1e-6)) == vllm_server.answer().text


@pytest.mark.parametrize("schema", [City, City.model_json_schema()], ids=["class", "dict"])
async def test_answer_is_valid_for_the_json_schema(schema: object, engine: AnthropicInferenceEngine) -> None:
    conversation, guided = question("Describe Paris as JSON."), GuidedDecodingParams(json=schema)
    City.model_validate_json(
        said(await answer(engine, conversation, guided_decoding=guided, max_new_tokens=CITY_TOKENS))
    )


@pytest.mark.parametrize("tool_choice", [FORCED, "required"], ids=str)
async def test_required_tool_call_is_made(tool_choice: Any, engine: AnthropicInferenceEngine) -> None:
    answered = await answer(engine, ASKED_FOR_WEATHER, tool_choice=tool_choice, max_new_tokens=CITY_TOKENS)
    [call] = answered.messages[-1].tool_calls or []
    assert call.function.name == "weather"
    assert call.function.get_arguments_dict()["city"] in ("Paris", "Rome")
    assert answered.metadata["finish_reason"] == "tool_calls"


async def test_required_tool_call_is_made_in_a_stream(engine: AnthropicInferenceEngine) -> None:
    deltas = await streamed(engine, ASKED_FOR_WEATHER, tool_choice=FORCED, max_new_tokens=CITY_TOKENS)
    [call] = deltas[-1].tool_calls
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Paris", "Rome")
    assert deltas[-1].finish_reason == "tool_calls"


async def test_result_of_a_tool_is_used(engine: AnthropicInferenceEngine) -> None:
    called = await answer(engine, ASKED_FOR_WEATHER, tool_choice=FORCED, max_new_tokens=CITY_TOKENS)
    conversation = with_result(called, "It is snowing heavily.")
    answered = await answer(engine, conversation, max_new_tokens=2)
    assert answered.metadata["usage"]["prompt_tokens"] > called.metadata["usage"]["prompt_tokens"]


async def test_models_are_listed(engine: AnthropicInferenceEngine) -> None:
    async with engine:
        assert await engine.alist_models() == [MODEL, ADAPTER]


async def test_adapter_is_a_model(vllm_server: VllmServer) -> None:
    assert said(await answer(engine_at(vllm_server, ADAPTER))) == vllm_server.answer(ADAPTER).text


async def test_unknown_model_is_named_and_not_retried(vllm_server: VllmServer) -> None:
    async with engine_at(vllm_server, "no-such") as engine:
        result = await engine.ainfer_partial([CAPITAL], config())
        with pytest.raises(EngineConfigError, match="no-such"):
            await anext(aiter(engine.astream(CAPITAL, config())))
    failed = result.failures[0]
    assert failed.status_code == 404
    assert "The model `no-such` does not exist" in failed.error_message


async def test_row_that_is_too_long_fails_alone_and_is_not_retried(
    engine: AnthropicInferenceEngine, tmp_path: Path
) -> None:
    too_long = question("word " * (MAX_LENGTH + 1))
    failed = await failure_between_others(engine, too_long, tmp_path)
    assert failed.status_code == 400
    assert f"maximum context length is {MAX_LENGTH}" in failed.error_message


async def test_64_rows_are_answered_at_once(vllm_server: VllmServer, tmp_path: Path) -> None:
    engine = engine_at(vllm_server, num_workers=64, use_adaptive_concurrency=False)
    await check_64_at_once(engine, tmp_path)
