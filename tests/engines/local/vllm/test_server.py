"""RemoteVLLMInferenceEngine with a real vLLM server, which serves SmolLM2 and a LoRA adapter."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    Conversation,
    EngineConfigError,
    GuidedDecodingParams,
    InferenceConfig,
    ModelParams,
    OpenAIInferenceEngine,
    Progress,
    RemoteInferenceEngine,
    RemoteParams,
    RemoteVLLMInferenceEngine,
)
from asyncinfer.types.answer import Completion
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
    failure,
    failure_between_others,
    said,
    streamed,
    with_result,
)
from tests.conftest import BlockWatch
from tests.fakes import question, questions, read_jsonl, write_jsonl
from tests.vllm_server import ADAPTER, MAX_LENGTH, MODEL, VllmServer

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the extra heavy, see .ci/heavy"),
]

ENDLESS = {"ignore_eos": True}


@pytest.fixture
def engine(vllm_server: VllmServer) -> RemoteVLLMInferenceEngine:
    return RemoteVLLMInferenceEngine(ModelParams(model_name=MODEL), remote_params=at(vllm_server))


def at(server: VllmServer, **remote: Any) -> RemoteParams:
    return RemoteParams(api_url=server.url, **remote)


def guided(**by: Any) -> GuidedDecodingParams:
    return GuidedDecodingParams.model_validate(by)


# The Responses API


@pytest.fixture
def responses(vllm_server: VllmServer) -> RemoteVLLMInferenceEngine:
    return RemoteVLLMInferenceEngine(ModelParams(model_name=MODEL), remote_params=at(vllm_server, api="responses"))


async def test_responses_api_answers_as_chat_completions(
    responses: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    answered, expected = await answer(responses), vllm_server.answer()
    assert (said(answered), answered.metadata["finish_reason"]) == (expected.text, expected.reason)
    usage = answered.metadata["usage"]
    assert {name: usage[name] for name in expected.usage} == expected.usage


async def test_responses_api_streams_the_same_answer(responses: RemoteVLLMInferenceEngine) -> None:
    whole, deltas = await answer(responses), await streamed(responses)
    assert "".join(delta.content for delta in deltas) == said(whole)
    assert (deltas[-1].finish_reason, len(deltas) > 2) == (whole.metadata["finish_reason"], True)


async def test_responses_api_follows_schemas_and_choices(responses: RemoteVLLMInferenceEngine) -> None:
    assert said(await answer(responses, guided_decoding=guided(choice=["Paris"]))) == "Paris"
    City.model_validate_json(
        said(await answer(responses, guided_decoding=guided(json=City), max_new_tokens=CITY_TOKENS))
    )


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_responses_api_calls_a_tool_and_reads_its_result(
    responses: RemoteVLLMInferenceEngine, streams: bool
) -> None:
    forced: dict[str, Any] = {"tool_choice": FORCED, "max_new_tokens": CITY_TOKENS}
    if streams:
        message = Completion.from_deltas(await streamed(responses, ASKED_FOR_WEATHER, **forced)).message
        called = ASKED_FOR_WEATHER.model_copy(update={"messages": [*ASKED_FOR_WEATHER.messages, message]})
    else:
        called = await answer(responses, ASKED_FOR_WEATHER, **forced)
    [call] = called.messages[-1].tool_calls or []
    assert call.function.name == "weather"
    assert call.function.get_arguments_dict()
    assert said(await answer(responses, with_result(called, "It is snowing heavily.")))


# Chat


def test_server_uses_the_chat_template_of_the_model(vllm_server: VllmServer) -> None:
    tokens = vllm_server.tokens([{"role": "user", "content": "Hi"}])
    prompt = json.loads(vllm_server.ask("/detokenize", {"model": MODEL, "tokens": tokens}))["prompt"]
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_chat_template_kwargs_are_sent(vllm_server: VllmServer) -> None:
    begun = {"begun": "The capital of France"}
    model = ModelParams(model_name=MODEL, chat_template_kwargs=begun)
    answered = await answer(RemoteVLLMInferenceEngine(model, remote_params=at(vllm_server)))
    expected = vllm_server.answer(chat_template_kwargs=begun)
    assert (said(answered), answered.metadata["usage"]["prompt_tokens"]) == (
        expected.text,
        expected.usage["prompt_tokens"],
    )
    assert expected.usage["prompt_tokens"] > vllm_server.answer().usage["prompt_tokens"]


async def test_greedy_answers_equal_those_of_the_server(
    engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    answered, expected = await answer(engine), vllm_server.answer()
    assert (said(answered), answered.metadata["finish_reason"]) == (expected.text, expected.reason)
    assert answered.metadata["usage"] == expected.usage


async def test_complete_answer_has_finish_reason_stop(engine: RemoteVLLMInferenceEngine) -> None:
    metadata = (await answer(engine, guided_decoding=guided(choice=["Paris"]))).metadata
    assert metadata["finish_reason"] == "stop"


async def test_answer_that_is_cut_off_has_finish_reason_length(engine: RemoteVLLMInferenceEngine) -> None:
    metadata = (await answer(engine, max_new_tokens=4, extra_body=ENDLESS)).metadata
    assert metadata["finish_reason"] == "length"
    assert metadata["usage"] == {"prompt_tokens": 37, "completion_tokens": 4, "total_tokens": 41}


async def test_all_turns_of_a_conversation_are_sent(engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer) -> None:
    *before, last = SEVERAL_TURNS
    in_parts = [*before, {**last, "content": [{"type": "text", "text": last["content"]}]}]
    answered = await answer(engine, Conversation.from_dict({"messages": in_parts}))
    assert answered.metadata["usage"]["prompt_tokens"] == len(vllm_server.tokens(SEVERAL_TURNS))
    assert len(answered.messages) == 5


async def test_deltas_of_a_stream_add_up_to_the_answer(
    engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    deltas, expected = await streamed(engine), vllm_server.answer()
    assert "".join(delta.content for delta in deltas) == expected.text
    assert len(deltas) > 3
    assert deltas[-1].finish_reason == expected.reason
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == expected.usage["completion_tokens"]


async def test_closed_stream_ends_at_the_server(engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer) -> None:
    """Otherwise the server would generate for another minute."""
    endless = config(max_new_tokens=900, extra_body=ENDLESS)
    async with engine:
        async with engine.astream(CAPITAL, endless) as stream:
            async for _ in stream:
                break
        with anyio.fail_after(15):
            while await anyio.to_thread.run_sync(vllm_server.running):
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("engine_class", [RemoteInferenceEngine, OpenAIInferenceEngine])
async def test_other_openai_engines_work_too(
    engine_class: type[RemoteInferenceEngine], vllm_server: VllmServer
) -> None:
    engine = engine_class(ModelParams(model_name=MODEL), remote_params=at(vllm_server, api_key="x"))
    answered = await answer(engine, guided_decoding=guided(json=City, strict=True), max_new_tokens=CITY_TOKENS)
    City.model_validate_json(said(answered))


# Parameters


async def test_stop_strings_end_the_answer_before_them(
    engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    text = vllm_server.answer().text
    stopped = await answer(engine, stop_strings=["no such text", text[6:9]])
    assert (said(stopped), stopped.metadata["finish_reason"]) == (text.partition(text[6:9])[0], "stop")


async def test_stop_tokens_end_the_answer(engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer) -> None:
    comma = vllm_server.token(",")
    stopped = await answer(engine, stop_token_ids=[comma], logit_bias={comma: 100})
    assert stopped.metadata["finish_reason"] == "stop"
    assert stopped.metadata["usage"]["completion_tokens"] == 1


async def test_bias_can_forbid_a_token(engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer) -> None:
    comma, dash = vllm_server.token(","), vllm_server.token("-")
    biases = {comma: 100, dash: 50}
    async with engine:
        both = [
            said((await engine.ainfer([CAPITAL], config(max_new_tokens=3, logit_bias=given)))[0])
            for given in (biases, biases | {comma: -100})
        ]
    assert both == [",,,", "---"]


async def test_same_seed_gives_the_same_answer(engine: RemoteVLLMInferenceEngine) -> None:
    async with engine:
        answers = [said((await engine.ainfer([CAPITAL], config(temperature=1.5, seed=s)))[0]) for s in (1, 1, 2, 3)]
    assert answers[0] == answers[1]
    assert len(set(answers)) > 1


@pytest.mark.parametrize("narrow", [{"min_p": 1.0}, {"top_p": 1e-6}])
async def test_sampling_can_be_restricted_to_the_likeliest_token(
    narrow: dict[str, float], engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    assert said(await answer(engine, temperature=2.0, **narrow)) == vllm_server.answer().text


@pytest.mark.parametrize("skipped", [True, False])
async def test_skip_special_tokens_removes_or_keeps_them(
    skipped: bool, engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    end = {vllm_server.token("<|im_end|>"): 100}
    text = said(await answer(engine, skip_special_tokens=skipped, extra_body=ENDLESS, logit_bias=end, max_new_tokens=2))
    assert text == ("" if skipped else "<|im_end|><|im_end|>")


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
async def test_penalties_give_the_answer_of_the_server(
    penalty: str, engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer
) -> None:
    async with engine:
        [answered] = await engine.ainfer([CAPITAL], config(max_new_tokens=32, extra_body=ENDLESS, **{penalty: 2.0}))
    expected = vllm_server.answer(max_tokens=32, ignore_eos=True, **{penalty: 2.0})
    assert said(answered) == expected.text


async def test_no_parameter_is_dropped(engine: RemoteVLLMInferenceEngine) -> None:
    everything = {
        "seed": 1,
        "temperature": 0.5,
        "top_p": 0.9,
        "min_p": 0.01,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "stop_strings": ["xyz"],
        "stop_token_ids": [0],
        "logit_bias": {5: 1},
        "skip_special_tokens": False,
    }
    answered = await answer(engine, **everything)
    assert said(answered)
    assert "dropped_parameters" not in answered.metadata


# Structured outputs


@pytest.mark.parametrize(
    "by", [{"json": City}, {"json": City, "strict": True}, {"json": City.model_json_schema()}], ids=str
)
async def test_answer_is_valid_for_the_json_schema(by: dict[str, Any], engine: RemoteVLLMInferenceEngine) -> None:
    conversation = question("Describe Paris as JSON.")
    City.model_validate_json(
        said(await answer(engine, conversation, guided_decoding=guided(**by), max_new_tokens=CITY_TOKENS))
    )


async def test_answer_matches_the_regular_expression(engine: RemoteVLLMInferenceEngine) -> None:
    pattern = r"[A-Z][a-z]{2,8}: \d{2}"
    assert re.fullmatch(pattern, said(await answer(engine, guided_decoding=guided(regex=pattern))))


async def test_answer_is_one_of_the_choices(engine: RemoteVLLMInferenceEngine) -> None:
    choices = ["Lyon", 'a "quoted" answer']
    assert said(await answer(engine, guided_decoding=guided(choice=choices))) in choices


async def test_answer_of_a_stream_matches_the_structure(engine: RemoteVLLMInferenceEngine) -> None:
    deltas = await streamed(engine, guided_decoding=guided(choice=["Lyon", "Rome"]))
    assert "".join(delta.content for delta in deltas) in ("Lyon", "Rome")


# Tools


@pytest.mark.parametrize("tool_choice", [FORCED, "required"], ids=str)
async def test_required_tool_call_is_made(tool_choice: Any, engine: RemoteVLLMInferenceEngine) -> None:
    answered = await answer(engine, ASKED_FOR_WEATHER, tool_choice=tool_choice, max_new_tokens=CITY_TOKENS)
    [call] = answered.messages[-1].tool_calls or []
    assert call.id
    assert call.function.name == "weather"
    assert call.function.get_arguments_dict()["city"] in ("Paris", "Rome")
    assert answered.metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("tool_choice", [FORCED, "required"], ids=str)
async def test_required_tool_call_is_made_in_a_stream(tool_choice: Any, engine: RemoteVLLMInferenceEngine) -> None:
    deltas = await streamed(engine, ASKED_FOR_WEATHER, tool_choice=tool_choice, max_new_tokens=CITY_TOKENS)
    [call] = deltas[-1].tool_calls
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Paris", "Rome")
    assert deltas[-1].finish_reason == "tool_calls"


async def test_tool_choice_none_makes_no_call(engine: RemoteVLLMInferenceEngine) -> None:
    answered = await answer(engine, ASKED_FOR_WEATHER, tool_choice="none")
    assert said(answered)
    assert not answered.messages[-1].tool_calls


async def test_result_of_a_tool_is_used(engine: RemoteVLLMInferenceEngine) -> None:
    called = await answer(engine, ASKED_FOR_WEATHER, tool_choice=FORCED, max_new_tokens=CITY_TOKENS)
    conversation = with_result(called, "It is snowing heavily.")
    answered = await answer(engine, conversation, max_new_tokens=2)
    assert answered.metadata["usage"]["prompt_tokens"] > called.metadata["usage"]["prompt_tokens"]


# Models and adapters


async def test_models_and_adapters_are_listed(engine: RemoteVLLMInferenceEngine) -> None:
    async with engine:
        assert await engine.alist_models() == [MODEL, ADAPTER]


async def test_call_can_name_an_adapter(engine: RemoteVLLMInferenceEngine, vllm_server: VllmServer) -> None:
    """Calls of one engine that name the adapter get its answers, other calls do not."""
    adapted = config()
    adapted.model = ModelParams(model_name=MODEL, adapter_model=ADAPTER)
    async with engine:
        answers = [said((await engine.ainfer([CAPITAL], c))[0]) for c in (config(), adapted, adapted, config())]
    plain, wild = vllm_server.answer().text, vllm_server.answer(ADAPTER).text
    assert answers == [plain, wild, wild, plain]


async def test_unknown_adapter_is_an_error(vllm_server: VllmServer) -> None:
    model = ModelParams(model_name=MODEL, adapter_model="tame")
    failed = await failure(RemoteVLLMInferenceEngine(model, remote_params=at(vllm_server)))
    assert failed.status_code == 404
    assert "tame" in failed.error_message


# Errors


async def test_unknown_model_is_named_and_not_retried(vllm_server: VllmServer, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "in.jsonl", [CAPITAL])
    run = InferenceConfig(input_path=str(rows), output_path=str(tmp_path / "out.jsonl"))
    engine = RemoteVLLMInferenceEngine(ModelParams(model_name="no-such"), remote_params=at(vllm_server))
    async with engine:
        with pytest.raises(EngineConfigError, match="The model `no-such` does not exist") as ended:
            await engine.arun(run)
        with pytest.raises(EngineConfigError, match="no-such"):
            await anext(aiter(engine.astream(CAPITAL)))
    assert ended.value.status_code == 404


async def test_row_that_is_too_long_fails_alone_and_is_not_retried(
    engine: RemoteVLLMInferenceEngine, tmp_path: Path
) -> None:
    too_long = question("word " * (MAX_LENGTH + 1))
    failed = await failure_between_others(engine, too_long, tmp_path)
    assert (failed.status_code, failed.is_retryable) == (400, False)
    assert f"maximum context length is {MAX_LENGTH}" in failed.error_message


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"max_new_tokens": MAX_LENGTH + 1}, "max_model_len"),
        ({"guided_decoding": guided(regex="(")}, "regex"),
        ({"extra_body": {"temperature": -1}}, "temperature"),
        ({"extra_body": {"n": "many"}}, "n"),
    ],
    ids=str,
)
async def test_error_of_the_server_is_reported(
    generation: dict[str, Any], message: str, engine: RemoteVLLMInferenceEngine
) -> None:
    failed = await failure(engine, **generation)
    assert (failed.status_code, failed.is_retryable) == (400, False)
    assert message in failed.error_message


# Many rows


async def test_64_rows_are_answered_at_once(vllm_server: VllmServer, tmp_path: Path) -> None:
    remote = at(vllm_server, num_workers=64, use_adaptive_concurrency=False)
    engine = RemoteVLLMInferenceEngine(ModelParams(model_name=MODEL), remote_params=remote)
    await check_64_at_once(engine, tmp_path)


async def test_run_continues_after_the_server_was_killed_and_restarted(
    vllm_server: VllmServer, tmp_path: Path, block_watch: BlockWatch
) -> None:
    """Every row is answered once in the output. Rows in flight at the kill are retried."""
    block_watch.off()  # The test itself starts a process on the loop.
    middle = anyio.Event()

    def watch(progress: Progress) -> None:
        if progress.completed >= 10:
            middle.set()

    async def restart() -> None:
        await middle.wait()
        await anyio.to_thread.run_sync(vllm_server.kill)
        await anyio.to_thread.run_sync(vllm_server.start)

    run = config(max_new_tokens=4)
    run.input_path = str(write_jsonl(tmp_path / "in.jsonl", questions(40)))
    run.output_path = str(tmp_path / "out.jsonl")
    remote = at(vllm_server, num_workers=4, max_retries=100, retry_backoff_max=4.0)
    engine = RemoteVLLMInferenceEngine(ModelParams(model_name=MODEL), remote_params=remote)
    async with engine, anyio.create_task_group() as tasks:
        tasks.start_soon(restart)
        summary = await engine.arun(run, on_progress=watch)
    assert (summary.completed, summary.failed) == (40, 0)
    assert summary.retried > 0
    assert [row["conversation_id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [f"q{i}" for i in range(40)]
