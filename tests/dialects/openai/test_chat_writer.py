"""Writing answers as a server of OpenAI's chat completions. OpenAI's own types judge them, and so does our decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic_core import from_json

from asyncinfer.dialects.openai.chat_writer import DONE, ChatWriter, usage_fields
from asyncinfer.dialects.openai.response import decode
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import SSEStreamDecoder
from asyncinfer.types.answer import Completion
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta, ToolCallDelta, deltas_of_calls
from asyncinfer.types.tools import FunctionCall, ToolCall
from asyncinfer.types.usage import Usage

CALL = ToolCall(id="call_1", function=FunctionCall(name="f", arguments='{"a": 1}'))
TOKEN = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def writer(**more: Any) -> ChatWriter:
    return ChatWriter("chatcmpl-1", 5, "m", **more)


def events(written: bytes) -> list[dict[str, Any]]:
    """The JSON of events, each of which the openai SDK accepts."""
    lines = written.decode().split("\n\n")
    assert lines.pop() == ""
    parsed = [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]
    for event in parsed:
        ChatCompletionChunk.model_validate(event)
    return parsed


def answer(message: Message, reason: FinishReason = FinishReason.STOP, **more: Any) -> Completion:
    return Completion(message, reason, Usage(3, 4, 7), **more)


@pytest.mark.parametrize(
    "message",
    [
        Message(role=Role.ASSISTANT, content="Hello."),
        Message(role=Role.ASSISTANT, content="Hello.", reasoning_content="Hm."),
        Message(role=Role.ASSISTANT, content=None, tool_calls=[CALL]),
        Message(role=Role.ASSISTANT, content="So:", tool_calls=[CALL, CALL.model_copy(update={"id": "call_2"})]),
    ],
)
def test_whole_answer_is_read_back_as_it_was(message: Message) -> None:
    reason = FinishReason.TOOL_CALLS if message.tool_calls else FinishReason.STOP
    written = writer().whole([answer(message, reason)])
    ChatCompletion.model_validate_json(written)
    read = decode(HttpResponse(200, {}, written))
    assert (read.message, read.finish_reason, read.usage) == (message, reason, Usage(3, 4, 7))


def test_answer_with_images_has_its_text_as_content_and_the_images_beside_it() -> None:
    items = [ContentItem(type=Type.TEXT, content="Here:"), ContentItem(type=Type.IMAGE_BINARY, binary=PNG)]
    written = json.loads(writer().whole([answer(Message(role=Role.ASSISTANT, content=items))]))
    message = written["choices"][0]["message"]
    assert message["content"] == "Here:"
    assert message["images"][0]["image_url"]["url"].startswith("data:image/png;base64,")


def test_event_of_a_text_has_the_text_and_nothing_else() -> None:
    [event] = events(writer().delta(1, StreamDelta("Hé\n")))
    assert event == {
        "object": "chat.completion.chunk",
        "id": "chatcmpl-1",
        "created": 5,
        "model": "m",
        "choices": [{"index": 1, "delta": {"content": "Hé\n"}, "logprobs": None, "finish_reason": None}],
    }


def test_requested_usage_is_null_until_the_last_event() -> None:
    one = writer(include_usage=True)
    written = one.first(0) + one.delta(0, StreamDelta("Hi")) + one.delta(0, StreamDelta(reasoning_content="Hm"))
    assert [event["usage"] for event in events(written)] == [None] * 3
    end = one.end([Usage(3, 4, 7)])
    assert end.endswith(DONE)
    [last] = events(end)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


def test_stream_without_requested_usage_ends_with_done_only() -> None:
    assert writer().end([Usage(3, 4, 7)]) == DONE


def test_usage_of_an_engine_that_reports_none_is_left_out() -> None:
    assert writer(include_usage=True).end([None]) == DONE
    assert "usage" not in json.loads(
        writer().whole([Completion(Message(role=Role.ASSISTANT, content="Hi"), FinishReason.STOP)])
    )


def test_last_delta_with_text_makes_an_event_for_the_text_and_one_for_the_finish_reason() -> None:
    text, end = events(writer().delta(0, StreamDelta.last(None, FinishReason.LENGTH, None, "Hi")))
    assert text["choices"][0]["delta"] == {"content": "Hi"}
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "length")


def test_pieces_of_a_tool_call_have_id_and_name_in_the_first_piece_only() -> None:
    pieces = (ToolCallDelta(0, "call_1", "f", '{"a"'), ToolCallDelta(0, arguments=": 1}"))
    [event] = events(writer().delta(0, StreamDelta(tool_call_deltas=pieces)))
    assert event["choices"][0]["delta"]["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
    ]


def signed(call_id: str) -> ToolCall:
    """A call with the signature of the thought behind it."""
    extra = {"extra_content": {"google": {"thought_signature": f"signature of {call_id}"}}}
    return ToolCall.model_validate({**CALL.model_dump(), "id": call_id, **extra})


def collected(written: bytes) -> dict[str, Any]:
    """The message that the openai SDK makes of the events."""
    state = ChatCompletionStreamState[None]()
    for event in events(written):
        state.handle_chunk(ChatCompletionChunk.model_validate(event))
    return state.get_final_completion().choices[0].message.model_dump()


def decoded(written: bytes) -> Message:
    """The message that our decoder makes of the events."""
    decoder = SSEStreamDecoder(OpenAIEventDecoder())
    return Completion.from_deltas([*decoder.feed(written + DONE), decoder.finish()]).message


@pytest.mark.parametrize("passed_on", [0, 1, 2])
def test_signatures_of_calls_are_the_same_whether_streamed_or_not(passed_on: int) -> None:
    """`passed_on`: how many calls earlier deltas have."""
    calls = [signed("call_1"), signed("call_2"), CALL.model_copy(update={"id": "call_3"})]
    pieces = deltas_of_calls(calls)
    last = StreamDelta.last(calls, FinishReason.TOOL_CALLS, None, call_deltas=pieces[passed_on:])
    one = writer()
    written = one.delta(0, StreamDelta(tool_call_deltas=pieces[:passed_on])) + one.delta(0, last)
    assert [call.get("extra_content") for call in collected(written)["tool_calls"]] == [
        call.model_dump().get("extra_content") for call in calls
    ]
    assert decoded(written).tool_calls == calls


def test_empty_delta_makes_no_event() -> None:
    assert writer().delta(0, StreamDelta()) == b""


def test_log_probabilities_are_written_only_if_they_were_requested() -> None:
    delta = StreamDelta("Hi", logprobs=(TOKEN,))
    assert events(writer(logprobs=True).delta(0, delta))[0]["choices"][0]["logprobs"]["content"] == [TOKEN]
    assert events(writer().delta(0, delta))[0]["choices"][0]["logprobs"] is None


def test_reason_that_the_engine_does_not_know_is_stop() -> None:
    [end] = events(writer().delta(0, StreamDelta.last(None, FinishReason.UNKNOWN, None)))
    assert end["choices"][0]["finish_reason"] == "stop"


def test_refusal_is_written_and_read_as_a_refusal_whether_streamed_or_not() -> None:
    message = Message(role=Role.ASSISTANT, content="I cannot.", refusal="I cannot.")  # pyright: ignore[reportCallIssue]
    whole = json.loads(writer().whole([answer(message)]))["choices"][0]["message"]
    assert (whole["content"], whole["refusal"]) == (None, "I cannot.")
    extra = {"refusal": "I cannot."}
    deltas = [
        StreamDelta("I can", is_refusal=True),
        StreamDelta("not.", is_refusal=True),
        StreamDelta.last(None, FinishReason.STOP, None, extra=extra),
    ]
    one = writer()
    written = b"".join(one.delta(0, delta) for delta in deltas)
    streamed = collected(written)
    assert (streamed["content"], streamed["refusal"]) == (None, "I cannot.")
    assert decoded(written) == message
    again = writer()
    assert decoded(b"".join(again.delta(0, delta) for delta in answer(message).as_stream())) == message


def test_number_that_json_has_no_form_for_is_null() -> None:
    logprob = {**TOKEN, "logprob": float("-inf")}
    written = writer(logprobs=True).delta(0, StreamDelta("Hi", logprobs=(logprob,)))
    assert from_json(written.removeprefix(b"data: ").strip(), allow_inf_nan=False)["choices"][0]["logprobs"][
        "content"
    ] == [{**TOKEN, "logprob": None}]


def test_fingerprint_of_the_server_is_passed_on() -> None:
    message = Message(role=Role.ASSISTANT, content="Hi")
    written = json.loads(writer().whole([answer(message, metadata={"system_fingerprint": "fp"})]))
    assert written["system_fingerprint"] == "fp"


def test_details_of_the_usage_are_written_if_they_are_known() -> None:
    assert usage_fields([Usage(3, 4, 7, cached_tokens=2, reasoning_tokens=1), Usage(3, 5, 8, reasoning_tokens=2)]) == {
        "prompt_tokens": 3,
        "completion_tokens": 9,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_text_is_one_event(text: str) -> None:
    [event] = events(writer().delta(0, StreamDelta(text)))
    assert event["choices"][0]["delta"]["content"] == text
