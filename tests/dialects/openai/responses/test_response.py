"""Whole responses of the Responses API, compared with those that OpenAI's SDK reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from asyncinfer import FinishReason, ModelParams, OpenAIInferenceEngine, RemoteParams, RequestError, Usage
from asyncinfer.dialects.openai.responses.response import decode
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_answer_or_request_error, check_that_it_is_retryable, mangled
from tests.fakes import question
from tests.recorder import Recorder

Json = dict[str, Any]

USAGE: Json = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 7,
}
TOKEN: Json = {"token": "He", "bytes": [72, 101], "logprob": -0.5, "top_logprobs": []}
REASONING: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}],
    "encrypted_content": "gAAA",
}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Oslo"}',
    "status": "completed",
}
SEARCH: Json = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x", "queries": ["x"]},
}


def text_item(text: str, *, id: str = "msg_1", logprobs: list[Json] | None = None, **fields: Any) -> Json:
    part: Json = {"type": "output_text", "text": text, "annotations": []}
    part |= {"logprobs": logprobs} if logprobs is not None else {}
    return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": [part], **fields}


COMMENTARY = text_item("Wait.", phase="commentary")
REFUSAL = text_item("") | {"content": [{"type": "refusal", "refusal": "I cannot."}]}


def reply(*items: Json, status: str = "completed", **fields: Any) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": list(items),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": USAGE,
        **fields,
    }


LIMIT = {"incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete"}
OUTPUTS: dict[str, Json] = {
    "a text": reply(text_item("Hello.")),
    "no text": reply(text_item("")),
    "two texts": reply(text_item("Hello."), text_item("Bye.", id="msg_2")),
    "a refusal": reply(REFUSAL),
    "a call": reply(CALL),
    "reasoning and a text": reply(REASONING, text_item("Hello.")),
    "reasoning, a text and calls": reply(
        REASONING, text_item("Hello."), CALL, CALL | {"id": "fc_2", "call_id": "call_2", "name": "time", "arguments": "{}"}
    ),
    "a comment, a search and an answer": reply(COMMENTARY, SEARCH, text_item("4", id="msg_2", phase="final_answer")),
    "log probabilities": reply(text_item("Hello.", logprobs=[TOKEN])),
    "a text that was cut off": reply(text_item("Hel", status="incomplete"), **LIMIT),
    "reasoning that was cut off": reply(REASONING | {"status": "incomplete"}, **LIMIT),
    "a filtered text": reply(text_item("Hel"), status="incomplete", incomplete_details={"reason": "content_filter"}),
}  # fmt: skip
every_output = pytest.mark.parametrize("name", OUTPUTS)


def read(body: Any) -> Completion:
    return decode(HttpResponse(200, {}, json.dumps(body).encode()))


async def answered(api: Recorder, body: Json) -> Any:
    api.answers(body)
    remote = RemoteParams(api_url=api.url, api_key=KEY, api="responses", max_retries=0)
    async with OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        return await engine.agenerate(question("Hello?"))


@every_output
async def test_answer_equals_the_answer_of_the_sdk(name: str, api: Recorder, sdk: AsyncOpenAI) -> None:
    ours = await answered(api, OUTPUTS[name])
    theirs = await sdk.responses.create(model="m", input="Hello?")
    message = ours.messages[-1]
    if name != "a refusal":  # The SDK's `output_text` has no refusals.
        assert message.text == theirs.output_text
    calls = [item for item in theirs.output if item.type == "function_call"]
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()] == [
        (item.call_id, item.name, item.arguments) for item in calls
    ]
    assert theirs.usage is not None
    assert ours.metadata["usage"]["total_tokens"] == theirs.usage.total_tokens
    assert (ours.metadata["response_id"], ours.metadata["response_model"]) == (theirs.id, theirs.model)


def test_usage_has_cached_and_reasoning_tokens() -> None:
    assert read(OUTPUTS["a text"]).usage == Usage(3, 4, 7, 2, 0, 1)


def test_refusal_is_the_text() -> None:
    assert read(OUTPUTS["a refusal"]).message.content == "I cannot."


def test_reasoning_is_separated_from_the_text_and_kept() -> None:
    message = read(OUTPUTS["reasoning and a text"]).message
    assert (message.content, message.reasoning_content) == ("Hello.", "First.\n\nSecond.")
    assert message.get("reasoning_items") == [REASONING]


def test_log_probabilities_are_in_the_metadata() -> None:
    metadata = read(OUTPUTS["log probabilities"]).metadata
    assert metadata is not None
    assert metadata["logprobs"] == [TOKEN]


@pytest.mark.parametrize(
    ("body", "reason", "raw"),
    [
        (OUTPUTS["a text"], FinishReason.STOP, "completed"),
        (OUTPUTS["a call"], FinishReason.TOOL_CALLS, "completed"),
        (OUTPUTS["a text that was cut off"], FinishReason.LENGTH, "max_output_tokens"),
        (OUTPUTS["a filtered text"], FinishReason.CONTENT_FILTER, None),
        (reply(text_item("Hi."), status="incomplete"), FinishReason.UNKNOWN, "incomplete"),
        (reply(text_item("Hi."), status="incomplete", incomplete_details={"reason": "steered"}), FinishReason.UNKNOWN, "steered"),
    ],
    ids=["completed", "calls", "limit", "filter", "no reason", "another reason"],
)  # fmt: skip
def test_status_becomes_the_finish_reason(body: Json, reason: FinishReason, raw: str | None) -> None:
    completion = read(body)
    assert completion.finish_reason is reason
    assert (completion.metadata or {}).get("raw_finish_reason") == raw


def test_response_without_a_status_is_an_answer() -> None:
    body = {key: value for key, value in OUTPUTS["a text"].items() if key != "status"}
    assert (read(body).message.content, read(body).finish_reason) == ("Hello.", FinishReason.UNKNOWN)


def test_call_that_was_cut_off_entirely_is_left_out() -> None:
    cut = read(reply(text_item("Hi."), CALL | {"arguments": ""}, **LIMIT))
    assert (cut.message.content, cut.message.tool_calls) == ("Hi.", None)


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_response_in_the_background_is_not_an_answer(status: str) -> None:
    check_that_it_is_retryable(read, reply(status=status), f"its status is '{status}'")


def test_failed_response_is_an_error() -> None:
    failed = reply(status="failed", error={"code": "server_error", "message": "no worker"})
    with pytest.raises(RequestError, match="no worker") as caught:
        read(failed)
    assert caught.value.is_retryable


def test_failed_response_for_this_prompt_is_not_retried() -> None:
    with pytest.raises(RequestError) as caught:
        read(reply(status="failed", error={"code": "image_too_small", "message": "The image is too small."}))
    assert not caught.value.is_retryable


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_response_without_an_answer_and_an_error_is_retried(status: str) -> None:
    check_that_it_is_retryable(read, reply(status=status), f"its status is '{status}'")


@pytest.mark.parametrize(
    "body",
    [{}, {"status": "completed"}, reply({"type": "function_call", "call_id": "1"}), {"output": [CALL | {"name": 5}]}],
)
def test_response_that_cannot_be_read_is_retried(body: Json) -> None:
    check_that_it_is_retryable(read, body)


def test_error_in_a_successful_response_is_raised() -> None:
    with pytest.raises(RequestError, match="no worker"):
        read({"error": {"message": "no worker", "code": 503}})


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(OUTPUTS.values()))))
def test_mangled_response_is_an_answer_or_a_request_error(body: Any) -> None:
    check_answer_or_request_error(read, body)
