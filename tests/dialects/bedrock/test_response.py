"""Responses of Bedrock's Converse, compared with botocore's parser."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import (
    BedrockInferenceEngine,
    Conversation,
    FinishReason,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
    RequestError,
    Usage,
)
from asyncinfer.dialects.bedrock.dialect import model_summaries
from asyncinfer.dialects.bedrock.response import decode
from asyncinfer.dialects.http import status_error
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.boto import asked, base
from tests.dialects.mangled import mangled
from tests.fakes import question
from tests.recorder import Recorder

Json = dict[str, Any]

CALLED: Json = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Oslo", "days": [1, 2.5, None]}}}
THOUGHT: Json = {"reasoningContent": {"reasoningText": {"text": "They ask. ", "signature": "c2ln"}}}
UNSIGNED: Json = {"reasoningContent": {"reasoningText": {"text": "Hm."}}}
HIDDEN: Json = {"reasoningContent": {"redactedContent": base64.b64encode(b"hidden").decode()}}


def answer(*content: Json, stop: str = "end_turn", **usage: int) -> Json:
    tokens = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7} | usage
    return {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": tokens,
        "metrics": {"latencyMs": 12},
    }


ANSWERS: dict[str, Json] = {
    "text": answer({"text": "Hello \u00e9\U0001f600."}),
    "text in parts": answer({"text": "Hel"}, {"text": "lo."}),
    "nothing": answer(),
    "a tool call": answer({"text": "Wait."}, CALLED, stop="tool_use"),
    "two tool calls": answer(
        CALLED, {"toolUse": {"toolUseId": "t2", "name": "time", "input": {}}}, stop="tool_use"
    ),
    "signed reasoning": answer(THOUGHT, HIDDEN, {"text": "Sunny."}),
    "unsigned reasoning": answer(UNSIGNED, {"text": "Sunny."}),
    "citations": answer({"citationsContent": {"content": [{"text": "It "}, {"text": "is."}], "citations": []}}),
    "cache": answer({"text": "a"}, cacheReadInputTokens=100, cacheWriteInputTokens=20),
    **{
        stop: answer({"text": "a"}, stop=stop)
        for stop in ("max_tokens", "stop_sequence", "guardrail_intervened", "content_filtered", "malformed_tool_use",
                     "malformed_model_output", "model_context_window_exceeded")
    },
}  # fmt: skip
REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "malformed_tool_use": FinishReason.ERROR,
    "malformed_model_output": FinishReason.ERROR,
}


def decoded(data: Json) -> Completion:
    return decode(HttpResponse(200, {}, json.dumps(data).encode()))


@pytest.mark.parametrize("recorded", ANSWERS.values(), ids=ANSWERS.keys())
async def test_answer_equals_the_answer_that_botocore_reads(recorded: Json, api: Recorder) -> None:
    api.answers(recorded)
    theirs = await asked(api, "converse", modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])
    ours = decoded(recorded)
    blocks = theirs["output"]["message"]["content"]
    cited = [part["text"] for block in blocks for part in block.get("citationsContent", {}).get("content", ())]
    assert (ours.message.content or "") == "".join([*(block.get("text", "") for block in blocks), *cited])
    calls = [
        (call.id, call.function.name, call.function.get_arguments_dict()) for call in ours.message.tool_calls or ()
    ]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    assert calls == [(use["toolUseId"], use["name"], use["input"]) for use in uses]
    texts = [block["reasoningContent"].get("reasoningText", {}) for block in blocks if "reasoningContent" in block]
    assert (ours.message.reasoning_content or "") == "".join(one.get("text", "") for one in texts)
    assert ours.finish_reason == REASONS[theirs["stopReason"]]
    usage = theirs["usage"]
    read, written = usage.get("cacheReadInputTokens"), usage.get("cacheWriteInputTokens")
    prompt = usage["inputTokens"] + (read or 0) + (written or 0)
    assert ours.usage == Usage(prompt, usage["outputTokens"], prompt + usage["outputTokens"], read, written)


def test_signed_and_redacted_reasoning_is_kept_unchanged() -> None:
    message = decoded(ANSWERS["signed reasoning"]).message
    assert (message.model_extra or {})["thinking_blocks"] == [THOUGHT, HIDDEN]
    assert (decoded(ANSWERS["unsigned reasoning"]).message.model_extra or {}) == {}


async def test_reasoning_is_sent_back_with_the_next_question(api: Recorder) -> None:
    api.answers(answer(THOUGHT, CALLED, stop="tool_use"))
    remote = RemoteParams(api_url=base(api), api_key="k")
    async with BedrockInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        [first] = await engine.ainfer([question("Weather?")])
        result = {"role": "tool", "tool_call_id": "t1", "content": "sunny"}
        again = Conversation.from_dict({**first.to_dict(), "messages": [*first.to_dict()["messages"], result]})
        await engine.ainfer([again])
    assert api.sent[-1].body["messages"][1] == {"role": "assistant", "content": [THOUGHT, CALLED]}


@pytest.mark.parametrize("given", [None, "", "null", {}])
def test_call_without_arguments_can_be_sent_back(given: Any) -> None:
    [call] = decoded(answer({"toolUse": {"toolUseId": "t", "name": "f", "input": given}})).message.tool_calls or []
    assert call.function.get_arguments_dict() == {}


def test_call_of_a_tool_that_bedrock_ran_is_left_out() -> None:
    own = {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}}
    found = {"toolResult": {"toolUseId": "s1", "content": [{"text": "..."}]}}
    message = decoded(answer(own, found, {"text": "Yes."})).message
    assert (message.content, message.tool_calls) == ("Yes.", None)


# Errors

ERRORS = [
    ("AccessDeniedException", 403, False, False),
    ("ValidationException", 400, False, False),
    ("ResourceNotFoundException", 404, False, False),
    ("ModelTimeoutException", 408, True, False),
    ("ModelErrorException", 424, True, False),
    ("ThrottlingException", 429, True, True),
    ("ModelNotReadyException", 429, True, True),
    ("InternalServerException", 500, True, False),
    ("ServiceUnavailableException", 503, True, True),
]


@pytest.mark.parametrize(("kind", "status", "again", "busy"), ERRORS, ids=[error[0] for error in ERRORS])
@pytest.mark.parametrize("key", ["message", "Message"])
async def test_documented_error_is_classified(
    kind: str, status: int, again: bool, busy: bool, key: str, api: Recorder
) -> None:
    headers = {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    api.answers({key: "It is so."}, status, headers)
    with pytest.raises(ClientError) as theirs:
        await asked(api, "converse", modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])
    remote = RemoteParams(api_url=base(api), api_key="k", max_retries=0)
    async with BedrockInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        result = await engine.ainfer_partial([question("?")])
    failure = result.failures[0]
    assert f"HTTP {status}: It is so. ({kind})" in failure.error_message
    assert theirs.value.response["Error"] == {"Message": "It is so.", "Code": kind}
    assert failure.error_type == InferenceErrorType.API_STATUS
    error = status_error(HttpResponse(status, {}, b"{}"))
    assert (error.is_retryable, error.is_overload) == (again, busy)


@pytest.mark.parametrize(
    "content",
    [
        "Hi.",
        ["Hi."],
        {"text": "Hi."},
        [{"text": ["H", "i."]}],
        [{"text": {"value": "Hi."}}],
        [{"reasoningContent": "Hm."}, {"text": "Hi."}],
        [{"reasoningContent": {"reasoningText": "Hm."}}, {"text": "Hi."}],
        [{"citationsContent": {"content": "Hi."}}],
        [{"citationsContent": {"content": [None, {}, {"text": "Hi."}]}}],
    ],
)
def test_text_in_any_form_is_read(content: Any) -> None:
    message = decoded({"output": {"message": {"content": content}}, "stopReason": "end_turn"}).message
    assert message.content == "Hi."
    assert message.reasoning_content == ("Hm." if "reasoningContent" in str(content) else None)


def test_null_content_with_a_reason_is_an_empty_answer() -> None:
    assert decoded({"output": {"message": {"content": None}}, "stopReason": "end_turn"}).message.content == ""


def test_unknown_block_alone_becomes_its_json_text() -> None:
    assert decoded(answer({"name": "Bob"})).message.content == '[{"name":"Bob"}]'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"output": {"message": {"content": null}}}'])
def test_response_without_an_answer_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode(HttpResponse(200, {}, body))
    assert caught.value.error_type == InferenceErrorType.PARSE_ERROR


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(ANSWERS.values()))))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    with contextlib.suppress(RequestError):
        decoded(body)


@given(st.sampled_from(list(ANSWERS.values())), st.integers(0, 400))
def test_truncated_answer_is_an_answer_or_a_request_error(body: Json, length: int) -> None:
    with contextlib.suppress(RequestError):
        decode(HttpResponse(200, {}, json.dumps(body).encode()[:length]))


@given(
    mangled(st.just({"modelSummaries": [{"modelId": "m", "inputModalities": ["TEXT"], "outputModalities": ["TEXT"]}]}))
)
def test_mangled_list_of_models_is_a_list_or_a_request_error(body: Any) -> None:
    with contextlib.suppress(RequestError):
        model_summaries(HttpResponse(200, {}, json.dumps(body).encode()))


NULLS = dict.fromkeys(("text", "image", "toolUse", "reasoningContent", "citationsContent"))


def test_null_members_of_a_block_are_ignored() -> None:
    """Gateways in typed languages send every member of a block."""
    use = {"toolUseId": "t1", "name": "f", "input": {}, "type": None}
    message = decoded(answer(NULLS | {"text": "Hi."}, NULLS | {"toolUse": use}, NULLS, stop="tool_use")).message
    assert (message.content, [call.function.name for call in message.tool_calls or ()]) == ("Hi.", ["f"])


def test_single_block_needs_no_list() -> None:
    body = answer()
    body["output"]["message"]["content"] = {"text": "Hi."}
    assert decoded(body).message.content == "Hi."
